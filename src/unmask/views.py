"""What a person sees of an input: a picture, a sentence or the rows of a table."""

from dataclasses import dataclass

from jaxtyping import UInt8
from torch import Tensor


@dataclass(frozen=True)
class ImageView:
    """A picture whose pixels are the positions of the input.

    Args:
        pixels: red, green and blue, as the eye should see them.
    """

    pixels: UInt8[Tensor, "height width 3"]


@dataclass(frozen=True)
class TextView:
    """A text cut into the pieces that are the positions of the input.

    Args:
        pieces: the text of each position, with the spaces that belong to it.
    """

    pieces: tuple[str, ...]


@dataclass(frozen=True)
class TableView:
    """The parts of a row of a table, as they read.

    Args:
        present: what each player says when it takes part, such as "41 years".
        absent: what stands there when it is hidden.
    """

    present: tuple[str, ...]
    absent: tuple[str, ...]


View = ImageView | TextView | TableView
