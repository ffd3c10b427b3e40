"""Players together, from the definitions, with plain loops: as one, in pairs, and dividends."""

from itertools import combinations, permutations


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


def slow_deltas(table, i, j, m):
    """What two players do together in every context of m others."""
    n = len(table).bit_length() - 1
    others = [k for k in range(n) if k not in (i, j)]
    found = []
    for context in combinations(others, m):
        s = sum(2**k for k in context)
        both = table[s + 2**i + 2**j] - table[s + 2**i] - table[s + 2**j] + table[s]
        found.append(float(both))
    return found


def slow_interaction(table, i, j, m):
    """The mean of that over the contexts."""
    deltas = slow_deltas(table, i, j, m)
    return sum(deltas) / len(deltas)


def slow_dividends(table, least=1):
    """a(T) of all sets of `least` players or more, by inclusion and exclusion."""
    n = len(table).bit_length() - 1
    return {
        members: sum(
            (-1) ** (len(members) - k) * float(table[sum(2**i for i in some)])
            for k in range(len(members) + 1)
            for some in combinations(members, k)
        )
        for size in range(least, n + 1)
        for members in combinations(range(n), size)
    }
