"""Shapley values, exactly."""

from math import comb

from unmask.card import method
from unmask.game import LARGEST_TABLE, Game
from unmask.lattice import sizes
from unmask.results import Attribution


@method(
    "shapley1953value",
    axioms=("completeness", "dummy", "symmetry", "linearity"),
)
def shapley_exact(game: Game) -> Attribution:
    r"""Share the output among the players: each gets what it adds, averaged over all contexts.

    $$
    \phi_i = \sum_{S \subseteq N \setminus \{i\}} \frac{|S|!\,(n - |S| - 1)!}{n!}
             \bigl( v(S \cup \{i\}) - v(S) \bigr)
    $$

    The values sum to v(N) - v(empty); `gap` is the rounding of that sum. Every one of the 2^n
    coalitions is evaluated, so there is no sampling error. The same numbers come from sharing
    every AND term, and every OR term, equally among its players.

    Args:
        game: v.

    >>> from unmask.game import Game
    >>> glove = Game(lambda own: (own[:, 0] & own[:, 1:].any(1)).double(), ("left", "r1", "r2"))
    >>> shapley_exact(glove).values
    tensor([[0.6667, 0.1667, 0.1667]], dtype=torch.float64)
    """
    n = len(game.names)
    if n > LARGEST_TABLE:
        raise ValueError(
            f"{n} players have 2^{n} coalitions, all of which would be evaluated; at most "
            f"{LARGEST_TABLE} players are possible. Take shapley_values, which draws coalitions, "
            "or group the players into fewer, larger parts."
        )
    v = game.table().detach().double()
    change = v - v[0]
    size = sizes(n).to(v.device)
    # A coalition of s players counts 1 / (s C(n, s)) for those within and is taken off with
    # 1 / ((n - s) C(n, s)) for those without.
    within = change.new_tensor([0.0, *(1 / (s * comb(n, s)) for s in range(1, n + 1))])[size]
    without = change.new_tensor([*(1 / ((n - s) * comb(n, s)) for s in range(n)), 0.0])[size]
    for_members, for_others = change * within, change * without
    values = change.new_zeros(1, n)
    for i in range(n):
        values[0, i] = (
            for_members.view(-1, 2, 2**i)[:, 1].sum() - for_others.view(-1, 2, 2**i)[:, 0].sum()
        )
    return Attribution(
        values, gap=change[-1:] - values.sum(1), names=game.names, evaluations=len(v)
    )
