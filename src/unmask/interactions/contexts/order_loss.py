"""Losses that make a network learn interactions of some orders, or keep it from them."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import functional

from unmask import admission
from unmask.players import Players


def encourage_orders(
    model: Callable[[Tensor], Tensor],
    x: Float[Tensor, "batch *input"],
    labels: Int[Tensor, " labels"],
    *,
    players: Players,
    baseline: Shaped[Tensor, "*background"],
    lower: float,
    upper: float,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    r"""What to add to a loss so that a network learns from contexts of some sizes.

    $$
    -\frac1B \sum_x \log \mathrm{softmax}(\Delta u(x))_{y}, \qquad
    \Delta u(x) = z(x_{S_2}) - \frac{|S_2|}{|S_1|} z(x_{S_1}), \quad S_1 \subset S_2
    $$

    z are the logits with all players hidden but those of S. Of the interactions that make up
    the difference, `order_window` says which orders count and how much: a triangle about `lower`,
    with nothing from `upper` on [deng2022discovering]. Each input has its own two sets, drawn at
    every call. The network runs twice, in the mode that it is in. A generator that goes on from
    call to call gives other sets each time; without one they are always the same.

    Settings that were published, for a grid of 16 x 16: a network of middle orders is encouraged
    from 0.3 to 0.7, with weight 1.

    Args:
        model: gives a row of logits per input.
        x: the inputs.
        labels: y.
        players: the parts of an input.
        baseline: what stands where a player is hidden.
        lower: the share of the players in the smaller set; 0 for none, and then |S2| / |S1| is 1.
        upper: the share of them in the larger set.
        generator: source of randomness.

    >>> from unmask.players import features
    >>> x, labels = torch.eye(4), torch.tensor([0, 1, 0, 1])
    >>> loss = encourage_orders(
    ...     torch.nn.Linear(4, 2), x, labels, players=features(4), baseline=torch.zeros(4),
    ...     lower=0.5, upper=1.0,
    ... )
    >>> loss.shape, loss.requires_grad
    (torch.Size([]), True)
    """
    change = _change(model, x, players, baseline, (lower, upper), generator)
    if labels.shape != x.shape[:1]:
        raise ValueError(
            f"There are {len(x)} inputs, but labels of shape {tuple(labels.shape)}. "
            "Give one class per input."
        )
    return functional.cross_entropy(change, labels.to(change.device).long())


def penalise_orders(
    model: Callable[[Tensor], Tensor],
    x: Float[Tensor, "batch *input"],
    *,
    players: Players,
    baseline: Shaped[Tensor, "*background"],
    lower: float,
    upper: float,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    r"""What to add to a loss so that a network learns nothing from contexts of some sizes.

    $$
    \frac1B \sum_x \sum_c q_c \log q_c, \qquad q = \mathrm{softmax}(\Delta u(x))
    $$

    The negative entropy of the classes, as told by the $\Delta u$ of `encourage_orders`, which
    says more.

    Settings that were published, for a grid of 16 x 16: from 0.7 to 1 for a network of low orders,
    from 0 to 0.5 for one of high orders, with weight 1.

    Args:
        model: gives a row of logits per input.
        x: the inputs.
        players: the parts of an input.
        baseline: what stands where a player is hidden.
        lower: the share of the players in the smaller set; 0 for none.
        upper: the share of them in the larger set.
        generator: source of randomness.

    >>> from unmask.players import features
    >>> always = lambda x: torch.zeros(len(x), 2)
    >>> penalise_orders(
    ...     always, torch.eye(4), players=features(4), baseline=torch.zeros(4), lower=0.5, upper=1.0
    ... )
    tensor(-0.6931)
    """
    change = _change(model, x, players, baseline, (lower, upper), generator)
    logarithm = change.log_softmax(1)
    return (logarithm.exp() * logarithm).sum(1).mean()


def order_window(players: int, lower: float, upper: float) -> Float[Tensor, " orders"]:
    r"""How much each order from 0 to n - 2 counts in the expectation of $\Delta u$.

    $$
    E[\Delta u] = \Bigl(1 - \frac{k_2}{k_1}\Bigr) v(\emptyset)
        + \sum_{m=0}^{k_2 - 2} c_m\, E_{i,j}[I^{(m)}(i, j)], \qquad
    c_m = \begin{cases} (k_2 / k_1 - 1)(m + 1) & m \le k_1 - 2 \\
                        k_2 - 1 - m & m \ge k_1 - 1 \end{cases}
    $$

    k are the sizes of the two sets. Where $k_1$ is 0 the first term is instead what single players
    do, $(k_2 / n) \sum_i (v(\{i\}) - v(\emptyset))$.

    Args:
        players: n.
        lower: as of `encourage_orders`.
        upper: as of `encourage_orders`.

    >>> order_window(6, 0.5, 1.0)
    tensor([1., 2., 3., 2., 1.], dtype=torch.float64)
    """
    small, large = _sizes(players, lower, upper)
    order = torch.arange(players - 1, dtype=torch.float64)
    rising = (large / small - 1) * (order + 1) if small else order
    return torch.where(order <= small - 2, rising, (large - 1 - order).clamp(min=0))


def nested_masks(
    players: int,
    lower: float,
    upper: float,
    count: int,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Bool[Tensor, "batch players"], Bool[Tensor, "batch players"]]:
    """Random sets of two sizes, the smaller within the larger, as many of each as are asked for.

    Args:
        players: n.
        lower: the share of the players in the smaller sets.
        upper: the share of them in the larger sets.
        count: how many of each.
        generator: source of randomness.

    >>> small, large = nested_masks(4, 0.25, 0.75, 2)
    >>> small.sum(1), large.sum(1), bool((large >= small).all())
    (tensor([1, 1]), tensor([3, 3]), True)
    """
    small, large = _sizes(players, lower, upper)
    generator = admission.drawing(generator)
    keys = torch.rand(count, players, generator=generator, device=generator.device)
    rank = keys.argsort(1).argsort(1)
    return rank < small, rank < large


def _sizes(players: int, lower: float, upper: float) -> tuple[int, int]:
    if not 0 <= lower < upper <= 1:
        raise ValueError(
            f"The two sets hold shares of the players, the larger more, but got {lower} and "
            f"{upper}. Give 0 <= lower < upper <= 1."
        )
    small, large = round(lower * players), round(upper * players)
    if small == large:
        raise ValueError(
            f"{lower} and {upper} of {players} players are both {small}. "
            "Give shares further apart, or more players."
        )
    return small, large


def _change(
    model: Callable[[Tensor], Tensor],
    x: Float[Tensor, "batch *input"],
    players: Players,
    baseline: Shaped[Tensor, "*background"],
    shares: tuple[float, float],
    generator: torch.Generator | None,
) -> Float[Tensor, "batch classes"]:
    """The logits of the larger set, less those of the smaller in proportion to its size.

    The proportion is that of the whole numbers of players, not of the shares: only then does what
    single players do cancel.
    """
    admission.differentiable(x)
    players.refuse_other(x.shape[1:])
    baseline = admission.one_baseline_for(x[0], baseline)
    small, large = _sizes(len(players.names), *shares)
    both = nested_masks(len(players.names), *shares, len(x), generator=generator)
    few, many = (
        model(torch.where(players.cover(masks.to(x.device)), x, baseline)) for masks in both
    )
    if many.ndim != 2 or len(many) != len(x) or many.shape[1] < 2:
        raise ValueError(
            f"Classes are told apart by a row of logits per input, but for {len(x)} inputs the "
            f"model returned shape {tuple(many.shape)}. Give a model of two classes at least."
        )
    wide = torch.promote_types(many.dtype, torch.float32)
    return many.to(wide) - (large / small if small else 1.0) * few.to(wide)
