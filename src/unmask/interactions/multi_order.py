"""Multi-order interactions: how strongly players interact in small contexts and in large ones."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask import admission
from unmask.bootstrap import CONFIDENCE, DRAWS, interval, resampled
from unmask.card import method
from unmask.game import Game
from unmask.interactions.contexts.order_table import order_table
from unmask.results import Measurement

_ALIKE = 1e-9
"""Interactions smaller than this share of the largest output are rounding."""
_MIDDLE = (0.3, 0.7)
"""Between which shares of the other players contexts are of middle size."""


@method("zhang2020game", "deng2022discovering", "ren2021unified")
def multi_order(
    game: Game,
    *,
    pairs: Int[Tensor, "pairs two"] | None = None,
    orders: Sequence[int] | None = None,
    samples: int = 100,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Say how strongly pairs of players interact, by the number of others that are there.

    $$
    I^{(m)}(i, j) = E_{S \subseteq N \setminus \{i, j\},\, |S| = m}
        [\Delta(i, j, S)], \qquad
    \Delta(i, j, S) = v(S \cup \{i, j\}) - v(S \cup \{i\}) - v(S \cup \{j\}) + v(S)
    $$

    The order m is the size of the context, from 0 to n - 2; it is not the number of players of a
    term, which is also called its order. In dividends a,

    $$
    I^{(m)}(i, j) = \sum_{T \supseteq \{i, j\}}
        \binom{m}{|T| - 2} \binom{n - 2}{|T| - 2}^{-1} a(T)
    $$

    and the mean over m is the Shapley interaction index of the pair. Where all 2^n coalitions cost
    no more than what is asked for they are all evaluated, and so are all contexts of an order that
    has no more than `samples`; then nothing is estimated. Otherwise contexts are drawn.

    Curves over `order`, all of them means over the pairs: `mean` of I; its `mean_error`, as far as
    it comes from contexts that were not seen, the pairs being what they are; `strength`, of |I|;
    `spectrum`, J, the strength relative to its mean over the orders; `disentanglement`, D, the
    strength relative to the mean of $|\Delta|$, 1 if contexts never change the sign of what a pair
    does and 0 if it cancels; `error`, the root of the mean squared standard error of an I;
    `square`, of I squared. The noise of drawing makes strength and disentanglement too large,
    by up to `error`; the square is without that bias, and may be negative. J and D are NaN where
    nothing interacts.

    Numbers: `pairs`; `contexts`, of the order of which most were seen, for each pair; `exact`, 1 if
    nothing was drawn; `evaluations`, coalitions that were evaluated.

    Args:
        game: v.
        pairs: the players of each, by number; by default all, or 200 drawn if these are more.
        orders: m; by default all for up to 20 players, beyond it 13 shares of the n - 2 others.
        samples: contexts to draw of each pair and order.
        generator: source of randomness.

    >>> three = Game(lambda own: own[:, :3].all(1).double(), tuple("abcdef"))
    >>> multi_order(three, pairs=torch.tensor([[0, 1]])).curves["mean"]
    tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000], dtype=torch.float64)
    """
    table = order_table(game, pairs=pairs, orders=orders, samples=samples, generator=generator)
    strength = table.values.abs().mean(0)
    return Measurement(
        {
            "pairs": float(len(table.pairs)),
            "contexts": float(table.contexts.max()),
            "exact": float(not table.errors.any()),
            "evaluations": float(table.evaluations),
        },
        {
            "order": table.orders.to(strength),
            "mean": table.values.mean(0),
            "mean_error": table.errors.square().sum(0).sqrt() / len(table.pairs),
            "strength": strength,
            "spectrum": _relative(strength, table.reach),
            "disentanglement": _share(strength, table.sizes.mean(0), table.reach),
            "error": table.errors.square().mean(0).sqrt(),
            "square": table.squares.mean(0),
        },
        {"interaction": ("order", "mean", "strength", "error")},
    )


