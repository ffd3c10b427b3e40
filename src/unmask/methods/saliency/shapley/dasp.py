"""Deep approximate Shapley propagation."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.internals import admit
from unmask.methods.saliency.shapley.moments import expected_output
from unmask.operations import Affine
from unmask.players import Players
from unmask.results import Attribution
from unmask.score import Score

_AT_ONCE = 256
"""Rows in one pass of the model, unless told otherwise."""


@method("ancona2019explaining", axioms=("dummy", "symmetry"))
def dasp(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    baseline: Float[Tensor, "*background"],
    players: Players | None = None,
    sizes: int | None = None,
    batch_size: int | None = None,
) -> Attribution:
    r"""Approximate Shapley values by sending a random coalition through the network as such.

    $$
    \phi_i \approx \frac1n \sum_{k=0}^{n-1} \Bigl(
        \mathbb{E}_{|S| = k} \bigl[ F(x_{S \cup \{i\}}) \bigr] - \mathbb{E}_{|S| = k} \bigl[ F(x_S)
        \bigr] \Bigr), \qquad S \subseteq N \setminus \{i\}
    $$

    What the first layer makes of a random coalition of k players is taken for a normal number of
    the right mean and variance; these two are handed on from layer to layer, as if all numbers of
    a layer were independent. There is no sampling, and the cost is that of 2 n^2 inputs, twice.
    It is exact for linear networks; elsewhere the sum misses F(x) - F(baseline) by `gap`, which
    tells of the error.

    It knows affine layers, batch normalisation, activations of single numbers, maximum and average
    pools, sums and reshapes. The score is read from the mean output: take a logit or a margin.

    Args:
        score: F, of a model whose first layer is linear or convolutional.
        x: the inputs.
        baseline: what stands where a player is hidden.
        players: n of them; by default every position is one.
        sizes: how many coalition sizes k are taken, evenly spread; all n by default.
        batch_size: coalitions in one pass of the model.

    >>> from unmask.score import logit
    >>> line = torch.nn.Linear(3, 1)
    >>> line.weight.data, line.bias.data = torch.tensor([[2.0, -3.0, 0.5]]), torch.ones(1)
    >>> x = torch.tensor([[1.0, 2.0, 4.0]])
    >>> dasp(logit(line, 0), x, baseline=torch.zeros(3)).values
    tensor([[ 2., -6.,  2.]])
    """
    admit(score, x, batch_size)
    base = admission.one_baseline_for(x[0], baseline)
    if players is not None:
        players.refuse_other(x.shape[1:])
    owner = torch.arange(x[0].numel()).view(x[0].shape) if players is None else players.owner
    n = int(owner.max()) + 1
    chosen = _sizes(n, sizes)
    each = torch.stack([_of_one(score, x, row, base, owner, chosen, batch_size or _AT_ONCE)
                        for row in range(len(x))])  # fmt: skip
    rows = torch.arange(len(x), device=x.device).split(batch_size or _AT_ONCE)
    with torch.no_grad():
        whole = torch.cat([score(x[some], some).double() for some in rows])
        hidden = torch.cat([score(base.expand_as(x[some]).clone(), some).double() for some in rows])
    gap = whole - hidden - each.double().sum(1)
    values = each.to(x.dtype)
    names = None if players is None else players.names
    if players is None:
        values = values.view(x.shape)
    evaluations = len(x) * (2 * n * len(chosen) + 2)
    return Attribution(values, gap=gap, names=names, evaluations=evaluations)


def _sizes(n: int, wanted: int | None) -> Float[Tensor, " sizes"]:
    """The middle of equal blocks of 0..n-1; with as many blocks as sizes, the sizes themselves."""
    if wanted is not None and wanted < 1:
        raise ValueError(f"{wanted} coalition sizes are too few. Give at least 1.")
    count = min(n, wanted or n)
    return (torch.arange(count, dtype=torch.float64) + 0.5) * n / count - 0.5


def _of_one(
    score: Score,
    x: Tensor,
    row: int,
    base: Tensor,
    owner: Tensor,
    sizes: Tensor,
    batch_size: int,
) -> Float[Tensor, " players"]:
    """The values of one input's players."""
    n = int(owner.max()) + 1
    alone = owner.to(x.device) == torch.arange(n, device=x.device).view(-1, *[1] * owner.ndim)
    always = torch.where((owner < 0).to(x.device), x[row], base)
    inputs = torch.cat([always[None], torch.where(alone, x[row].detach(), always)])
    player = torch.arange(n).repeat_interleave(len(sizes)).repeat(2)
    size = sizes.repeat(2 * n)
    joins = torch.arange(2).repeat_interleave(n * len(sizes))
    values = []
    for some in torch.arange(len(player)).split(batch_size):
        start = _Start(player[some], size[some], joins[some])
        output = expected_output(score.model, inputs, start)
        rows = torch.full((len(some),), row, device=x.device)
        with torch.no_grad():
            values.append(score.of(output, rows))
    without, within = torch.cat(values).view(2, n, len(sizes)).double()
    return (within - without).mean(1)


@dataclass(frozen=True)
class _Start:
    """Mean and variance of the first layer's output under a random coalition of the others.

    Args:
        player: whose value is sought, of each row.
        size: of the coalition, without that player.
        joins: 1 where the player is there too.
    """

    player: Int[Tensor, " rows"]
    size: Float[Tensor, " rows"]
    joins: Int[Tensor, " rows"]

    def __call__(self, layer: Affine) -> tuple[Tensor, Tensor]:
        made = layer.apply(layer.input, layer.weight, layer.bias)
        nothing, each = made[0], made[1:] - made[0]
        others = len(each) - 1
        shape = (-1, *[1] * nothing.ndim)
        k = self.size.to(each).view(shape)
        own = each[self.player.to(each.device)]
        mean = (each.sum(0) - own) / max(1, others)
        spread = ((each.square().sum(0) - own.square()) / max(1, others) - mean.square()).clamp_min(
            0
        )
        # Drawn without replacement: nothing is left to chance when all or none are taken.
        variance = spread * k * (others - k).clamp_min(0) / max(1, others - 1)
        return nothing + k * mean + self.joins.to(each).view(shape) * own, variance
