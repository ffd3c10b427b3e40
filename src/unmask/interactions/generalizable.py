"""Generalizable interactions: the terms that several networks share, extracted together."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask.admission import finite
from unmask.card import method
from unmask.game import LARGEST_TABLE, Game
from unmask.interactions.and_or import STEPS, admit_effort, and_or_tables
from unmask.interactions.solver.joint_programme import JointBest, JointProgramme
from unmask.interactions.solver.joint_settling import joint_settle
from unmask.interactions.solver.joint_splitting import joint_splitting
from unmask.interactions.solver.programme import programme
from unmask.lattice import coalitions, indices, sizes
from unmask.results import Interactions, JointInteractions

FEW, MANY = 10, 12
"""Players up to which tiny terms are made zero, which takes one dense inverse per network; and up
to which many digits cost less than a second."""


@method("chen2024defining")
def generalizable(
    games: Sequence[Game],
    *,
    alpha: float = 0.1,
    tolerance: float = 0.0,
    normalised: bool = False,
    precision: float | None = None,
    steps: int = STEPS,
    networks: Sequence[str] | None = None,
) -> JointInteractions:
    r"""Write the games of several networks on one input as AND and OR terms in common.

    $$
    v^i(S) = v^i(\emptyset) + \sum_{\emptyset \ne T \subseteq S} I^i_\wedge(T)
             + \sum_{T \cap S \ne \emptyset} I^i_\vee(T), \qquad
    \text{least } \sum_T (1 - \alpha) \max_i |I^i(T)| + \alpha \sum_i |I^i(T)|
    $$

    The sum is over AND and OR terms alike. Of the infinitely many ways to write a game, one network
    alone would take its own sparsest; here a term that one network uses comes cheaper to the
    others, so where networks compute the same thing in the same words, the words agree. A term
    need not be in all of them, nor have the same sign. Each network is matched exactly on all 2^n
    coalitions; what is given up is sparsity of each by itself. With alpha = 1, or one network,
    nothing is shared, and it is `and_or` of each.

    Terms in common are no proof that the networks think alike, for the price makes them share what
    they can. On planted games with noise more of the terms that were truly common came out than
    one by one, but so did about twice as many that were not. Set them beside those of two networks
    on different inputs, or look at `transferability_models` of terms that were found one by one.

    The problem is convex. `gap` proves how near this result comes to the least sum that there is,
    by dual vectors whose rows g keep $\sum_i \max(|g_i| - \alpha, 0) \le 1 - \alpha$. Where
    several sets of terms cost the same, which is returned is not determined. Up to 10 players
    terms that vanish in the limit are made zero and left out where the gap allows it; else, and
    always beyond, many tiny ones stay: count those that are salient.

    The networks' effects are compared as they are. Where outputs differ in size, the largest sets
    the price and the smaller go along for a share of alpha: `normalised` divides each game by its
    own |v(N) - v(empty)| first, and multiplies the effects back.

    The paper also keeps the networks' shares of AND and OR in a box around each other. That is left
    out: it can only make terms dearer, and how wide it is to be is known only from other inputs. On
    the other hand nothing here depends on a learning rate, and there may be more than two networks.

    Args:
        games: v of each network, of the same players on the same input.
        alpha: what every network pays for itself, from 0, where only the largest effect of each
            term counts, to 1, where each network stands alone.
        tolerance: how far the terms may be off, as a share of each network's |v(N) - v(empty)|.
        normalised: whether games are made equally large before their effects are compared.
        precision: the gap at which to stop; None for 1e-3 up to 12 players and 1e-2 beyond.
        steps: iterations after which to stop in any case.
        networks: how the networks are called; None to count them.

    >>> names = ("tall", "red", "blue")
    >>> one = Game(lambda masks: 3.0 * masks[:, 1:].any(1) + masks[:, 0], names)
    >>> other = Game(lambda masks: 2.0 * masks[:, 1:].any(1), names)
    >>> shared = generalizable([one, other], networks=("large", "small"))
    >>> shared.members.tolist(), shared.is_or.tolist()
    ([[True, False, False], [False, True, True]], [False, True])
    >>> shared.effects.round(decimals=6).tolist()
    [[1.0, 3.0], [0.0, 2.0]]
    """
    if not games:
        raise ValueError("There are no games. Give the game of each network on the same input.")
    names = games[0].names
    for place, game in enumerate(games):
        if game.names != names:
            raise ValueError(
                f"The players of game 0 are {names}, those of game {place} {game.names}. Networks "
                "share terms where they play with the same players on the same input."
            )
    return generalizable_tables(
        torch.stack([game.table().detach().double() for game in games])[None],
        names,
        alpha=alpha,
        tolerance=tolerance,
        normalised=normalised,
        precision=precision,
        steps=steps,
        networks=networks,
    )[0]


def generalizable_tables(
    tables: Float[Tensor, "inputs networks coalitions"],
    names: Sequence[str],
    *,
    alpha: float = 0.1,
    tolerance: float = 0.0,
    normalised: bool = False,
    precision: float | None = None,
    steps: int = STEPS,
    networks: Sequence[str] | None = None,
) -> list[JointInteractions]:
    """The same as `generalizable` for many inputs, all at once.

    Each input leaves the batch when its own gap is reached.

    Args:
        tables: values of all coalitions in lattice order, of every network on every input.
        names: of the players, which the inputs have in common.
        alpha: as in `generalizable`.
        tolerance: as in `generalizable`.
        normalised: as in `generalizable`, of each input by itself.
        precision: as in `generalizable`, of each input.
        steps: as in `generalizable`.
        networks: as in `generalizable`.
    """
    names = tuple(names)
    _admit(tables, names, alpha, tolerance, precision, steps)
    called = _called(networks, tables.shape[1])
    tables = tables.detach().double()
    v = tables - tables[..., :1]
    scale = _scale(v) if normalised else torch.ones_like(v[..., :1])
    v = v / scale
    if alpha == 1 or tables.shape[1] == 1:
        found = _alone(v, names, tolerance, precision, steps)
    else:
        if precision is None:
            precision = 1e-3 if len(names) <= MANY else 1e-2
        found = _together(v, alpha, tolerance, precision, steps)
    members, players = coalitions(len(names)).to(v.device), len(names)
    results = []
    for row, (effects, gap) in enumerate(found):
        effects = effects * scale[row] + 0.0  # which makes a negative zero a plain one
        used = (effects != 0).any(0)
        is_or = torch.arange(len(used), device=v.device) >= 2**players
        results.append(
            JointInteractions(
                members=members.repeat(2, 1)[used],
                is_or=is_or[used],
                effects=effects[:, used],
                empty=tables[row, :, 0],
                names=names,
                networks=called,
                gap=gap,
                evaluations=tables.shape[1] * 2**players,
            )
        )
    return results


_Found = list[tuple[Float[Tensor, "networks twice"], float]]
"""Of each input: the effects of all ANDs, then of all ORs, in lattice order; and the gap."""


def _alone(
    v: Float[Tensor, "inputs networks coalitions"],
    names: tuple[str, ...],
    tolerance: float,
    precision: float | None,
    steps: int,
) -> _Found:
    """Nothing is shared: each network's own sparsest terms, and what they cost together."""
    logics = and_or_tables(
        v.flatten(0, 1), names, tolerance=tolerance, precision=precision, steps=steps
    )
    found: _Found = []
    for first in range(0, len(logics), v.shape[1]):
        own = logics[first : first + v.shape[1]]
        effects = torch.stack([_spread(one) for one in own])
        cost = effects.abs().sum(1)
        missing = sum(float(one.gap or 0.0) * float(c) for one, c in zip(own, cost, strict=True))
        found.append((effects, missing / max(float(cost.sum()), torch.finfo(v.dtype).tiny)))
    return found


