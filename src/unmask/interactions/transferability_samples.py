"""Transferability across samples: whether inputs of a class have their terms in common."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.admission import drawing
from unmask.bootstrap import bootstrap
from unmask.card import method
from unmask.interactions.terms.stacked import salient, stacked
from unmask.results import Interactions, Measurement

BLOCK = 2**22
"""Entries of the table of dictionaries that is held at a time."""


@method("li2023does")
def transferability_samples(
    terms: Sequence[Interactions],
    *,
    tau: float = 0.1,
    most: int | None = None,
    bins: int = 5,
    samples: int = 1000,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Ask whether the inputs of a class share their salient terms, and with the same sign.

    A term is salient on x if $|I(T \mid x)| \ge \tau \max_S |I(S \mid x)|$. A pattern is a set of
    players with its kind, AND or OR. With $n^\pm$ the numbers of inputs on which it is salient with
    either sign, and D_k the k most frequent patterns,

    $$
    \rho(k) = \operatorname{mean}_x \frac{|D_k \cap \Omega_x|}{|\Omega_x|}, \qquad
    \alpha = \frac{n^+ + n^-}{\mathrm{inputs}}, \quad
    \beta = \frac{\max(n^+, n^-)}{n^+ + n^-}, \quad
    \bar\beta = \frac{\sum \alpha \beta}{\sum \alpha}
    $$

    where Omega_x is what is salient on x. Inputs that have no terms at all count in alpha, but not
    in rho. Patterns are compared by the places of their players: the i-th player must mean the same
    on all inputs, as columns or the parts of aligned pictures do.

    The dictionary of rho is made of the inputs that it is tried on, and a pattern that is salient
    once has beta = 1, so both flatter few inputs. `rho_held_out` tries each input on the dictionary
    of all others. The intervals, ending in `_low` and `_high`, hold 95 % of what resampled inputs
    give, with the dictionary and the prevailing signs as they were found; they say nothing of
    another training of the network.

    Numbers: `inputs`; `patterns` salient anywhere; `salient`, terms per input; `beta`, which is
    beta bar, over all patterns, and `beta_repeated`, over those salient on two inputs or more;
    `dictionary_80`, the least k with rho of 0.8; `rho_half`, rho for the more frequent half of that
    many that are salient on the average input, see `half`, with interval.

    Curves over `k`, from 1: `rho`, `rho_held_out`, and of the k-th pattern `alpha` and `beta`. Of
    patterns in equal bins of alpha that are not empty: `bin_alpha`, their mean, `bin_beta` and
    `bin_patterns`, how many they are. `strength`: $|I| / \max |I|$ from the strongest term down,
    averaged over inputs, which falls at once if they are sparse.

    Args:
        terms: an explanation per input of the same class, by the same network.
        tau: the least strength of a salient term, relative to the strongest of its input.
        most: patterns at which the curves end; None for all.
        bins: of alpha.
        samples: how often inputs are resampled.
        generator: source of randomness.

    >>> from dataclasses import replace
    >>> from unmask.planted import planted_terms
    >>> own = planted_terms(4, 2, 1, torch.Generator().manual_seed(0))
    >>> found = transferability_samples([own, own, own, replace(own, effects=-own.effects)])
    >>> found.numbers["patterns"], found.numbers["beta"], found.curves["rho"].tolist()[-1]
    (3.0, 0.75, 1.0)
    """
    _whole("most", most, "Give a positive number of patterns, or None for all.")
    _whole("bins", bins, "Give a few, such as 5.")
    stack = stacked(terms)
    signs = (stack.sign() * salient(stack, tau)).flatten(1)
    signs = signs[:, (signs != 0).any(0)]
    there = (signs != 0).double()
    plus, minus = (signs > 0).double().sum(0), (signs < 0).double().sum(0)
    often = (plus + minus).argsort(descending=True, stable=True)
    signs, there, plus, minus = signs[:, often], there[:, often], plus[often], minus[often]
    alpha = (plus + minus) / len(signs)
    beta = torch.maximum(plus, minus) / (plus + minus)
    length = there.shape[1] if most is None else min(most, there.shape[1])

    count = there.sum(1)
    some = count > 0
    covered = _covered(there[some])
    rho = covered.mean(0) if some.any() else beta.new_zeros(0)
    numbers = {
        "inputs": float(len(signs)),
        "patterns": float(there.shape[1]),
        "salient": float(count.mean()),
        "beta_repeated": _repeated(plus, minus),
        "dictionary_80": float((rho < 0.8).sum() + 1 if len(rho) else 0),
    }
    half = max(1, round(float(count.mean()) / 2))
    parts = {
        "beta": (((signs * (plus - minus)) > 0) | ((plus == minus) & (signs > 0)), there),
        "rho_half": (there[:, :half] / count.clamp_min(1)[:, None], some[:, None]),
    }
    numbers |= {"half": float(half)} | _sure(parts, samples, drawing(generator))
    return Measurement(
        numbers,
        {
            "k": torch.arange(1, length + 1).to(beta),
            "rho": rho[:length],
            "rho_held_out": _held_out(there)[:length],
            "alpha": alpha[:length],
            "beta": beta[:length],
            **_binned(alpha, beta, bins),
            "strength": _strength(stack),
        },
        {
            "rho": ("k", "rho", "rho_held_out"),
            "mean beta": ("bin_alpha", "bin_beta"),
            "patterns": ("bin_alpha", "bin_patterns"),
        },
    )


