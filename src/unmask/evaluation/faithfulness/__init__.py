"""Does removing what is said to matter change the score as the explanation says?"""

from unmask.evaluation.faithfulness.pixel_flipping import pixel_flipping

__all__ = ["pixel_flipping"]