def _spread(terms: Interactions) -> Float[Tensor, " twice"]:
    full = terms.effects.new_zeros(2 * 2 ** len(terms.names))
    place = indices(terms.members) + terms.is_or * 2 ** len(terms.names)
    return full.index_add(0, place, terms.effects)


def _together(
    v: Float[Tensor, "inputs networks coalitions"],
    alpha: float,
    tolerance: float,
    precision: float,
    steps: int,
) -> _Found:
    """The joint programme, of the players that matter to some network.

    Logics without the others are never dearer than logics with them: put them to absent, and every
    AND with one vanishes, every OR with one becomes an OR without, which merging makes no dearer.
    A game that its noise explains needs no terms, and is put to zero.
    """
    noise = tolerance * v[..., -1].abs()
    covered = v.abs().amax(-1) <= noise
    v, noise = v.masked_fill(covered[..., None], 0), noise.masked_fill(covered, 0)
    matters = _matters(v)
    patterns, group = matters.unique(dim=0, return_inverse=True)
    found: dict[int, tuple[Tensor, float]] = {}
    for i, pattern in enumerate(patterns):
        rows = (group == i).nonzero()[:, 0]
        few = int(pattern.sum())
        inner = torch.zeros(2**few, len(pattern), dtype=torch.bool, device=v.device)
        inner[:, pattern] = coalitions(few).to(v.device)
        place = indices(inner)
        best = _solved(v[rows][..., place], alpha, noise[rows], precision, steps)
        sign = 1 - 2 * (sizes(few) % 2).to(v)
        effects = v.new_zeros(len(rows), *v.shape[1:2], 2, v.shape[2])
        effects[:, :, 0, place] = best.and_terms() * sign
        effects[:, :, 1, place] = best.y.flip(-1)
        for row, own, gap in zip(rows.tolist(), effects, best.gap.tolist(), strict=True):
            found[row] = own.flatten(1), gap
    return [found[row] for row in range(len(v))]


