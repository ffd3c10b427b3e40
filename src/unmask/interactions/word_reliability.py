"""How much of the logic of an output rests on words that it should rest on."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask.bootstrap import bootstrap, means
from unmask.card import method
from unmask.lattice import by_order
from unmask.results import Interactions, Measurement


@method("chen2024alignment")
def word_reliability(
    terms: Sequence[Interactions],
    *,
    annotation: Bool[Tensor, "*inputs players"],
    forbidden: Bool[Tensor, "*inputs players"] | None = None,
    samples: int = 1000,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Say how much of the effects rests on relevant words alone, and how much on others.

    $$
    \mathrm{reliable} = \frac{\sum_T |I(T)|\, r(T)}{\sum_T |I(T)|}, \qquad
    r(T) = \begin{cases} 1[\,T \text{ has no word that must not matter}\,] & \text{AND} \\
    \text{share of words in } T \text{ that may matter} & \text{OR} \end{cases}
    $$

    An AND term fires only with all of its words, so a single wrong one spoils it; of an OR term
    each word is as good as another. The rest is `irrelevant` or, by the same rule, `forbidden`:
    an AND term with a forbidden word, an OR term by its share of these. These weights are ours,
    after the idea of the paper, whose own were not read.

    The numbers are means over the inputs, each of its own shares, with intervals of 95 % by inputs
    drawn anew (`_low`, `_high`; of a single input NaN). Curves over `order`: the three shares
    of all effects, so that together they sum to 1. An input without effects is left out.

    Args:
        terms: explanations of games with equally many players.
        annotation: True for words that must not matter, one row for all inputs or one for each.
        forbidden: True for those of them that are not just irrelevant but must not be used.
        samples: how often inputs are drawn anew.
        generator: source of these draws.

    >>> from unmask.planted import terms_of
    >>> found = terms_of("ab", ands={("a",): 3.0, ("a", "b"): -1.0}, ors={("a", "b"): 4.0})
    >>> word_reliability([found], annotation=torch.tensor([False, True])).numbers["reliable"]
    0.625
    """
    if isinstance(terms, Interactions):
        terms = [terms]
    wrong, worst = _annotated(terms, annotation, forbidden)
    n = len(terms[0].names)
    rows = [_shares(one, wrong[i], worst[i], n) for i, one in enumerate(terms)]
    shares = torch.stack(rows)  # inputs, kinds, orders
    names = ("reliable", "irrelevant", "forbidden")

    def statistics(weights: Float[Tensor, "draws inputs"]) -> dict[str, Tensor]:
        mean = means(weights, shares.sum(2))
        return {name: mean[:, i] for i, name in enumerate(names)}

    found = bootstrap(statistics, len(terms), draws=samples, generator=generator)
    mean = means(torch.full((1, len(terms)), 1 / len(terms)), shares)[0]
    return Measurement(
        {"inputs": float(len(terms))} | {name: float(value) for name, value in found.items()},
        {"order": torch.arange(1, n + 1).to(mean)} | dict(zip(names, mean, strict=True)),
        {"share of the strength": ("order", *names)},
    )


def _shares(
    terms: Interactions, wrong: Bool[Tensor, " players"], worst: Bool[Tensor, " players"], n: int
) -> Float[Tensor, "kinds orders"]:
    """Of one input, the shares of its effects by kind and order; NaN where it has none."""
    strength = terms.effects.double().abs()
    order = terms.order
    among = order.double().clamp_min(1)
    members = terms.members
    count = (members & wrong).sum(1), (members & worst).sum(1)
    bad, banned = (
        torch.where(terms.is_or & (order > 1), some / among, (some > 0).double()) for some in count
    )
    kinds = torch.stack([1 - bad, bad - banned, banned])
    return by_order(kinds * strength, order, n) / strength.sum()


def _annotated(
    terms: Sequence[Interactions], annotation: Tensor, forbidden: Tensor | None
) -> tuple[Tensor, Tensor]:
    """For each input, the words that must not matter and those that must not be used."""
    counts = {len(one.names) for one in terms}
    if len(counts) != 1:
        raise ValueError(
            f"Shares are compared by order where all explanations have equally many players, but "
            f"these have {sorted(counts)}. Give the terms of one input at least, and of the same "
            "number of words."
        )
    n = counts.pop()
    device = terms[0].members.device
    wanted = (len(terms), n)
    forbidden = torch.zeros(n, dtype=torch.bool) if forbidden is None else forbidden
    for name, given in (("annotation", annotation), ("forbidden", forbidden)):
        if given.dtype != torch.bool or given.shape not in (wanted, wanted[1:]):
            raise ValueError(
                f"{name} says of each of {n} words whether it must not matter, but is "
                f"{given.dtype} of shape {tuple(given.shape)}. Give True and False for each word, "
                f"in one row for all inputs or in {len(terms)} rows."
            )
    wrong = (annotation.to(device) | forbidden.to(device)).expand(wanted)
    return wrong, forbidden.to(device).expand(wanted)
