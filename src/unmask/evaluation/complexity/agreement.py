"""Agreement: how alike the explanations of several methods are."""

from collections.abc import Mapping
from itertools import combinations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask import admission
from unmask.bootstrap import bootstrap, means
from unmask.evaluation.association import constant, spearman
from unmask.results import Attribution, Measurement


def agreement(
    attributions: Mapping[str, Attribution],
    *,
    top: float = 0.1,
    absolute: bool = False,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""How alike explanations of the same inputs are, for each two methods.

    $$
    \rho_{km} = \frac1B \sum_b \mathrm{spearman}(a^k_b, a^m_b), \qquad
    o_{km} = \frac1B \sum_b \frac{|T(a^k_b) \cap T(a^m_b)|}{|T|}
    $$

    T are the largest values in size, a share `top` of the positions [krishna2022disagreement].
    The numbers are `rank K with M` and `top K with M`, each with the ends of its interval, by the
    bootstrap over the inputs, and `chance`, what the overlap is of orders drawn at random. K comes
    before M in the mapping. An input on which one of the two says the same of all positions does
    not count.

    Methods that agree may be wrong together: it is no measure of truth.

    >>> one = Attribution(torch.tensor([[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 4.0, 8.0]]))
    >>> other = Attribution(-one.values)
    >>> found = agreement({"one": one, "other": other}, top=0.5)
    >>> found.numbers["rank one with other"], found.numbers["top one with other"]
    (-1.0, 1.0)

    Args:
        attributions: by name of the method, all of the same shape.
        top: share of the positions in T, one at least.
        absolute: whether ranks are those of the sizes, whatever the sign.
        generator: source of the draws of the intervals.
    """
    rows = {name: _row(name, one) for name, one in _alike(attributions).items()}
    positions = next(iter(rows.values())).shape[1]
    if not 0 < top <= 1:
        raise ValueError(
            f"The top is a share of the positions, but got {top}. Give a number above 0, up to 1."
        )
    k = max(1, round(top * positions))
    flat = {name: constant(row) for name, row in rows.items()}
    first = {name: _first(row.abs(), k) for name, row in rows.items()}
    ranked = {name: row.abs() if absolute else row for name, row in rows.items()}
    found: dict[str, Tensor] = {}
    for one, other in combinations(rows, 2):
        found[f"rank {one} with {other}"] = spearman(ranked[one], ranked[other])
    for one, other in combinations(rows, 2):
        overlap = (first[one] & first[other]).sum(1).double() / k
        found[f"top {one} with {other}"] = torch.where(flat[one] | flat[other], torch.nan, overlap)
    table = torch.stack(list(found.values()), 1).cpu()
    known = bootstrap(
        lambda weights: {"mean": means(weights, table)}, len(table), generator=generator
    )
    numbers = {"chance": k / positions}
    for place, name in enumerate(found):
        for end in ("", "_low", "_high"):
            numbers[name + end] = float(known[f"mean{end}"][place])
    return Measurement(numbers)


def _alike(attributions: Mapping[str, Attribution]) -> Mapping[str, Attribution]:
    """The explanations, refused if they cannot be set beside each other."""
    if len(attributions) < 2:
        raise ValueError(
            f"Agreement is between methods, but got {len(attributions)}. "
            "Give the explanations of two methods at least."
        )
    shapes = {name: tuple(one.values.shape) for name, one in attributions.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            f"The explanations have the shapes {shapes}. Give those of the same inputs, over the "
            "same positions or players."
        )
    return attributions


def _row(name: str, attribution: Attribution) -> Float[Tensor, "inputs positions"]:
    values = attribution.values.detach()
    admission.finite(f"The attribution of {name}", values)
    admission.filled(values)
    return values.flatten(1).to(torch.promote_types(values.dtype, torch.float32))


def _first(size: Tensor, k: int) -> Bool[Tensor, "inputs positions"]:
    """The k largest of each row; of a tie, the first positions."""
    order = size.argsort(dim=1, descending=True, stable=True)
    return torch.zeros_like(size, dtype=torch.bool).scatter_(1, order[:, :k], True)
