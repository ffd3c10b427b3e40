"""What a person sees of an input: a picture, a sentence, the rows of a table or a graph."""

from dataclasses import dataclass

from jaxtyping import Float, Int, UInt8
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
"""What a page can show and let a reader hide parts of."""


@dataclass(frozen=True)
class GraphView:
    """A graph whose edges are the positions of the input.

    Args:
        edges: a row of sources and a row of targets.
        places: where each node is drawn, between 0 and 1.
        labels: what is written at each node.
    """

    edges: Int[Tensor, "2 edges"]
    places: Float[Tensor, "nodes 2"]
    labels: tuple[str, ...]
