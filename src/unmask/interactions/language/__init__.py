"""Words of prompts as players, and what stands where they are hidden."""
