"""Does an explanation point at a region that is known to matter?"""
