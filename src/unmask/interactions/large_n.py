"""Interactions of games that are too large for a table."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from unmask.card import method
from unmask.game import LARGEST_TABLE, Game
from unmask.interactions.and_or import and_or
from unmask.interactions.sparse.adaptive_moebius import Ask, Dividends, adaptive_moebius, rows_of
from unmask.interactions.sparse.held_out import HeldOut, held_out
from unmask.interactions.sparse.order_limited import order_limited, small_sets, swelling
from unmask.interactions.sparse.proxy_trees import proxy
from unmask.interactions.sparse.purse import Purse
from unmask.interactions.sparse.refit import refit, significant
from unmask.interactions.sparse.signs_of_sparsity import Probe, probe
from unmask.interactions.sparse.sparse_fourier import design_for, sparse_fourier
from unmask.interactions.sparse.spectrum import Spectrum
from unmask.interactions.sparse.two_logics import Effects, two_logics
from unmask.lattice import MIRROR, MOEBIUS, coalitions, transform
from unmask.results import Interactions

_MOST_PLAYERS = 2**14 - 1
"""Of the largest code that is built in."""
_SPARSEST_SOLVED = 12
"""Players up to which all values are written in the fewest terms rather than the plain ones."""
_DUST = 1e-13
"""Dividends below this share of the largest value are rounding."""
_LEAST = 128
"""Coalitions below which nothing is found, and as many more as there are players."""
_STEADY = 1e-3
"""Noise, as a share of the spread of the values, that still lets single terms be searched for."""
_HALF = 0.5
_NEAR_FULL = 0.2
"""Share of a proxy's coalitions that lack a tenth of the players rather than half of them."""
_TABLE = 0.75
"""Share of what is left that a table of all small sets may take."""
_DENSE = 0.25
"""Share of the sets of one size that must add something for them all to be asked for."""
_PILOT = 0.25
"""Share of what is left that goes into a first proxy."""
_WELL = 0.01
"""Share of the variance that a proxy may leave without all small sets being fitted as well."""
_SOLVED = 2500
"""Small sets up to which that takes seconds."""
_HOPELESS = 0.7
"""Share of the variance that a first proxy leaves when trees are of little help."""
_ALONE = 0.05
"""Share of the variance that single players carry from which more coalitions help trees."""


@dataclass(frozen=True)
class _Found:
    """An explanation that may be chosen: dividends of the game, or of its mirror image."""

    dividends: Dividends
    mirrored: bool = False

    def __call__(self, masks: np.ndarray) -> np.ndarray:
        return self.dividends(~masks if self.mirrored else masks)


@method("kang2025spex", "butler2025proxyspex", "kang2024learning")
def large_n(
    game: Game,
    *,
    budget: int = 8192,
    degree: int = 5,
    coefficients: int = 1000,
    generator: torch.Generator | None = None,
) -> Interactions:
    r"""Find the strong AND and OR terms of a game with up to thousands of players.

    $$
    v(S) \approx v(\emptyset) + \sum_{T \subseteq S} I_\wedge(T)
        + \sum_{T \cap S \ne \emptyset} I_\vee(T), \qquad
    \text{residual} = \frac{\mathbb{E}_S (v(S) - \hat v(S))^2}{\operatorname{Var}_S\, v(S)}
    $$

    What is done depends on the game, as far as a few questions tell:

    1. If the budget holds all coalitions, they are all asked for, and the terms are exact.
    2. If the same question gets the same answer and most sets of three players add nothing, terms
       are searched one by one by halving [kang2024learning], AND or OR, whichever look fewer; they
       are exact if the search comes to an end. It is broken off half way if it explains little.
    3. If no set of k + 1 players adds anything but sets of k do, and so many of them that a search
       would take longer, all sets of at most k players are asked for instead, or all that lack
       at most k; what larger sets add is then searched for in what these leave. Here too there
       must be no noise, since sums over so many sets would magnify it.
    4. Else boosted trees tell which players act together: the largest of their exact Fourier
       coefficients are refitted by ridge regression [butler2025proxyspex].
    5. Where a quarter of the coalitions lets trees explain less than 30 %, and players by
       themselves carry less than 5 %, as in a game of parities, coalitions chosen by an
       error-correcting code tell the Fourier coefficients of at most `degree` players
       [kang2025spex].

    If the last two leave more than 1 %, all sets of up to k players are fitted as well, with those
    found and by themselves, for the largest k for which they are at most 2,500 and half as many as
    coalitions.

    The residual is measured on coalitions that served for nothing else, a tenth of the budget; a
    third of them lack at most a fifth of the players, and have a residual of their own, since an
    explanation may be good on average and poor near the input itself. Where several of the above
    have been tried, the one whose two residuals add up to least is returned, where more than 1
    counts as 1. Both are on the result: believe the terms as far as they are small.

    `empty` is what the explanation says of the empty coalition. Which of several equally small sets
    of AND and OR terms is returned, is not determined.

    Args:
        game: v.
        budget: coalitions that may be asked for.
        degree: players of a Fourier coefficient at most; AND and OR terms have no more.
        coefficients: how many of them a proxy keeps.
        generator: source of randomness.

    >>> from unmask.planted import planted_game
    >>> game, truth = planted_game(200, 10, 0, torch.Generator().manual_seed(0))
    >>> terms = large_n(game, budget=4000)
    >>> len(terms.effects), float(round(terms.residual, 9)), terms.evaluations < 2000
    (10, 0.0, True)
    """
    n = len(game.names)
    _admit(n, budget, degree, coefficients)
    if n <= LARGEST_TABLE and 2**n <= budget:
        return _exact(game)
    generator = generator or torch.Generator().manual_seed(0)
    random = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    purse = Purse(game, budget)
    judge = held_out(purse, n, random)
    signs = probe(purse, n, judge.rounding, int(_TABLE * purse.left), random)
    steady = judge.rounding <= _STEADY * judge.values.std() or judge.values.std() == 0
    found: list[_Found] = []
    if steady:
        found, complete = _searched(purse, n, signs, judge, random)
        if complete:
            return _best(found, game, purse, judge)
    if purse.left >= _LEAST or not found:
        found += _regressed(purse, n, degree, coefficients, judge, random)
    return _best(found, game, purse, judge)


