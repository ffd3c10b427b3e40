"""AND-OR interactions: the sparsest logical model of a game."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unmask.admission import finite
from unmask.card import method
from unmask.game import LARGEST_TABLE, Game
from unmask.interactions.solver.programme import Best
from unmask.interactions.solver.sparsest import sparsest
from unmask.lattice import coalitions, indices, sizes
from unmask.results import Interactions

OrderWeights = Sequence[float] | Callable[[int], float]
"""How much an effect of each order counts: from order 0 or 1 on, or a function of the order."""

STEPS = 5000


@method("li2023defining", "chen2024defining", axioms=("matching", "dummy"))
def and_or(
    game: Game,
    *,
    tolerance: float = 0.0,
    order_weights: OrderWeights | None = None,
    precision: float | None = None,
    steps: int = STEPS,
    start: Interactions | None = None,
) -> Interactions:
    r"""Write a game as AND and OR terms, as few and as small as possible.

    $$
    v(S) = v(\emptyset) + \sum_{\emptyset \ne T \subseteq S} I_\wedge(T)
           + \sum_{T \cap S \ne \emptyset} I_\vee(T), \qquad
    \text{least } \sum_T |I_\wedge(T)| + \sum_T |I_\vee(T)|
    $$

    An AND term acts when all of T is present, an OR term when any of T is; of a single player
    they are the same and count as AND. The terms reproduce v on all 2^n coalitions. Infinitely
    many sets of terms do; sought is the sparsest in the sense of the L1 norm, and `gap` proves how
    near this one comes: no set of AND and OR terms of this game has an L1 norm below (1 - gap)
    times this one's. It need not have the least number of terms, and where several are equally
    sparse, which of them is returned is not determined.

    With a `tolerance` the terms reproduce v + q instead, with a noise q that makes them fewer:
    |q| is at most the tolerance times |v(N) - v(empty)| on every coalition, and zero on the empty
    one. `universal_matching` says how large it became.

    Terms that are exactly zero are left out, and a player that never matters is in no term, unless
    `order_weights` that fall with the order make terms with it the cheaper ones.

    Example:
        >>> game = Game(lambda masks: 3.0 * masks[:, 1:].any(1), ("tall", "red", "blue"))
        >>> terms = and_or(game)
        >>> [terms.names[i] for i in terms.members[0].nonzero()[:, 0]], terms.is_or.tolist()
        (['red', 'blue'], [True])
        >>> terms.effects.round(decimals=6).tolist()
        [3.0]

    Args:
        game: v, with few enough players for a table of 2^n values.
        tolerance: how far the terms may be off, as a share of |v(N) - v(empty)|.
        order_weights: positive factors of |I(T)| in the sum, per order |T|: n of them from order
            1, n + 1 from order 0, or a function of the order. Their ratios matter; if they span
            more than a hundredfold and there are over 10 players, the steps may not suffice. `gap`
            is then of the weighted sum.
        precision: the gap at which to stop; None for 1e-6 up to 10 players and 1e-2 beyond.
        steps: iterations after which to stop in any case.
        start: terms of a similar game with the same players, where splitting begins if they are of
            use; as the bound is found anew, it seldom saves time.
    """
    table = game.table()
    return and_or_tables(
        table[None],
        game.names,
        tolerance=tolerance,
        order_weights=order_weights,
        precision=precision,
        steps=steps,
        start=None if start is None else [start],
    )[0]


def given_or_found(
    game: Game, terms: Interactions | None
) -> tuple[Float[Tensor, " coalitions"], Interactions]:
    """The table of a game, and terms of it: those that are given, else the sparsest.

    Args:
        game: v.
        terms: an explanation of v, if there is one already.
    """
    v = game.table().detach().double()
    if terms is None:
        return v, and_or(Game(game.value, game.names, lambda: v))
    if terms.names != game.names:
        raise ValueError(
            f"The terms speak of the players {terms.names}, the game of {game.names}. "
            "Give terms that were found for this game."
        )
    return v, terms


def and_or_tables(
    tables: Float[Tensor, "batch coalitions"],
    names: Sequence[str],
    *,
    tolerance: float = 0.0,
    order_weights: OrderWeights | None = None,
    precision: float | None = None,
    steps: int = STEPS,
    start: Sequence[Interactions] | None = None,
) -> list[Interactions]:
    """The same as `and_or` for many games of the same players, all at once.

    Each game leaves the batch when its own gap is reached.

    Args:
        tables: values of all coalitions in lattice order, one game per row.
        names: of the players.
        tolerance: as in `and_or`, of each game's own |v(N) - v(empty)|.
        order_weights: as in `and_or`.
        precision: as in `and_or`.
        steps: as in `and_or`.
        start: one per game.
    """
    names = tuple(names)
    _admit(tables, names, tolerance, precision, steps, start)
    weights = _weights(order_weights, len(names)).to(tables.device)
    tables = tables.detach().double()
    v = tables - tables[:, :1]
    noise = tolerance * v[:, -1].abs()
    matters = _matters(v)
    if not bool((weights[1:].diff() >= 0).all()):
        matters = torch.ones_like(matters)  # a player may then serve to make an order cheaper
    matters &= (v.abs().amax(-1) > noise)[:, None]  # else the noise explains it all

    results: dict[int, Interactions] = {}
    patterns, group = matters.unique(dim=0, return_inverse=True)
    for i, pattern in enumerate(patterns):
        rows = (group == i).nonzero()[:, 0]
        inner = _inside(pattern)
        best = sparsest(
            v[rows][:, inner],
            weights=weights[: int(pattern.sum()) + 1],
            noise=noise[rows],
            precision=precision,
            steps=steps,
            start=None
            if start is None
            else torch.stack([_alternatives(start[int(row)], inner) for row in rows]),
        )
        for row, terms in zip(
            rows.tolist(), _terms(best, pattern, tables[rows, 0], names), strict=True
        ):
            results[row] = terms
    return [results[row] for row in range(len(tables))]


def _matters(v: Float[Tensor, "batch coalitions"]) -> Bool[Tensor, "batch players"]:
    """Which players change any value, by more than the last digit of the largest one.

    A logic without the others is never less sparse than one with them: put them to absent, and
    every AND with one vanishes, every OR with one becomes an OR without.
    """
    players = v.shape[1].bit_length() - 1
    dust = 1e-15 * v.abs().amax(-1)
    change = [
        v.unflatten(1, (-1, 2, 2**i)).diff(dim=2).abs().amax((1, 2, 3)) for i in range(players)
    ]
    return torch.stack(change, dim=1) > dust[:, None]


def _inside(pattern: Bool[Tensor, " players"]) -> Int[Tensor, " inner"]:
    """The coalitions of these players only, in the lattice order of the few."""
    few = int(pattern.sum())
    masks = torch.zeros(2**few, len(pattern), dtype=torch.bool)
    masks[:, pattern.cpu()] = coalitions(few)
    return indices(masks).to(pattern.device)


def _alternatives(terms: Interactions, inner: Int[Tensor, " inner"]) -> Float[Tensor, " inner"]:
    """The OR terms as the solvers hold them: in mirrored order, of two players or more."""
    several = terms.is_or & (terms.order > 1)
    full = torch.zeros(2 ** len(terms.names), dtype=torch.float64, device=inner.device)
    place = indices(terms.members[several]).to(inner.device)
    full.index_add_(0, place, terms.effects[several].to(full))
    return full[inner].flip(0)


def _terms(
    best: Best,
    pattern: Bool[Tensor, " players"],
    empty: Float[Tensor, " batch"],
    names: tuple[str, ...],
) -> list[Interactions]:
    few = int(pattern.sum())
    members = torch.zeros(2**few, len(names), dtype=torch.bool, device=pattern.device)
    members[:, pattern] = coalitions(few).to(pattern.device)
    odd = (sizes(few) % 2 == 1).to(pattern.device)
    x = best.and_terms()
    found = []
    for row in range(len(x)):
        and_ = torch.where(odd, -x[row], x[row])
        or_ = best.y[row].flip(0)
        some_and, some_or = and_ != 0, or_ != 0
        found.append(
            Interactions(
                members=torch.cat([members[some_and], members[some_or]]),
                is_or=torch.cat(
                    [torch.zeros_like(some_and[some_and]), torch.ones_like(some_or[some_or])]
                ),
                effects=torch.cat([and_[some_and], or_[some_or]]),
                empty=float(empty[row]),
                names=names,
                gap=float(best.gap[row]),
                evaluations=2 ** len(names),
            )
        )
    return found


def _weights(order_weights: OrderWeights | None, players: int) -> Float[Tensor, " orders"]:
    """One positive weight per order, from 0 on."""
    if order_weights is None:
        return torch.ones(players + 1, dtype=torch.float64)
    if callable(order_weights):
        given = [1.0, *(float(order_weights(order)) for order in range(1, players + 1))]
    else:
        given = [float(weight) for weight in order_weights]
        if len(given) == players:
            given = [1.0, *given]
    weights = torch.tensor(given, dtype=torch.float64)
    if len(given) != players + 1 or not bool(((weights[1:] > 0) & weights[1:].isfinite()).all()):
        raise ValueError(
            f"order_weights must be one positive number per order, {players} of them from order 1 "
            f"or {players + 1} from order 0, but is {given}. Give a small weight to an order you "
            "prefer, never zero."
        )
    return weights / weights[1:].mean()  # only their ratios matter, and the solvers expect ones


def _admit(
    tables: Tensor,
    names: tuple[str, ...],
    tolerance: float,
    precision: float | None,
    steps: int,
    start: Sequence[Interactions] | None,
) -> None:
    players = len(names)
    if not 1 <= players <= LARGEST_TABLE or tables.shape[1:] != (2**players,):
        raise ValueError(
            f"A table of {players} players has 2^{players} values, at least one player and at most "
            f"{LARGEST_TABLE}, but the tables have the shape {tuple(tables.shape)}. Give one value "
            "per coalition and one name per player."
        )
    finite("The table of values", tables)
    admit_effort(tolerance, precision, steps)
    if start is None:
        return
    if len(start) != len(tables):
        raise ValueError(
            f"There are {len(tables)} tables but {len(start)} starts. Give one start per table."
        )
    for terms in start:
        if terms.names != names:
            raise ValueError(
                f"The players are {names}, but the start is of {terms.names}. "
                "Start from terms of the same players."
            )


def admit_effort(tolerance: float, precision: float | None, steps: int) -> None:
    """Refuse what no solver of sparsest terms can be asked for.

    Args:
        tolerance: as in `and_or`.
        precision: as in `and_or`.
        steps: as in `and_or`.
    """
    if not 0 <= tolerance < float("inf"):
        raise ValueError(
            f"tolerance is a share of |v(N) - v(empty)| of at least 0, but is {tolerance}. "
            "Give 0 for exact terms, or a small number such as 0.02."
        )
    if precision is not None and not 0 <= precision < float("inf"):
        raise ValueError(
            f"precision is the gap at which to stop, at least 0, but is {precision}. "
            "Give a small number such as 0.01, or None."
        )
    if steps < 1:
        raise ValueError(
            f"The solver needs at least one step, but steps is {steps}. Give a few thousand."
        )
