"""Few terms among very many: searches, codes, proxies, and how they are judged."""
