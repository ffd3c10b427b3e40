"""The flow of interactions between two networks, or two layers: kept, lost and gained."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.bootstrap import Bounds, bootstrap, means
from unmask.card import method
from unmask.interactions.terms.stacked import salient, stacked
from unmask.lattice import by_order, sizes
from unmask.results import Interactions, Measurement

_BOUNDS: Bounds = {
    **dict.fromkeys(("overlap", "forget", "new"), (0.0, torch.inf)),
    **dict.fromkeys(("completeness", "redundancy"), (0.0, 1.0)),
}


@method("cheng2024layerwise")
def interaction_flow(
    terms: Sequence[Interactions],
    *,
    other: Sequence[Interactions],
    tau: float = 0.05,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Say of each order how much of the strength of terms was kept, forgotten and added.

    $$
    s(T) = \min(|I_p(T)|, |I_q(T)|)\, [I_p(T)\, I_q(T) > 0], \quad
    \mathrm{overlap} = \sum_T s, \;
    \mathrm{forget} = \sum_T |I_p| - s, \;
    \mathrm{new} = \sum_T |I_q| - s
    $$

    From p, the terms, to q, the others: of the same inputs, as an earlier and a later layer see
    them, or an earlier and a later network. AND and OR terms are compared each with their own
    kind, salient ones only. What is kept and forgotten adds up to the strength of p, what is kept
    and new to that of q. These are definitions of ours in the sense of the paper, by strength
    rather than by count, so that they add up. Both sides must be on one scale: twice the logits
    are twice the strength, of which half is new.

    Sparsest explanations need not be unique: where several are as sparse, two networks that are
    nearly the same can differ in their terms.

    Curves over `order`, means over inputs: `overlap`, `forget`, `new`, each with `low` and `high`.
    Numbers, each with `low` and `high` too: `completeness`, the share of q's strength that p
    has already; `redundancy`, the share of p's strength that q does not have. They are ratios of
    means over inputs; NaN where there is no strength. `inputs` says how many. The bounds hold the
    value in 19 of 20 resamplings of the inputs; of one input they are NaN.

    Args:
        terms: of p, one explanation per input.
        other: of q, of the same inputs in the same order.
        tau: the least strength of a term, relative to the strongest of its input and side; 0 for
            all.
        generator: source of the resamplings.

    >>> from unmask.planted import terms_of
    >>> early = terms_of("abc", ands={("a",): 2.0, ("a", "b"): 1.0, ("b", "c"): 1.0})
    >>> late = terms_of("abc", ands={("a",): 3.0, ("a", "b"): -1.0})
    >>> flow = interaction_flow([early], other=[late])
    >>> flow.curves["overlap"].tolist(), flow.curves["forget"].tolist()
    ([2.0, 0.0, 0.0], [0.0, 2.0, 0.0])
    >>> flow.numbers["completeness"], flow.numbers["redundancy"]
    (0.5, 0.5)
    """
    if len(terms) != len(other):
        raise ValueError(
            f"The terms explain {len(terms)} inputs, the others {len(other)}. Give explanations "
            "of the same inputs, in the same order."
        )
    stack = stacked([*terms, *other])
    p, q = stack[: len(terms)], stack[len(terms) :]
    return flow(p, q, tau, generator)


def flow(
    p: Float[Tensor, "inputs kinds coalitions"],
    q: Float[Tensor, "inputs kinds coalitions"],
    tau: float,
    generator: torch.Generator | None,
) -> Measurement:
    """The same of effects that are stacked already.

    Args:
        p: effects before.
        q: effects after.
        tau: the least strength of a term.
        generator: source of the resamplings.
    """
    n = p.shape[-1].bit_length() - 1
    size = sizes(n).to(p.device)
    p, q = p * salient(p, tau), q * salient(q, tau)
    shared = torch.where(p * q > 0, torch.minimum(p.abs(), q.abs()), 0)
    parts = (shared, p.abs() - shared, q.abs() - shared)
    sums = [by_order(part.sum(-2), size, n) for part in parts]

    def statistics(weights: Float[Tensor, "draws inputs"]) -> dict[str, Tensor]:
        overlap, forget, new = (means(weights, part) for part in sums)
        kept, before, after = overlap.sum(1), forget.sum(1), new.sum(1)
        return {
            "overlap": overlap,
            "forget": forget,
            "new": new,
            "completeness": kept / (kept + after),
            "redundancy": before / (kept + before),
        }

    found = bootstrap(statistics, len(p), generator=generator, bounds=_BOUNDS)
    numbers = {name: float(value) for name, value in found.items() if value.dim() == 0}
    curves = {"order": torch.arange(1, n + 1, dtype=p.dtype, device=p.device)}
    curves |= {name: value for name, value in found.items() if value.dim()}
    panels = {"strength": ("order", "overlap", "forget", "new")}
    return Measurement({**numbers, "inputs": float(len(p))}, curves, panels)
