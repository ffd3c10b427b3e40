"""The page of explanations that were compared: which to believe, and why."""