def _exact(game: Game) -> Interactions:
    """The fewest terms where they can be found, else all AND or all OR."""
    n = len(game.names)
    if n <= _SPARSEST_SOLVED:
        return replace(and_or(game), residual=0.0, residual_near_full=0.0)
    v = game.table().detach().double()
    dividends = transform(v, MOEBIUS)
    mirrored = transform(transform(v, MIRROR), MOEBIUS)
    turned = bool(mirrored[1:].abs().sum() < dividends[1:].abs().sum())
    effects = mirrored if turned else dividends
    kept = effects.abs() > _DUST * v.abs().max()
    kept[0] = False
    members = coalitions(n).to(v.device)[kept]
    return Interactions(
        members=members,
        is_or=turned & (members.sum(1) > 1),
        effects=-effects[kept] if turned else effects[kept],
        empty=float(v[0]),
        names=game.names,
        evaluations=len(v),
        residual=0.0,
        residual_near_full=0.0,
    )


def _searched(
    purse: Purse, n: int, signs: Probe, judge: HeldOut, random: np.random.Generator
) -> tuple[list[_Found], bool]:
    """The terms of a game that has few, or few but small ones, AND or OR; and whether all are."""
    mirrored = signs.mirrored
    ask: Ask = (lambda masks: purse.ask(~masks)) if mirrored else purse.ask
    known = None
    if _to_be_tabulated(signs, n, purse, judge):
        known = order_limited(ask, n, order=signs.order, tolerance=judge.rounding)
        found = _Found(known, mirrored)
        if max(judge.residuals(found)) < _STEADY:
            return [found], True
    elif not signs.sparse:
        return [], False
    base = known
    more, complete = adaptive_moebius(
        ask if base is None else lambda masks: ask(masks) - base(masks),
        n,
        budget=purse.left,
        tolerance=lambda: max(judge.rounding, purse.tolerance),
        worth_going_on=lambda more: judge.residuals(_Found(more.plus(base), mirrored))[0] < _HALF,
        random=random,
    )
    found = _Found(more.plus(base), mirrored)
    return [found], complete and max(judge.residuals(found)) < _STEADY


