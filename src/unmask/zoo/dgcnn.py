"""A dynamic graph network for clouds of points (Wang et al. 2019, DGCNN)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2
"""Of the leaky ReLU, below zero."""


class DGCNN(nn.Module):
    """Edge convolutions, each over the graph of neighbours in the features that came in.

    What is told of a point by a neighbour depends on the point and on the step to the neighbour.
    The cloud is what stands out of all its points: a maximum and a mean over them.

    Args:
        classes: outputs.
        widths: channels of each edge convolution.
        gathered: channels of a point after all of them.
        neighbours: of each point, itself among them.
    """

    def __init__(
        self,
        classes: int,
        widths: Sequence[int] = (16, 16, 32),
        gathered: int = 64,
        neighbours: int = 10,
    ) -> None:
        super().__init__()
        self.neighbours = neighbours
        before = [3, *widths[:-1]]
        self.edges = nn.ModuleList(
            EdgeConvolution(inputs, outputs) for inputs, outputs in zip(before, widths, strict=True)
        )
        self.gather = nn.Linear(sum(widths), gathered, bias=False)
        self.norm = nn.BatchNorm1d(gathered)
        self.classifier = nn.Sequential(
            nn.Linear(2 * gathered, gathered), nn.LeakyReLU(SLOPE), nn.Linear(gathered, classes)
        )

    def forward(self, x: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch classes"]:
        levels: list[Tensor] = []
        for edge in self.edges:
            x = edge(x, self.neighbours)
            levels.append(x)
        x = self.gather(torch.cat(levels, -1))
        x = functional.leaky_relu(self.norm(x.transpose(1, 2)), SLOPE)
        return self.classifier(torch.cat([x.amax(-1), x.mean(-1)], -1))


class EdgeConvolution(nn.Module):
    """For each point the most that any of its neighbours tells: max of h(x_i, x_j - x_i).

    As h is linear up to the normalisation, W (x_j - x_i) + V x_i, two products per point serve all
    of its edges.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.step = nn.Linear(inputs, outputs, bias=False)
        self.place = nn.Linear(inputs, outputs, bias=False)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(
        self, x: Float[Tensor, "batch points inputs"], neighbours: int
    ) -> Float[Tensor, "batch points outputs"]:
        near = nearest(x, neighbours)
        told = self.step(x)
        index = near.flatten(1)[..., None].expand(-1, -1, told.shape[-1])
        steps = told.gather(1, index).unflatten(1, near.shape[1:]) - told[:, :, None]
        edges = steps + self.place(x)[:, :, None]
        normal = self.norm(edges.flatten(0, 2)).view_as(edges)
        return functional.leaky_relu(normal, SLOPE).amax(2)


def nearest(x: Float[Tensor, "batch points width"], neighbours: int) -> Tensor:
    """The places of the nearest points of each point, itself among them."""
    with torch.no_grad():
        # By way of a product of matrices, a point would lie at some distance from itself.
        apart = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
        return apart.topk(min(neighbours, x.shape[1]), largest=False).indices
