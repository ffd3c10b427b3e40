"""How few positions an explanation rests on: Gini index, entropy, and how many are not zero."""

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.results import Attribution, Rating


@method("chalasani2020concise", "hurley2009comparing")
def gini(attribution: Attribution) -> Rating:
    r"""How unevenly an explanation is spread over the positions.

    $$
    G = \frac{\sum_{i=1}^n (2i - n - 1)\, |a|_{(i)}}{n \sum_i |a_i|}, \qquad
    |a|_{(1)} \le \dots \le |a|_{(n)}
    $$

    0 where all positions matter alike, 1 - 1/n where a single one does: higher is sparser, and
    taken to be easier to read. It says nothing of whether the explanation is right. Where all
    values are zero: NaN.

    >>> gini(Attribution(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))).values.tolist()
    [0.25]

    Args:
        attribution: a.
    """
    size = _sizes(attribution).sort(1).values
    n = size.shape[1]
    weight = torch.arange(1 - n, n, 2, device=size.device).to(size)
    return Rating(_kept(attribution, (size * weight).sum(1) / (n * size.sum(1))), True)


@method("bhatt2020evaluating")
def attribution_entropy(attribution: Attribution) -> Rating:
    r"""Entropy of an explanation's shares, in nats.

    $$
    H = -\sum_i p_i \ln p_i, \qquad p_i = \frac{|a_i|}{\sum_j |a_j|}
    $$

    0 where a single position matters, ln n where all matter alike: lower is simpler. Of
    explanations of different sizes, compare H / ln n. Where all values are zero: NaN.

    >>> attribution_entropy(Attribution(torch.tensor([[1.0, 1.0, 0.0, 0.0]]))).values
    tensor([0.6931])

    Args:
        attribution: a.
    """
    size = _sizes(attribution)
    shares = size / size.sum(1, keepdim=True)
    return Rating(_kept(attribution, -torch.xlogy(shares, shares).sum(1)), False)


@method("nguyen2020quantitative")
def effective_complexity(attribution: Attribution, *, threshold: float = 1e-5) -> Rating:
    r"""Share of the positions that are said to matter at all.

    $$
    E = \frac1n\, \bigl|\{i : |a_i| > \theta \max_j |a_j|\}\bigr|
    $$

    Lower is simpler. The paper looks for the smallest set of positions that keeps the model's
    expected loss; this is its short form, which needs no model. Where all values are zero: NaN.

    >>> effective_complexity(Attribution(torch.tensor([[4.0, -3.0, 0.0, 0.0]]))).values.tolist()
    [0.5]

    Args:
        attribution: a.
        threshold: theta.
    """
    if not 0 <= threshold < 1:
        raise ValueError(
            f"The threshold is a share of the largest value, but got {threshold}. "
            "Give a number from 0 on, below 1."
        )
    size = _sizes(attribution)
    found = (size > threshold).to(size).mean(1)
    return Rating(_kept(attribution, found), False)


def _sizes(attribution: Attribution) -> Float[Tensor, "inputs positions"]:
    """|a|, as a share of the largest, so that no sum of small or large ones is lost; checked."""
    if not isinstance(attribution, Attribution):
        raise TypeError(
            f"A metric rates an Attribution, but got a {type(attribution).__name__}. "
            "Wrap the values: Attribution(values)."
        )
    values = attribution.values.detach()
    admission.finite("The attribution", values)
    admission.filled(values)
    size = values.flatten(1).abs().double()
    if size.shape[1] < 2:
        raise ValueError(
            f"The attribution has shape {tuple(values.shape)}: nothing can be spread over one "
            "position. Give a row of two values at least per input."
        )
    return size / size.amax(1, keepdim=True)


def _kept(attribution: Attribution, found: Tensor) -> Float[Tensor, " inputs"]:
    """In the type of the attribution, float32 at least. Of zeros alone it is 0 / 0 or nothing."""
    values = attribution.values.detach()
    found = torch.where(values.flatten(1).any(1), found, torch.nan)
    return found.to(torch.promote_types(values.dtype, torch.float32))
