"""Taylor effects: what every product of powers of the inputs adds to a score."""

from dataclasses import dataclass
from math import comb, factorial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask import admission
from unmask.internals import admit, frozen
from unmask.lattice import indices
from unmask.masking import cached_rows
from unmask.score import Score

LARGEST = 20_000
"""Derivatives of the highest degree that are taken at most."""


@dataclass(frozen=True)
class TaylorEffects:
    """The Taylor expansion of a score about a baseline, evaluated at some inputs.

    Args:
        degrees: kappa, how often each column occurs in a term; the first term is the constant.
        effects: phi, what each term adds at each input; that of the constant is f(b).
        step: x - b.
        left: f(x) less the sum of the effects: what terms of higher degree would have to add.
    """

    degrees: Int[Tensor, "terms columns"]
    effects: Float[Tensor, "batch terms"]
    step: Float[Tensor, "batch columns"]
    left: Float[Tensor, " batch"]


def taylor_effects(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    baseline: Float[Tensor, "*background"],
    degree: int,
    batch_size: int | None = None,
) -> TaylorEffects:
    r"""Expand a score about the baseline, term by term up to a degree.

    $$
    \phi(\kappa) = \frac{1}{\prod_i \kappa_i!}\,
        \frac{\partial^{|\kappa|} f(b)}{\partial x_1^{\kappa_1} \dots \partial x_n^{\kappa_n}}
        \prod_i (x_i - b_i)^{\kappa_i}, \qquad f(x) = \sum_\kappa \phi(\kappa)
    $$

    Exact for a polynomial of that degree. A network that is linear in pieces has no terms beyond
    the first degree at a point, whatever it does elsewhere; `left` of the result says what the
    expansion misses. Every n columns have C(n + d - 1, d) derivatives of degree d; each is a row
    of the batch, which is differentiated d times over.

    Args:
        score: f, differentiable as often as `degree` says.
        x: rows of a table.
        baseline: b.
        degree: the highest of the terms.
        batch_size: rows in one call of the model; by default what a processor's cache holds.

    >>> from unmask.score import logit
    >>> product = logit(lambda x: x[:, 0] ** 2 * x[:, 1], 0)
    >>> found = taylor_effects(
    ...     product, torch.tensor([[2.0, 3.0]]), baseline=torch.ones(2), degree=3
    ... )
    >>> dict(zip(map(tuple, found.degrees.tolist()), found.effects[0].tolist(), strict=True))[1, 1]
    4.0
    """
    admit(score, x, batch_size)
    words = _words(x, degree)
    b = admission.one_baseline_for(x[0], baseline)
    places = [words[:, :d].unique(dim=0, return_inverse=True) for d in range(1, degree + 1)]
    monomials = [
        torch.nn.functional.one_hot(prefix, x.shape[1]).sum(1).to(x.device) for prefix, _ in places
    ]
    degrees = torch.cat([torch.zeros(1, x.shape[1]).long().to(x.device), *monomials])

    step = (x.detach() - b).double()
    powers = step[:, None, :] ** degrees  # of nothing, 1
    if score.targets is None:
        coefficients = _coefficients(score, b, words, places, None, batch_size)[None]
    else:
        coefficients = torch.stack(
            [_coefficients(score, b, words, places, i, batch_size) for i in range(len(x))]
        )
    effects = coefficients.to(x.device) * powers.prod(2)
    rows = torch.arange(len(x), device=x.device).split(batch_size or cached_rows(b))
    with torch.inference_mode(False), torch.no_grad():
        values = torch.cat([score(x[some], some) for some in rows])
    return TaylorEffects(degrees, effects, step, values.double() - effects.sum(1))


