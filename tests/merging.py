"""What a set of players brings as one, from the definition, with plain loops."""

from itertools import permutations


def joint_value(table, together, players):
    """The Shapley value of some players who only ever arrive together, among some others.

    Args:
        table: v in lattice order.
        together: those who arrive as one.
        players: the others who are in the game, each for themselves.
    """
    arriving = [sum(2**i for i in together), *(2**i for i in players)]
    total, orders = 0.0, list(permutations(range(len(arriving))))
    for order in orders:
        there = sum(arriving[k] for k in order[: order.index(0)])
        total += float(table[there + arriving[0]] - table[there])
    return total / len(orders)


def benefit(table, together, within, present):
    """What some players do as one beyond what they do alone; `within` holds the set they are of."""
    n = len(table).bit_length() - 1
    everyone = range(n)
    outside = [i for i in everyone if i not in (together if present else within)]
    apart = sum(
        joint_value(table, [i], [j for j in everyone if j != i] if present else outside)
        for i in together
    )
    return joint_value(table, together, outside) - apart


def partitions(members):
    """All ways to cut some things into sets."""
    if not members:
        yield []
        return
    first, *rest = members
    for cut in partitions(rest):
        yield [[first], *cut]
        for k in range(len(cut)):
            yield [*cut[:k], [first, *cut[k]], *cut[k + 1 :]]
