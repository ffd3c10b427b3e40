"""How much of an explanation lies inside a region: of its mass, and of its largest values."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unmask.card import method
from unmask.evaluation.association import ranks
from unmask.evaluation.localization.located import located, undefined_where
from unmask.results import Attribution, Rating


@method("arras2022clevr", "kohlbrenner2020towards")
def relevance_mass(
    attribution: Attribution, *, region: Bool[Tensor, "batch *input"], signed: bool = False
) -> Rating:
    r"""Share of an explanation's positive values that lies inside a region.

    $$
    m = \frac{\sum_{i \in R} \max(a_i, 0)}{\sum_i \max(a_i, 0)}
    $$

    A flat explanation gets the region's share of the input, which is what to compare with. On a
    box around an object this is the energy-based pointing game. An empty region is NaN, and so is
    an explanation without a positive value.

    >>> values = Attribution(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    >>> relevance_mass(values, region=torch.tensor([[True, False, True, False]])).values
    tensor([0.6000])

    Args:
        attribution: a; of images, the channels are added up if the region has one.
        region: R.
        signed: whether negative values count too, so that the share may leave [0, 1].
    """
    values, inside = _rows(attribution, region)
    if not signed:
        values = values.clamp(min=0)
    total = values.sum(1)
    share = torch.where(inside, values, 0).sum(1) / total
    return Rating(undefined_where(inside, torch.where(total == 0, torch.nan, share)), True)


@method("arras2022clevr")
def relevance_rank(attribution: Attribution, *, region: Bool[Tensor, "batch *input"]) -> Rating:
    r"""Share of the K largest values that lie inside a region of K positions.

    $$
    r = \frac{|T_K \cap R|}{K}, \qquad K = |R|, \quad T_K = \text{the } K \text{ largest of } a
    $$

    Positions that tie for the last places share them, so that a flat explanation gets the
    region's share of the input. An empty region is NaN.

    >>> values = Attribution(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    >>> relevance_rank(values, region=torch.tensor([[True, False, True, False]])).values.tolist()
    [0.5]

    Args:
        attribution: a; of images, the channels are added up if the region has one.
        region: R.
    """
    values, inside = _rows(attribution, region)
    size = inside.sum(1)
    return Rating(undefined_where(inside, _first_inside(values, inside, size) / size), True)


@method("theiner2022interpretable")
def top_k_intersection(
    attribution: Attribution, *, region: Bool[Tensor, "batch *input"], size: int | None = None
) -> Rating:
    r"""Share of the k largest values that lie inside a region.

    $$
    t = \frac{|T_k \cap R|}{k}
    $$

    A region of fewer than k positions cannot be hit by all of them, so that 1 is out of reach:
    choose k below the size of every region. Positions that tie for the last places share them. An
    empty region is NaN.

    >>> values = Attribution(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    >>> region = torch.tensor([[True, True, True, False]])
    >>> top_k_intersection(values, region=region, size=2).values.tolist()
    [1.0]

    Args:
        attribution: a; of images, the channels are added up if the region has one.
        region: R.
        size: k; by default a tenth of the positions, at least one.
    """
    values, inside = _rows(attribution, region)
    positions = values.shape[1]
    k = max(1, positions // 10) if size is None else size
    if not 1 <= k <= positions:
        raise ValueError(
            f"The {k} largest of {positions} values were asked for. "
            f"Give a size from 1 to {positions}."
        )
    sizes = torch.full((len(values),), k, device=values.device)
    return Rating(undefined_where(inside, _first_inside(values, inside, sizes) / k), True)


@method("fawcett2006introduction")
def localization_auc(attribution: Attribution, *, region: Bool[Tensor, "batch *input"]) -> Rating:
    r"""Chance that a position inside a region is said to matter more than one outside.

    $$
    \mathrm{AUC} = P(a_i > a_j) + \tfrac12 P(a_i = a_j), \qquad i \in R,\ j \notin R
    $$

    The area under the receiver operating characteristic of the values as a detector of the
    region, one half for a flat explanation. It depends on their order alone. A region that is
    empty, or all of the input, leaves nothing to compare: NaN.

    >>> values = Attribution(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    >>> localization_auc(values, region=torch.tensor([[True, False, True, False]])).values.tolist()
    [0.75]

    Args:
        attribution: a; of images, the channels are added up if the region has one.
        region: R.
    """
    values, inside = _rows(attribution, region)
    size = inside.sum(1).double()
    above = torch.where(inside, ranks(values), 0).sum(1) - size * (size + 1) / 2
    # Where one of the two is empty this is 0 / 0.
    return Rating((above / (size * (inside.shape[1] - size))).to(values), True)


@method("zhou2016learning")
def attribution_iou(
    attribution: Attribution, *, region: Bool[Tensor, "batch *input"], threshold: float = 0.2
) -> Rating:
    r"""Overlap of a region with the positions that are said to matter most.

    $$
    \mathrm{IoU} = \frac{|T \cap R|}{|T \cup R|}, \qquad
    T = \{i : a_i \ge \theta \max_j a_j\}
    $$

    The threshold, a fifth of the largest value in the paper, decides how large T is: compare
    explanations at the threshold that suits each of them best. An empty region is NaN, and so is
    an explanation without a positive value. The paper's box around T is left out.

    >>> values = Attribution(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    >>> region = torch.tensor([[True, False, True, False]])
    >>> attribution_iou(values, region=region, threshold=0.5).values
    tensor([0.6667])

    Args:
        attribution: a; of images, the channels are added up if the region has one.
        region: R.
        threshold: theta.
    """
    if not 0 < threshold <= 1:
        raise ValueError(
            f"The threshold is a share of the largest value, but got {threshold}. "
            "Give a number above 0, and 1 at most."
        )
    values, inside = _rows(attribution, region)
    most = values.amax(1, keepdim=True)
    chosen = values >= threshold * most
    share = (chosen & inside).sum(1).to(values) / (chosen | inside).sum(1)
    return Rating(undefined_where(inside, torch.where(most[:, 0] > 0, share, torch.nan)), True)


def _rows(
    attribution: Attribution, region: Tensor
) -> tuple[Float[Tensor, "inputs positions"], Bool[Tensor, "inputs positions"]]:
    values, inside = located(attribution, region)
    return values.flatten(1), inside.flatten(1)


def _first_inside(
    values: Float[Tensor, "inputs positions"],
    inside: Bool[Tensor, "inputs positions"],
    size: Int[Tensor, " inputs"],
) -> Float[Tensor, " inputs"]:
    """How many of the largest values lie inside; ties for the last places share them."""
    ordered = values.sort(1, descending=True).values
    last = ordered.gather(1, size.clamp(min=1)[:, None] - 1)
    above, tied = values > last, values == last
    left = size - above.sum(1)
    shared = left * (tied & inside).sum(1).to(values) / tied.sum(1)
    return (above & inside).sum(1) + shared