@method("deng2022discovering")
def bottleneck(
    games: Sequence[Game],
    *,
    pairs: Int[Tensor, "*inputs pairs two"] | None = None,
    orders: Sequence[int] | None = None,
    samples: int = 100,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Say which orders of interaction a network makes use of, over many inputs.

    $$
    J^{(m)} = \frac{E_x E_{i,j} |I^{(m)}(i, j \mid x)|}
                   {E_{m'} E_x E_{i,j} |I^{(m')}(i, j \mid x)|}
    $$

    I is that of `multi_order`; of each input there is one game. The mean over the orders that were
    looked at is 1. Networks for images are known for much strength in very small and very large
    contexts and little between: the bottleneck. `expected_spectrum` is what the theory makes of it.

    The published protocol, for images: `players=patches(shape, (16, 16))`, hidden with zero;
    `log_odds` of the true class; 50 images that are classified correctly, as many of each class;
    `pairs=near_pairs((16, 16), distance=2, count=200)` anew for each image, `samples` of 100, and
    the orders of the default. That is 4 x 200 x 100 x 13 evaluations an image, less those that need
    not be repeated.

    Curves over `order`: `spectrum`, J; `spectrum_low` and `spectrum_high`, between which it lies
    in 95 of 100 draws of other inputs from these, NaN for a single one; `strength`;
    `disentanglement`; `error`, the root of the mean squared standard error of an I; `debiased`, the
    root of the mean of squares without the bias of drawing, relative to its mean over the orders. J
    itself is drawn towards 1 by that bias, wherever `error` is not small beside the strength.

    Numbers: `middle`, the mean of J from three to seven tenths of the other players, with
    `middle_low` and `middle_high`, NaN if no such order was looked at; `inputs`, `pairs`,
    `contexts`, `evaluations`.

    Args:
        games: one of each input, all of as many players.
        pairs: as of `multi_order`, for all inputs, or with an axis in front for each its own.
        orders: m.
        samples: contexts to draw of each pair, order and input.
        generator: source of randomness; give one of the same seed to have the same contexts for
            other games, as those of the same inputs attacked.

    >>> squares = Game(lambda own: own.sum(1).double() ** 2, tuple("abcde"))
    >>> bottleneck([squares, squares]).curves["spectrum"]
    tensor([1., 1., 1., 1.], dtype=torch.float64)
    """
    generator = admission.drawing(generator)
    tables = [
        order_table(game, pairs=own, orders=orders, samples=samples, generator=generator)
        for game, own in zip(games, _pairs_of_each(games, pairs), strict=True)
    ]
    strength = _stack([table.values.abs() for table in tables])
    spread = _stack([table.sizes for table in tables])
    squares = _stack([table.squares for table in tables]).mean(0).clamp(min=0).sqrt()
    error = _stack([table.errors.square() for table in tables]).mean(0).sqrt()
    reach = max(table.reach for table in tables)
    order = tables[0].orders.to(strength)

    weights = resampled(len(tables), DRAWS, generator).to(strength)
    found = _relative(strength.mean(0), reach)
    draws = _relative(weights @ strength, reach)
    low, high = interval(found, draws, CONFIDENCE)
    share = order / max(1, len(games[0].names) - 2)
    middle = (share >= _MIDDLE[0] - _ALIKE) & (share <= _MIDDLE[1] + _ALIKE)
    ends = interval(found[middle].mean(), draws[:, middle].mean(1), CONFIDENCE)
    return Measurement(
        {
            "middle": float(found[middle].mean()),
            "middle_low": float(ends[0]),
            "middle_high": float(ends[1]),
            "inputs": float(len(tables)),
            "pairs": float(len(tables[0].pairs)),
            "contexts": float(tables[0].contexts.max()),
            "evaluations": float(sum(table.evaluations for table in tables)),
        },
        {
            "order": order,
            "spectrum": found,
            "spectrum_low": low,
            "spectrum_high": high,
            "strength": strength.mean(0),
            "disentanglement": _share(strength.mean(0), spread.mean(0), reach),
            "error": error,
            "debiased": _relative(squares, reach),
        },
        {
            "relative strength": ("order", "spectrum", "debiased"),
            "strength": ("order", "strength", "error"),
        },
    )


def expected_spectrum(players: int) -> Float[Tensor, " orders"]:
    r"""The J that is expected of a network while it learns, of every order from 0 to n - 2.

    $$
    \hat J^{(m)} = \frac{F^{(m)}}{E_{m'} F^{(m')}}, \qquad
    F^{(m)} = \frac{n - m - 1}{n (n - 1)} \binom{n - 2}{m}^{-1/2}
    $$

    The form is that of [deng2022discovering] as it is remembered, not checked word for word. As the
    parts of an image are not independent, an n far below the number of parts fits networks best.

    Args:
        players: n, those that count.

    >>> expected_spectrum(4)
    tensor([1.6623, 0.7836, 0.5541], dtype=torch.float64)
    """
    if players < 2:
        raise ValueError(f"Two players interact, but players is {players}. Give at least 2.")
    n = players
    expected = torch.tensor(
        [(n - m - 1) / (n * (n - 1)) / math.sqrt(math.comb(n - 2, m)) for m in range(n - 1)],
        dtype=torch.float64,
    )
    return expected / expected.mean()


def _pairs_of_each(
    games: Sequence[Game], pairs: Int[Tensor, "*inputs pairs two"] | None
) -> list[Tensor | None]:
    players = sorted({len(game.names) for game in games})
    if len(players) != 1:
        raise ValueError(
            f"Orders are compared among games of as many players each, but there are "
            f"{len(games)} games of {', '.join(map(str, players)) or 'no'} players. Give at least "
            "one game, and cut all inputs into the same number of parts."
        )
    if pairs is None or pairs.ndim != 3:
        return [pairs] * len(games)
    if len(pairs) != len(games):
        raise ValueError(
            f"There are pairs for {len(pairs)} inputs, but {len(games)} games. "
            "Give pairs for each, or one table of pairs for all."
        )
    return list(pairs)


def _stack(parts: list[Float[Tensor, "pairs orders"]]) -> Float[Tensor, "inputs orders"]:
    """The mean over the pairs of every input."""
    return torch.stack([part.mean(0) for part in parts])


def _relative(
    strength: Float[Tensor, "*draws orders"], reach: float
) -> Float[Tensor, "*draws orders"]:
    mean = strength.mean(-1, keepdim=True)
    return torch.where(mean > _ALIKE * reach, strength / mean, torch.nan)


def _share(part: Tensor, whole: Tensor, reach: float) -> Tensor:
    return torch.where(whole > _ALIKE * reach, part / whole, torch.nan)
