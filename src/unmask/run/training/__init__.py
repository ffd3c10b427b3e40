"""A network watched while it is trained: its terms at every checkpoint, kept in a run folder."""
