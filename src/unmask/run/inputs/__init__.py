"""Reading inputs: tables, arrays, images and texts, in formats that cannot run code."""