def _sure(
    parts: Mapping[str, tuple[Tensor, Tensor]], samples: int, generator: torch.Generator
) -> dict[str, float]:
    """Ratios of sums over inputs, and where they lie if the inputs are drawn anew."""
    sums = {
        name: tuple(part.double().sum(1).cpu() for part in pair) for name, pair in parts.items()
    }

    def ratios(weights: Float[Tensor, "draws inputs"]) -> dict[str, Tensor]:
        return {name: (weights @ top) / (weights @ below) for name, (top, below) in sums.items()}

    found = bootstrap(
        ratios,
        len(next(iter(sums.values()))[0]),
        draws=samples,
        generator=generator,
        bounds=dict.fromkeys(parts, (0.0, 1.0)),
    )
    return {name: float(value) for name, value in found.items()}


def _covered(there: Float[Tensor, "inputs patterns"]) -> Float[Tensor, "inputs patterns"]:
    """What share of its terms the first k patterns hold, per input and k."""
    return there.cumsum(1) / there.sum(1, keepdim=True)


def _held_out(there: Float[Tensor, "inputs patterns"]) -> Float[Tensor, " patterns"]:
    """rho where the dictionary of each input is made of the others; blocks bound the memory."""
    total, rows = there.sum(0), there[there.sum(1) > 0]
    rho = torch.zeros_like(total)
    for block in rows.split(max(1, BLOCK // max(1, len(total)))):
        order = (total - block).argsort(dim=1, descending=True, stable=True)
        known = (total - block > 0) * block  # a pattern that no other input has is in no dictionary
        rho += (known.gather(1, order).cumsum(1) / block.sum(1, keepdim=True)).sum(0)
    return rho / max(1, len(rows))


def _repeated(plus: Float[Tensor, " patterns"], minus: Float[Tensor, " patterns"]) -> float:
    again = plus + minus > 1
    return _ratio(torch.maximum(plus, minus)[again].sum(), (plus + minus)[again].sum())


def _binned(
    alpha: Float[Tensor, " patterns"], beta: Float[Tensor, " patterns"], bins: int
) -> dict[str, Tensor]:
    """Means over patterns with alpha in (0, 1/bins], (1/bins, 2/bins], ...; without empty bins."""
    # What lies on an edge but for rounding belongs below it.
    place = (alpha * bins - 1e-9).ceil().long().clamp(1, bins) - 1
    count, frequency, purity = (
        alpha.new_zeros(bins).index_add_(0, place, of)
        for of in (torch.ones_like(alpha), alpha, beta)
    )
    full = count > 0
    return {
        "bin_alpha": (frequency / count)[full],
        "bin_beta": (purity / count)[full],
        "bin_patterns": count[full],
    }


def _strength(stack: Float[Tensor, "inputs kinds coalitions"]) -> Float[Tensor, " ranks"]:
    """The mean of |I| / max |I| over inputs, by rank, as far as any input has terms."""
    size = stack.abs().flatten(1)
    size = size / size.amax(1, keepdim=True).clamp_min(torch.finfo(size.dtype).tiny)
    ranked = size.sort(1, descending=True).values.mean(0)
    return ranked[: max(1, int((ranked > 0).sum()))]


def _ratio(part: Tensor, whole: Tensor) -> float:
    """Of nothing, nothing."""
    return float(part / whole) if whole > 0 else 0.0


def _whole(name: str, value: int | None, advice: str) -> None:
    if value is not None and value < 1:
        raise ValueError(f"{name} counts from 1, but is {value}. {advice}")