def _to_be_tabulated(signs: Probe, n: int, purse: Purse, judge: HeldOut) -> bool:
    """Whether all small sets are to be asked for, rather than searched for those that matter."""
    if not signs.order:
        return False
    table = small_sets(n, signs.order)
    rounding = judge.rounding * swelling(n // 2, signs.order)
    return (
        (signs.order == 1 or signs.densities[signs.order - 1] >= _DENSE)
        and table <= _TABLE * purse.left
        and table <= signs.questions(n)
        and rounding <= _STEADY**0.5 * float(judge.values.std())
    )


def _regressed(
    purse: Purse,
    n: int,
    degree: int,
    coefficients: int,
    judge: HeldOut,
    random: np.random.Generator,
) -> list[_Found]:
    """Proxy trees, or where they fail what a code tells."""
    masks = _drawn(int(_PILOT * purse.left), n, random)
    values = purse.ask(masks)
    first = _Found(_dividends(proxy(masks, values, degree=degree, coefficients=coefficients)))
    found = [first]
    design = design_for(n, purse.left, degree)
    hopeless = judge.residuals(first)[0] > _HOPELESS and _of_players(masks, values) < _ALONE
    if design and hopeless:
        spectrum, rows, answers = sparse_fourier(
            purse.ask, n, design=design, tolerance=lambda: purse.tolerance, random=random
        )
        masks, values = np.concatenate([masks, rows]), np.concatenate([values, answers])
        fitted = refit(significant(spectrum, masks, values), masks, values)
    else:
        rest = _drawn(purse.left, n, random)
        masks, values = np.concatenate([masks, rest]), np.concatenate([values, purse.ask(rest)])
        fitted = proxy(masks, values, degree=degree, coefficients=coefficients)
    found.append(_Found(_dividends(fitted)))
    most = min(_SOLVED, len(masks) // 2)
    order = max((k for k in range(1, degree + 1) if small_sets(n, k) <= most), default=0)
    if order and judge.residuals(found[-1])[0] > _WELL:
        nothing = Spectrum(np.full((1, 1), n), np.zeros(1), n)
        for guess in (fitted, nothing):  # sets that were chosen by chance may be in the way
            found.append(_Found(_dividends(refit(guess.widened(order), masks, values))))
    return found


def _of_players(
    masks: Bool[np.ndarray, "rows players"], values: Float64[np.ndarray, " rows"]
) -> float:
    """The share of the variance over uniform coalitions that players carry each by itself."""
    uniform = masks.mean(1) < (1 - _HALF / 3)
    masks, values = masks[uniform], values[uniform] - values[uniform].mean()
    variance = float(np.mean(values**2))
    if variance == 0:
        return 0.0
    alone = (1.0 - 2.0 * masks).T @ values / len(values)
    # Chance alone gives each of n coefficients a share of 1 / rows.
    return float(alone @ alone) / variance - masks.shape[1] / len(values)


def _drawn(count: int, n: int, random: np.random.Generator) -> np.ndarray:
    """Coalitions to learn from: most of any kind, some of nearly all players."""
    full = random.random(count) < _NEAR_FULL
    return random.random((count, n)) < np.where(full, 0.9, _HALF)[:, None]


def _dividends(spectrum: Spectrum) -> Dividends:
    effects = spectrum.dividends()
    return Dividends(spectrum.players, effects.pop((), 0.0), effects)


def _best(found: list[_Found], game: Game, purse: Purse, judge: HeldOut) -> Interactions:
    """The explanation that errs least, as AND and OR terms."""
    chosen = min(found, key=lambda one: _badness(judge.residuals(one)))
    known = chosen.dividends
    empty = known.empty
    ands, ors = two_logics(known.effects)
    if chosen.mirrored:
        # v(N without S) has an AND where v has an OR of the other sign, less a constant.
        empty += sum(known.effects.values())
        ands, ors = _negative(ors), _negative(ands)
    terms = _terms(ands, ors, empty, game.names, purse.device)
    residual, near_full = judge.residuals(chosen)
    return replace(terms, evaluations=purse.spent, residual=residual, residual_near_full=near_full)


def _badness(residuals: tuple[float, float]) -> tuple[float, float]:
    """What is left unexplained on both kinds of coalition; beyond all of it, only among equals."""
    return sum(min(one, 1.0) for one in residuals), sum(residuals)


def _negative(effects: Effects) -> Effects:
    return {one: -effect for one, effect in effects.items()}


def _terms(
    ands: Effects, ors: Effects, empty: float, names: tuple[str, ...], device: torch.device | str
) -> Interactions:
    """The terms as tensors; of one player AND and OR are the same, and count as AND."""
    ands = dict(ands)
    for one in [one for one in ors if len(one) == 1]:
        ands[one] = ands.get(one, 0.0) + ors[one]
    ors = {one: effect for one, effect in ors.items() if len(one) > 1}
    members: Tensor = torch.from_numpy(rows_of([*ands, *ors], len(names)))
    return Interactions(
        members=members.to(device),
        is_or=(torch.arange(len(members)) >= len(ands)).to(device),
        effects=torch.tensor([*ands.values(), *ors.values()], dtype=torch.float64, device=device),
        empty=empty,
        names=names,
    )


def _admit(n: int, budget: int, degree: int, coefficients: int) -> None:
    if not 1 <= n <= _MOST_PLAYERS:
        raise ValueError(
            f"Terms are found among 1 to {_MOST_PLAYERS} players, but the game has {n}. Group the "
            "players into fewer, larger parts."
        )
    least = _LEAST + 2 * n if n > LARGEST_TABLE else min(2**n, _LEAST + 2 * n)
    if budget < least:
        raise ValueError(
            f"The terms of {n} players cannot be found from {budget} coalitions. Give a budget of "
            f"at least {least}, better of several thousand."
        )
    if degree < 1 or coefficients < 1:
        raise ValueError(
            f"degree and coefficients are at least 1, but are {degree} and {coefficients}. Leave "
            "them out, or give a degree from 2 to 5 and a few hundred coefficients."
        )
