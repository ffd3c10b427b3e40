"""Agglomerative contextual decomposition: a hierarchy of the parts that belong together."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from unmask.card import method
from unmask.game import Game
from unmask.players import Players
from unmask.results import Hierarchy


@method("singh2019hierarchical")
def acd(
    game: Game,
    *,
    neighbours: Int[Tensor, "2 pairs"] | None = None,
    percentile: float = 90.0,
    steps: int = 5,
) -> Hierarchy:
    r"""Join the parts of an input, from single ones to all, the strongest additions first.

    $$
    \text{gain of } j \text{ to } S = v(S \cup \{j\}) - v(S), \qquad
    \text{gain of } S, T = v(S \cup T) - v(S) - v(T)
    $$

    It begins, if there are `steps`, with the players whose |v| is above the percentile, and in each
    round adds to every group those of its neighbours whose |gain| is above the percentile of all
    gains of the round; groups that meet become one. After `steps` rounds the groups and players
    that are left are joined two by two, those of the largest |gain| first, as far as neighbours
    reach.

    The published method is this on the game of contextual decomposition, `decomposition_game`; a
    masked input or any other game will do as well.

    Args:
        game: v.
        neighbours: pairs of players that may be joined; by default each and the next, as in a
            sentence. For patches and the like see `neighbouring`.
        percentile: of the gains, above which players are joined at once, between 0 and 100.
        steps: rounds of joining single players to groups.

    >>> from unmask.game import Game
    >>> both = Game(lambda s: s[:, 0] + 5.0 * (s[:, 1] & s[:, 2]), ("a", "b", "c"))
    >>> found = acd(both, steps=0)
    >>> found.members[3].tolist(), found.score[3].item()
    ([False, True, True], 5.0)
    """
    n = len(game.names)
    pairs = _checked(n, neighbours, percentile, steps)
    worth = _Worth(game)
    single = torch.eye(n, dtype=torch.bool)
    scores = worth(single)
    nodes, made = [(frozenset([i]), float(scores[i])) for i in range(n)], [0] * n
    beside = torch.zeros(n, n, dtype=torch.bool)
    beside[pairs[0], pairs[1]] = beside[pairs[1], pairs[0]] = True

    chosen = scores.abs() >= _threshold(scores.abs(), percentile)
    groups = _components(single[chosen], beside) if steps else []
    step = 0
    for step in range(1, steps + 1):
        found = [(group, value) for group, value in _valued(groups, worth) if len(group) > 1]
        for node in found:
            if node not in nodes:
                nodes.append(node)
                made.append(step)
        if any(len(group) == n for group, _ in found):
            break
        groups = _grown(groups, beside, worth, percentile)
    alone = set(range(n)) - {i for group in groups for i in group}
    groups = [*groups, *(frozenset([i]) for i in sorted(alone))]
    while len(groups) > 1:
        step += 1
        joined = _joined(groups, beside, worth)
        if joined is None:  # no neighbours are left: a forest
            break
        groups, node = joined
        if node not in nodes:
            nodes.append(node)
            made.append(step)
    members = torch.zeros(len(nodes), n, dtype=torch.bool)
    for row, (group, _) in enumerate(nodes):
        members[row, sorted(group)] = True
    return Hierarchy(
        members.to(worth.device),
        torch.tensor([value for _, value in nodes], dtype=scores.dtype, device=worth.device),
        torch.tensor(made, device=worth.device),
        game.names,
        evaluations=len(worth.known),
    )


def neighbouring(players: Players) -> Int[Tensor, "2 pairs"]:
    """The pairs of players who own positions next to each other, along any axis.

    Args:
        players: of a sequence, of an image in patches or segments.
    """
    owner = players.owner
    found = [torch.zeros(0, 2, dtype=torch.long)]
    for axis in range(owner.ndim):
        if owner.shape[axis] > 1:
            length = owner.shape[axis] - 1
            one, other = owner.narrow(axis, 0, length), owner.narrow(axis, 1, length)
            touch = torch.stack([one.flatten(), other.flatten()], 1)
            found.append(touch[(touch[:, 0] != touch[:, 1]) & (touch >= 0).all(1)].cpu().long())
    return torch.cat(found).sort(1).values.unique(dim=0).T


class _Worth:
    """A game that is asked for many coalitions at once, and for none twice."""

    def __init__(self, game: Game) -> None:
        self.game = game
        self.known: dict[frozenset[int], float] = {}
        self.device = torch.device("cpu")  # of the game's values, once it has been asked

    def __call__(self, masks: Bool[Tensor, "batch players"]) -> Tensor:
        groups = [frozenset(mask.nonzero()[:, 0].tolist()) for mask in masks]
        return torch.tensor(self.of(groups), dtype=torch.float64)

    def of(self, groups: list[frozenset[int]]) -> list[float]:
        new = [group for group in dict.fromkeys(groups) if group not in self.known]
        if new:
            masks = torch.zeros(len(new), len(self.game.names), dtype=torch.bool)
            for row, group in enumerate(new):
                masks[row, sorted(group)] = True
            values = self.game(masks)
            self.device = values.device
            self.known |= dict(zip(new, values.tolist(), strict=True))
        return [self.known[group] for group in groups]


def _valued(groups: list[frozenset[int]], worth: _Worth) -> list[tuple[frozenset[int], float]]:
    return list(zip(groups, worth.of(groups), strict=True))


def _threshold(sizes: Tensor, percentile: float) -> Tensor:
    return torch.quantile(sizes, percentile / 100)


def _components(selected: Tensor, beside: Tensor) -> list[frozenset[int]]:
    """The connected parts of a set of players, or of sets of them."""
    groups = [frozenset(mask.nonzero()[:, 0].tolist()) for mask in selected]
    done: list[frozenset[int]] = []
    for group in groups:
        touching = [one for one in done if one & group or _touch(one, group, beside)]
        done = [one for one in done if one not in touching]
        done.append(group.union(*touching))
    return sorted(done, key=min)


def _touch(one: frozenset[int], other: frozenset[int], beside: Tensor) -> bool:
    return bool(beside[sorted(one)][:, sorted(other)].any())


def _grown(
    groups: list[frozenset[int]], beside: Tensor, worth: _Worth, percentile: float
) -> list[frozenset[int]]:
    """Every group with those of its neighbours that add most to it; groups that meet are one."""
    candidates = [
        (group, j)
        for group in groups
        for j in beside[sorted(group)].any(0).nonzero()[:, 0].tolist()
        if j not in group
    ]
    if not candidates:
        return groups
    values = worth.of([group | {j} for group, j in candidates] + [g for g, _ in candidates])
    gains = torch.tensor(values[: len(candidates)]) - torch.tensor(values[len(candidates) :])
    chosen = gains.abs() >= _threshold(gains.abs(), percentile)
    larger = dict.fromkeys(groups, frozenset[int]())
    for (group, j), wins in zip(candidates, chosen.tolist(), strict=True):
        if wins:
            larger[group] = larger[group] | {j}
    rows = torch.zeros(len(groups), len(beside), dtype=torch.bool)
    for row, group in enumerate(groups):
        rows[row, sorted(group | larger[group])] = True
    return _components(rows, beside)


def _joined(
    groups: list[frozenset[int]], beside: Tensor, worth: _Worth
) -> tuple[list[frozenset[int]], tuple[frozenset[int], float]] | None:
    """The groups after the two that do most together have become one."""
    pairs = [
        (one, other)
        for place, one in enumerate(groups)
        for other in groups[:place]
        if _touch(one, other, beside)
    ]
    if not pairs:
        return None
    asked = [group for one, other in pairs for group in (one | other, one, other)]
    both, first, second = torch.tensor(worth.of(asked)).view(-1, 3).unbind(1)
    best = int((both - first - second).abs().argmax())
    one, other = pairs[best]
    rest = [group for group in groups if group not in (one, other)]
    return [*rest, one | other], (one | other, float(both[best]))


def _checked(
    n: int, neighbours: Tensor | None, percentile: float, steps: int
) -> Int[Tensor, "2 pairs"]:
    if not 0 <= percentile <= 100:
        raise ValueError(f"A percentile of {percentile} does not exist. Give one from 0 to 100.")
    if steps < 0:
        raise ValueError(f"{steps} rounds cannot be played. Give at least 0.")
    if neighbours is None:
        return torch.stack([torch.arange(n - 1), torch.arange(1, n)])
    wrong = neighbours.numel() and (int(neighbours.min()) < 0 or int(neighbours.max()) >= n)
    if wrong:
        raise ValueError(
            f"The neighbours run from {int(neighbours.min())} to {int(neighbours.max())}, but "
            f"there are {n} players. Give pairs of places from 0 to {n - 1}."
        )
    return neighbours.cpu().long()
