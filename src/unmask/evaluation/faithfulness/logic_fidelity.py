"""Fidelity to the logic: can the AND and OR terms of a score pay what an explanation says?"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.card import method
from unmask.evaluation.faithfulness.faithfulness_correlation import level
from unmask.evaluation.trial import Trial, tried
from unmask.game import LARGEST_TABLE, Game
from unmask.interactions import and_or_tables
from unmask.lattice import ZETA, coalitions, indices, sizes, transform
from unmask.results import Attribution, Interactions, Rating


@method("derks2000selectope", "chen2024defining")
def logic_fidelity(
    trial: Trial | Game,
    attribution: Attribution,
    *,
    terms: Sequence[Interactions] | None = None,
) -> Rating:
    r"""The share of an explanation that the exact logic of the score can pay for.

    $$
    1 - \frac{d(a)}{\lVert a \rVert_1 + d(0)}, \qquad
    d(a) = \min_{p} \Bigl\lVert a - \sum_T I(T)\, p_T \Bigr\rVert_1
    $$

    The score on all 2^n masks is written as AND and OR terms T of effect I(T), the sparsest there
    are. Whatever a term adds, its own players add, so that an explanation may share I(T) out among
    the players of T in any way: p_T is at least 0, and sums to 1 over T. What can be had like that
    is called the selectope of the terms; d is the credit, in units of the score, that would have to
    be given, taken away or moved for an explanation to be one of these.

    1 means that every bit of the explanation is paid by a term with that player in it, and nothing
    is left over: so it is for Shapley values, for weighted ones, and for what players add in any
    one order. Below 1, what is said is provably not the logic: credit to players of no term, of the
    wrong sign, more than a player's terms hold, or a sum that is not the score's. No method is
    taken for the truth. The minimum needs no search, as the selectope is the core of a convex game:

    $$
    d(a) = \max_S \bigl( L(S) - a(S) \bigr) + \max_S \bigl( a(S) - U(S) \bigr)
    $$

    L(S) is the least that S can get, the positive ANDs and ORs inside S and the negative ones that
    touch it, and U(S) = L(N) - L(N without S) the most.

    Where it misleads: the more terms of both signs, the more can be paid. On networks that read
    digits, shuffled Shapley values of twelve players come to some 0.8; on a table of ten columns
    and its thousand terms, to 1, and the number tells no explanation of the right sum from another.
    Set it beside that of the same values shuffled; `contribution_fidelity` tells those apart. The
    sparsest terms need not be the only ones, or exactly the sparsest beyond ten players: pass terms
    that are known. NaN where there is no term, as where the score is the same for all masks but for
    rounding.

    >>> from unmask.planted import terms_of
    >>> terms = terms_of("abc", ands={("a", "b"): 4.0}, ors={("b", "c"): 2.0})
    >>> for row in ([2.0, 3.0, 1.0], [0.0, 6.0, 0.0], [4.0, 0.0, 2.0], [0.0, 3.0, 3.0]):
    ...     told = Attribution(torch.tensor([row]))
    ...     print(round(logic_fidelity(Game(terms, terms.names), told).mean, 3))
    1.0
    1.0
    1.0
    0.833

    Args:
        trial: the inputs, and what becomes of the score when players are removed; 20 at most.
        attribution: a, what is said of each.
        terms: of each input, where they are known.
    """
    game, trial = trial, tried(trial)
    values = trial.of(attribution).double()
    n = values.shape[1]
    asked, flat = 0, torch.zeros(len(values), dtype=torch.bool, device=values.device)
    if terms is None:
        tables = _tables(game)
        flat = level(tables).to(values.device)  # its terms are rounding
        terms = and_or_tables(tables, trial.names)
        asked = trial.each * tables.numel()
    elif len(terms) != trial.inputs or any(one.names != trial.names for one in terms):
        raise ValueError(
            f"There are terms of {len(terms)} inputs and the players "
            f"{terms[0].names if len(terms) else ()}, but {trial.inputs} inputs of the players "
            f"{trial.names}. Give the terms of each input."
        )
    _small(n)
    least = torch.stack([_least(one) for one in terms]).to(values.device)
    nothing = _distance(torch.zeros_like(values), least)
    size = values.abs().sum(1) + nothing
    without = torch.tensor([not bool(one.effects.any()) for one in terms], device=size.device)
    share = torch.where(size > 0, 1 - _distance(values, least) / size, 1.0)
    return Rating(
        torch.where(without | flat, torch.nan, share.clamp(0, 1)), True, evaluations=asked
    )


@method("shapley1953value")
def contribution_fidelity(trial: Trial | Game, attribution: Attribution) -> Rating:
    r"""How well an explanation foretells what each player adds to those before it.

    $$
    1 - \frac{\sum_i E_\pi \bigl( \Delta_i(\pi) - a_i \bigr)^2}{\sum_i E_\pi\, \Delta_i(\pi)^2},
    \qquad \Delta_i(\pi) = v\bigl(P_i(\pi) \cup \{i\}\bigr) - v\bigl(P_i(\pi)\bigr)
    $$

    The players come in a random order, and P_i are those before i. The means are exact, over all
    orders, from the table of all 2^n masks. It is 1 only for the right explanation of an additive
    score, 0 if nothing is said, and below where what is said is worse than that.

    Of one number per player the best is the mean of what it adds, its Shapley value, and it alone:
    the farther from these, the lower, by the square of the distance. Those who hold another number
    for the right one, such as the effect of removing a player from the whole input, must not judge
    by this. How far even the Shapley values stay below 1 is what players do together and no number
    per player can say. NaN where the score is the same for all masks, up to rounding.

    >>> product = Game(lambda own: 6.0 * own.all(1).double(), ("a", "b"))
    >>> [
    ...     round(contribution_fidelity(product, Attribution(torch.tensor([row]))).mean, 6)
    ...     for row in ([3.0, 3.0], [6.0, 0.0], [6.0, 6.0])
    ... ]
    [0.5, 0.0, 0.0]

    Args:
        trial: the inputs, and what becomes of the score when players are removed; 20 at most.
        attribution: a, what is said of each.
    """
    game, trial = trial, tried(trial)
    values = trial.of(attribution).double()
    n = values.shape[1]
    asked = _tables(game)
    tables = asked.double().to(values.device)
    chance = _chance_before(n).to(tables)
    error, size = torch.zeros_like(values), torch.zeros_like(values)
    for i in range(n):
        added = tables.unflatten(1, (-1, 2, 2**i)).diff(dim=2).flatten(1)
        before = chance.view(-1, 2, 2**i)[:, 0].flatten()
        error[:, i] = (added - values[:, i : i + 1]).square() @ before
        size[:, i] = added.square() @ before
    flat = level(asked).to(values.device)
    fidelity = 1 - error.sum(1) / size.sum(1)
    return Rating(
        torch.where(flat, torch.nan, fidelity), True, evaluations=trial.each * tables.numel()
    )


def _tables(trial: Trial | Game) -> Float[Tensor, "inputs coalitions"]:
    """The scores of all inputs under all masks, in lattice order."""
    _small(len(trial.names))
    if isinstance(trial, Game):
        return trial.table().detach()[None]
    bits = 2 ** torch.arange(len(trial.names))
    return trial.ask(lambda _, k: (k[:, None] & bits.to(k.device)) > 0, 2 ** len(bits))


def _small(players: int) -> None:
    if players > LARGEST_TABLE:
        raise ValueError(
            f"{players} players have 2^{players} masks; at most {LARGEST_TABLE} players fit a "
            "table. Group the players into fewer, larger parts."
        )


def _least(terms: Interactions) -> Float[Tensor, " coalitions"]:
    """The least that each set of players can get, however the terms are shared out."""
    place, effects = indices(terms.members), terms.effects.double()
    full = effects.new_zeros(2, 2 ** len(terms.names))
    full[0].index_add_(0, place, effects.clamp_min(0))
    full[1].index_add_(0, place, effects.clamp_max(0))
    gains, losses = transform(full, ZETA)  # of the terms inside each set
    return gains + losses[-1] - losses.flip(0)


def _distance(
    values: Float[Tensor, "inputs players"], least: Float[Tensor, "inputs coalitions"]
) -> Float[Tensor, " inputs"]:
    """The L1 distance to the nearest way of sharing out the terms."""
    masks = coalitions(values.shape[1]).to(values)
    short = least - values @ masks.T
    # The most of S is what the others leave of the sum, so that both maxima come from one table.
    missing = short.amax(1)
    return missing + (missing - short[:, -1])


def _chance_before(players: int) -> Float[Tensor, " coalitions"]:
    r"""How likely a set is just those who come before one player outside of it."""
    size = torch.arange(players + 1, dtype=torch.float64)
    log = (size + 1).lgamma() + (players - size).lgamma() - torch.tensor(players + 1.0).lgamma()
    log[-1] = -torch.inf  # nobody is outside
    return log.exp()[sizes(players)]
