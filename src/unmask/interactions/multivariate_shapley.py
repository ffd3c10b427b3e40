"""Multivariate Shapley interaction: what a set of players does that its players do not."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.game import LARGEST_TABLE, Game
from unmask.interactions.contexts.merged import Merged, error, merged
from unmask.lattice import coalitions
from unmask.results import Hierarchy, Measurement

MOST = 12
"""Members whose partitions are all tried: 3^12 steps, of 2^12 sets."""
_ALIKE = 1e-10
"""A set must bring so much more of the largest interaction, per player, to be one."""


@method("zhang2021interpreting")
def multivariate_shapley(
    game: Game,
    *,
    members: Sequence[int | str] | None = None,
    adjacent: bool = False,
    present: bool = False,
    samples: int = 1024,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Say what some players do together beyond what each does alone, and how much of it cancels.

    $$
    B([A]) = \phi_{[A]} - \sum_{i \in A} \phi_i
           = \sum_{T:\, |T \cap A| \ge 2} \frac{a(T)}{|T \setminus A| + 1}, \qquad
    T([A]) = \max_\Omega \sum_{C \in \Omega} B([C]) - \min_\Omega \sum_{C \in \Omega} B([C])
    $$

    $\phi_{[A]}$ is the Shapley value of A as one player among the others, $\phi_i$ that of a member
    when the rest of A is absent, a the dividends. As gains and losses within A cancel in B([A]),
    A is also cut into the sets of a partition $\Omega$ in the best and in the worst way, the
    players that are left alone counting nothing. The two ways are found exactly; `best_partition`
    tells them. For a pair, B is the Shapley interaction index.

    With `present`, members that are not in a set take part as players of their own:
    $B'([C]) = \sum_{T \cap C \ne \emptyset} a(T)\, [1 / (|T \setminus C| + 1) - |T \cap C| / |T|]$.
    Whether the paper has the rest of A absent within a partition too, as here, was not checked.

    Where all 2^n coalitions cost no more than what is asked for, nothing is drawn and the errors
    are zero. Drawn values make the best partition look a little better than it is, and the worst
    worse, since each is chosen for being so; errors do not tell of that.

    Numbers: `together`, $\phi_{[A]}$; `apart`, the sum of $\phi_i$; `interaction`, B([A]);
    `largest` and `smallest`, of a partition; `significance`, T([A]). `error` of the interaction,
    `largest_error` and `smallest_error`, standard errors with the partition as it is;
    `evaluations`, coalitions that were evaluated.

    Args:
        game: v.
        members: A, by number or name; by default all players, if they are no more than 12.
        adjacent: whether only members that follow each other may form a set, as words do; then
            more than 12 are possible.
        present: whether members outside a set take part as players of their own.
        samples: contexts to draw.
        generator: source of randomness.

    >>> game = Game(lambda own: 2.0 * own[:, :2].all(1) - 3.0 * own[:, 2:].all(1), tuple("abcd"))
    >>> found = multivariate_shapley(game).numbers
    >>> [round(found[name], 6) for name in ("interaction", "largest", "smallest", "significance")]
    [-1.0, 2.0, -3.0, 5.0]
    """
    found = _found(game, members, adjacent, present, samples, generator)
    own = found.sets.any(0)
    whole = (found.sets == own).all(1)
    values, groups = found.within(found.values), found.within(found.groups)
    together, interaction = float(found.values[whole]), float(values[whole])
    numbers = {
        "together": together,
        "apart": together - interaction,
        "interaction": interaction,
        "error": float(error(groups[:, whole])),
    }
    for name, sign in (("largest", 1.0), ("smallest", -1.0)):
        chosen = _best(sign * values, found.sets, adjacent)
        numbers[name] = float(values[chosen].sum())
        numbers[f"{name}_error"] = float(error(groups[:, chosen].sum(1)))
    numbers["significance"] = numbers["largest"] - numbers["smallest"]
    return Measurement(numbers | {"evaluations": float(found.evaluations)})


@method("zhang2021interpreting")
def best_partition(
    game: Game,
    *,
    members: Sequence[int | str] | None = None,
    adjacent: bool = False,
    present: bool = False,
    smallest: bool = False,
    samples: int = 1024,
    generator: torch.Generator | None = None,
) -> Hierarchy:
    r"""Cut some players into the sets that gain most by being together.

    $$
    \Omega = \arg\max_\Omega \sum_{C \in \Omega} B([C])
    $$

    B is that of `multivariate_shapley`, and it is the score of every set: of single players, at
    step 0, it is zero; the sets of the partition with two members or more are made at step 1, and
    their scores sum to the largest B of a partition; at step 2 all members are one set. Of
    partitions that are equally good it is one of small sets.

    Args:
        game: v.
        members: A, by number or name; by default all players, if they are no more than 12.
        adjacent: whether only members that follow each other may form a set.
        present: whether members outside a set take part as players of their own.
        smallest: whether to look for the sets that lose most.
        samples: contexts to draw.
        generator: source of randomness.

    >>> game = Game(lambda own: 2.0 * own[:, :2].all(1) - 3.0 * own[:, 2:].all(1), tuple("abcd"))
    >>> best_partition(game).members[4:].int().tolist()
    [[1, 1, 0, 0], [1, 1, 1, 1]]
    """
    found = _found(game, members, adjacent, present, samples, generator)
    values = found.within(found.values)
    chosen = _best(-values if smallest else values, found.sets, adjacent)
    chosen = chosen[found.sets[chosen].sum(1) > 1]
    own = found.sets.any(0)
    whole = (found.sets == own).all(1).nonzero()[:, 0]
    if int(own.sum()) == 1 or whole[0] in chosen:
        whole = whole[:0]
    single = torch.eye(len(own), dtype=torch.bool)
    device = values.device
    return Hierarchy(
        members=torch.cat([single, found.sets[chosen], found.sets[whole]]).to(device),
        score=torch.cat([values.new_zeros(len(single)), values[chosen], values[whole]]),
        step=torch.tensor([0] * len(single) + [1] * len(chosen) + [2] * len(whole)).to(device),
        names=game.names,
        evaluations=found.evaluations,
    )