def by_support(effects: TaylorEffects) -> Float[Tensor, "batch coalitions"]:
    r"""The effects of each set of columns together, in lattice order: psi and J.

    $$
    J(S) = \sum_{\kappa:\ \kappa_i > 0 \iff i \in S} \phi(\kappa), \qquad \psi(i) = J(\{i\})
    $$

    Where the expansion misses nothing, these are the dividends of the game in which columns are
    hidden by the baseline.

    Args:
        effects: an expansion.
    """
    place = indices(effects.degrees > 0)
    columns = effects.degrees.shape[1]
    return effects.effects.new_zeros(len(effects.effects), 2**columns).index_add_(
        1, place, effects.effects
    )


def _words(x: Tensor, degree: int) -> Int[Tensor, "words degree"]:
    """All products of that many columns, each as the columns in ascending order.

    The products of lower degree are their beginnings.
    """
    if x.ndim != 2:
        raise ValueError(
            f"Taylor terms are products of columns, but x has the shape {tuple(x.shape)}. "
            "Give rows of a table, [batch, columns]."
        )
    columns = x.shape[1]
    if degree < 1:
        raise ValueError(f"The highest degree of the terms is {degree}. Give at least 1.")
    count = comb(columns + degree - 1, degree)
    if count > LARGEST:
        raise ValueError(
            f"{columns} columns have {count} derivatives of degree {degree}; at most {LARGEST} "
            "are taken. Give a lower degree, or fewer columns."
        )
    return torch.combinations(torch.arange(columns), degree, with_replacement=True)


def _coefficients(
    score: Score,
    b: Float[Tensor, " columns"],
    words: Int[Tensor, "words degree"],
    places: list[tuple[Tensor, Tensor]],
    row: int | None,
    batch_size: int | None,
) -> Float[Tensor, " terms"]:
    """The derivatives at the baseline over the factorials, of degree 0 first."""
    size = batch_size or cached_rows(b)
    parts = [_derivatives(score, b, some, row) for some in words.split(size)]
    levels = [torch.cat(level) for level in zip(*parts, strict=True)]
    found = [levels[0][:1]]
    for level, (prefix, place) in zip(levels[1:], places, strict=True):
        # Many words begin alike; each of them has the same derivative there.
        value = level.new_zeros(len(prefix)).index_copy_(0, place.to(level.device), level)
        repeats = torch.nn.functional.one_hot(prefix, len(b)).sum(1).tolist()
        divisor = [float(torch.tensor([factorial(k) for k in kappa]).prod()) for kappa in repeats]
        found.append(value / value.new_tensor(divisor))
    return torch.cat(found)


def _derivatives(
    score: Score, b: Float[Tensor, " columns"], words: Int[Tensor, "words degree"], row: int | None
) -> list[Float[Tensor, " words"]]:
    """The score, and its derivative by the first column of each word, by the first two, ..."""
    words = words.to(b.device)
    source = None if row is None else torch.full((len(words),), row, device=b.device)
    with torch.inference_mode(False), torch.enable_grad(), frozen(score.model):
        point = b.clone().expand(len(words), -1).clone().requires_grad_()
        value = score(point.clone(), source)
        levels = [value.detach().double()]
        if not value.requires_grad:
            raise ValueError(
                f"The {score.name} does not depend on x by any differentiable path. "
                "Look for detach(), argmax or no_grad in the model."
            )
        for d in range(words.shape[1]):
            gradient = None
            if value.requires_grad:  # else it is linear by now, and no more will come
                more = d + 1 < words.shape[1]
                (gradient,) = torch.autograd.grad(
                    value.sum(), point, create_graph=more, allow_unused=True
                )
            if gradient is None:
                levels.append(torch.zeros_like(levels[0]))
                value = value.detach()
                continue
            value = gradient.gather(1, words[:, d : d + 1])[:, 0]
            levels.append(value.detach().double())
    for d, level in enumerate(levels):
        if not level.isfinite().all():
            raise ValueError(
                f"A derivative of degree {d} of the {score.name} at the baseline is not finite. "
                "Expand about a point where the model is smooth, or give a lower degree."
            )
    return levels
