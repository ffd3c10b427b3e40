"""Boosted trees fitted to a game, and their exact Fourier spectrum."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from unmask.interactions.sparse.refit import refit
from unmask.interactions.sparse.spectrum import Spectrum, summed

Trees = Any
"""Of scikit-learn, which is imported where it is needed, as it takes its time."""
_TREES, _RATE = 300, 0.1


def proxy(
    masks: Bool[np.ndarray, "rows players"],
    values: Float64[np.ndarray, " rows"],
    *,
    degree: int,
    coefficients: int,
) -> Spectrum:
    """The largest Fourier coefficients of trees that tell the value of a coalition, refitted.

    Trees find which players act together, but as they are built greedily, not how much; the
    regression does.

    Args:
        masks: coalitions.
        values: theirs.
        degree: players of a coefficient at most.
        coefficients: how many are kept.
    """
    # Trees count in float32, which holds neither very large nor very small numbers.
    unit = float(np.abs(values).max()) or 1.0
    trees = proxy_trees(masks, values / unit, trees=_TREES, depth=degree, rate=_RATE)
    guess = tree_spectrum(trees, masks.shape[1]).largest(coefficients + 1)
    return refit(guess, masks, values)


def proxy_trees(
    masks: Bool[np.ndarray, "rows players"],
    values: Float64[np.ndarray, " rows"],
    *,
    trees: int,
    depth: int,
    rate: float,
) -> Trees:
    """Boosted trees that tell the value of a coalition.

    Args:
        masks: coalitions.
        values: theirs.
        trees: how many.
        depth: players that a tree asks for on one path.
        rate: how much of what is left a tree takes.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    model = HistGradientBoostingRegressor(
        max_iter=trees,
        max_depth=depth,
        learning_rate=rate,
        max_leaf_nodes=2**depth,
        min_samples_leaf=max(2, min(20, len(masks) // 20)),
        max_bins=2,
        early_stopping=False,  # pyright: ignore[reportArgumentType]
        random_state=0,
    )
    # Of thousands of small steps each waits for the slowest thread. Where other work keeps a core
    # busy, two threads have been seen to take fifty times as long as one.
    with threadpool_limits(limits=1, user_api="openmp"):
        return model.fit(masks.astype(np.float32), values)


def tree_spectrum(model: Trees, players: int) -> Spectrum:
    r"""The Fourier coefficients of a sum of trees that ask for the presence of players.

    $$
    \prod_{i \in P} \frac{1 - \chi_i}{2} \prod_{i \in A} \frac{1 + \chi_i}{2}
        = 2^{-d} \sum_{T \subseteq P \cup A} (-1)^{|T \cap P|} \chi_T
    $$

    A leaf is reached by the coalitions that hold the players P and none of A, d in all. Its
    value is spread over 2^d parities, and the leaves of all trees are added up.

    Args:
        model: fitted to coalitions as rows of zeros and ones.
        players: n.
    """
    paths: dict[int, list[np.ndarray]] = {}
    for (tree,) in model._predictors:
        for depth, found in _leaves(tree.nodes).items():
            paths.setdefault(depth, []).append(found)
    deepest = max(paths)
    sets, values = [np.full((1, deepest), players)], [np.ravel(model._baseline_prediction)]
    for depth, found in paths.items():
        leaves = np.concatenate(found)
        asked, present = leaves[:, :depth].astype(int), leaves[:, depth : 2 * depth]
        order = np.argsort(asked, axis=1)
        asked = np.take_along_axis(asked, order, 1)
        sign = 1 - 2 * np.take_along_axis(present, order, 1)
        for pattern in np.ndindex(*(2,) * depth):
            kept = np.array(pattern, dtype=bool)
            some = np.full((len(leaves), deepest), players)
            some[:, : kept.sum()] = asked[:, kept]
            sets.append(some)
            values.append(leaves[:, -1] * sign[:, kept].prod(1) / 2**depth)
    return summed(np.concatenate(sets), np.concatenate(values).astype(np.float64), players)


def _leaves(nodes: np.ndarray) -> dict[int, np.ndarray]:
    """By depth: players asked for on the way, whether each was present, and the value."""
    found: dict[int, list[list[float]]] = {}
    stack: list[tuple[int, list[int], list[int]]] = [(0, [], [])]
    while stack:
        place, asked, present = stack.pop()
        node = nodes[place]
        if node["is_leaf"]:
            found.setdefault(len(asked), []).append([*asked, *present, float(node["value"])])
            continue
        player = int(node["feature_idx"])
        stack.append((int(node["left"]), [*asked, player], [*present, 0]))
        stack.append((int(node["right"]), [*asked, player], [*present, 1]))
    return {depth: np.array(rows) for depth, rows in found.items()}
