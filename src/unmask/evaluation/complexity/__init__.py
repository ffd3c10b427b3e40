"""How few parts does an explanation name, and do explanations agree?"""