def _solved(
    v: Float[Tensor, "inputs networks inner"],
    alpha: float,
    noise: Float[Tensor, "inputs networks"],
    precision: float,
    steps: int,
) -> JointBest:
    players = v.shape[-1].bit_length() - 1
    single = programme(v.flatten(0, 1), v.new_ones(players + 1), noise.flatten())
    problem = JointProgramme(single.w.view_as(v), alpha, noise)
    best = JointBest(problem)
    if players:
        joint_splitting(problem, best, precision=precision, steps=steps)
    if 0 < players <= FEW:
        joint_settle(best, precision)
    return best


def _matters(
    v: Float[Tensor, "inputs networks coalitions"],
) -> Bool[Tensor, "inputs players"]:
    """Which players change any value, by more than the last digit of the network's largest."""
    players = v.shape[-1].bit_length() - 1
    dust = 1e-15 * v.abs().amax(-1)
    change = [
        v.unflatten(-1, (-1, 2, 2**i)).diff(dim=-2).abs().amax((-3, -2, -1)) > dust
        for i in range(players)
    ]
    return torch.stack(change, dim=-1).any(1)


def _scale(v: Float[Tensor, "inputs networks coalitions"]) -> Float[Tensor, "inputs networks 1"]:
    scale = v[..., -1:].abs()
    if not bool((scale > 1e-12 * v.abs().amax(-1, keepdim=True)).all()):
        row, network = (scale[..., 0] <= 1e-12 * v.abs().amax(-1)).nonzero()[0].tolist()
        raise ValueError(
            f"Games are made equally large by |v(N) - v(empty)|, but for network {network} on "
            f"input {row} that is {float(scale[row, network]):.3g}. Leave out normalised, or "
            "divide the values of the games by a size of your own."
        )
    return scale


def _called(networks: Sequence[str] | None, count: int) -> tuple[str, ...]:
    if networks is None:
        return tuple(f"network {i}" for i in range(count))
    if isinstance(networks, str) or len(networks) != count:
        raise ValueError(
            f"There are {count} networks, but their names are {networks!r}. Give a list with one "
            "name per game."
        )
    return tuple(networks)


def _admit(
    tables: Tensor,
    names: tuple[str, ...],
    alpha: float,
    tolerance: float,
    precision: float | None,
    steps: int,
) -> None:
    players = len(names)
    fits = 1 <= players <= LARGEST_TABLE and tables.shape[2:] == (2**players,)
    if not fits or 0 in tables.shape:
        raise ValueError(
            f"Tables of {players} players are of shape [inputs, networks, 2^{players}], one player "
            f"at least and {LARGEST_TABLE} at most, but these are {tuple(tables.shape)}. Give one "
            "value per coalition for every network on every input, and one name per player."
        )
    finite("The table of values", tables)
    if not 0 <= alpha <= 1:
        raise ValueError(
            f"alpha is the share of its effects that each network pays for itself, but is {alpha}. "
            "Give a number from 0 to 1, such as 0.1."
        )
    admit_effort(tolerance, precision, steps)