def _found(
    game: Game,
    members: Sequence[int | str] | None,
    adjacent: bool,
    present: bool,
    samples: int,
    generator: torch.Generator | None,
) -> Merged:
    """The values of all sets that a partition may hold."""
    if samples < 4:
        raise ValueError(
            f"Errors take two pairs of contexts at least, but samples is {samples}. Give hundreds."
        )
    n = len(game.names)
    chosen = _places(game, members)
    if adjacent:
        place = torch.arange(len(chosen))
        first, last = torch.combinations(place, with_replacement=True).T
        within = (place >= first[:, None]) & (place <= last[:, None])
    else:
        if len(chosen) > MOST:
            raise ValueError(
                f"{len(chosen)} members can be cut into sets in too many ways; at most {MOST} are "
                "possible. Name fewer members, or let only adjacent ones form a set."
            )
        within = coalitions(len(chosen))[1:]
    sets = torch.zeros(len(within), n, dtype=torch.bool)
    sets[:, chosen] = within
    contexts = samples if present else min(samples, 2 ** (n - len(chosen)))
    cost = contexts * (2 * len(sets) if present else len(sets) + 1)
    table = None
    if n <= LARGEST_TABLE and 2**n <= cost:
        table = game.table().detach().double()
    found = merged(
        game,
        sets,
        present=present,
        samples=samples,
        generator=admission.drawing(generator),
        table=table,
    )
    if table is None:
        return found
    return Merged(found.sets, found.values, found.groups, len(table))


def _places(game: Game, members: Sequence[int | str] | None) -> list[int]:
    """The members by number, in ascending order."""
    n = len(game.names)
    if members is None:
        return list(range(n))
    places = []
    for member in members:
        named = [i for i, name in enumerate(game.names) if name == member]
        if isinstance(member, str) and len(named) != 1:
            raise ValueError(
                f"{len(named)} players are called {member!r}. Name the members as the players are "
                f"named, or number them from 0 to {n - 1}."
            )
        places.append(named[0] if isinstance(member, str) else member)
    if not places or min(places) < 0 or max(places) >= n or len(set(places)) < len(places):
        raise ValueError(
            f"Members are different players, at least one, but got {list(members)}. "
            f"Number them from 0 to {n - 1}."
        )
    return sorted(places)


def _best(
    values: Float[Tensor, " sets"], sets: Bool[Tensor, "sets players"], adjacent: bool
) -> Int[Tensor, " chosen"]:
    """The sets of the partition with the largest sum; single players are never worse than null."""
    # As rounding would tie sets together that do nothing, a larger one must bring a little more.
    size = sets.sum(1).to(values)
    gain = values.cpu() - _ALIKE * float(values.abs().max()) * (size.cpu() - 1)
    members = int(sets.any(0).sum())
    return torch.tensor((_intervals if adjacent else _subsets)(gain, members))


def _subsets(gain: Float[Tensor, " sets"], members: int) -> list[int]:
    """Sets in lattice order, without the empty one.

    Whatever the partition of C, one of its sets D holds the first member of C; what is left of C is
    partitioned best on its own.
    """
    gains = torch.cat([gain.new_zeros(1), gain])
    best = torch.zeros_like(gains)
    with_first = torch.zeros(len(gains), dtype=torch.long)
    lattice = coalitions(members)
    for size in range(1, members + 1):  # all C of a size at once; what is left of them is smaller
        whole = (lattice.sum(1) == size).nonzero()[:, 0]
        bits = 2 ** lattice[whole].nonzero()[:, 1].view(-1, size)
        within = bits[:, :1] + bits[:, 1:] @ coalitions(size - 1).long().T
        best[whole], place = (gains[within] + best[whole[:, None] ^ within]).max(1)
        with_first[whole] = within.gather(1, place[:, None])[:, 0]
    chosen, left = [], len(gains) - 1
    while left:
        part = int(with_first[left])
        chosen.append(part - 1)
        left ^= part
    return chosen


def _intervals(gain: Float[Tensor, " sets"], members: int) -> list[int]:
    """Stretches from a first member to a last, in the order of the first."""
    place = torch.zeros(members, members, dtype=torch.long)
    first, last = torch.combinations(torch.arange(members), with_replacement=True).T
    place[first, last] = torch.arange(len(gain))
    best, begins = gain.new_zeros(members + 1), [0] * (members + 1)
    for end in range(1, members + 1):
        value = best[:end] + gain[place[:end, end - 1]]
        begins[end] = int(value.argmax())
        best[end] = value[begins[end]]
    chosen, end = [], members
    while end:
        chosen.append(int(place[begins[end], end - 1]))
        end = begins[end]
    return chosen
