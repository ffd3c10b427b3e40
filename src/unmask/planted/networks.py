"""ReLU networks that are known through and through. Each returns one number per input."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmask.results import Interactions


def and_or_network(
    terms: Interactions,
    *,
    present: Float[Tensor, " players"] | None = None,
    absent: Float[Tensor, " players"] | None = None,
) -> nn.Sequential:
    r"""A ReLU network that computes a game of AND and OR terms on all of its 2^n corners.

    $$
    f(x) = v(\emptyset) + \sum_T I_\wedge(T)\, \mathrm{relu}\Bigl(\sum_{i \in T} x_i - |T| + 1\Bigr)
         + \sum_T I_\vee(T) \Bigl(1 - \mathrm{relu}\Bigl(1 - \sum_{i \in T} x_i\Bigr)\Bigr)
    $$

    A corner is an input whose i-th number is `present[i]` or `absent[i]`; x above is 1 and 0
    there. With ones and zeros, which is how these are if left out, the sums are exact. Between
    the corners the network is linear in pieces, and some pieces meet at corners, so that the
    gradient at a corner is a matter of convention.

    Args:
        terms: the game; the network is of the dtype of its effects.
        present: the number of each player that takes part.
        absent: the number of each that is hidden, different from that.

    >>> from unmask.planted import terms_of
    >>> network = and_or_network(terms_of("ab", ands={("a", "b"): 2.0}))
    >>> network(torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)).tolist()
    [[0.0], [2.0]]
    """
    effects = terms.effects
    present = effects.new_ones(len(terms.names)) if present is None else present.to(effects)
    absent = effects.new_zeros(len(terms.names)) if absent is None else absent.to(effects)
    step = present - absent
    if (step == 0).any():
        i = int((step == 0).nonzero()[0, 0])
        raise ValueError(
            f"{terms.names[i]!r} has the same number present and hidden: {float(present[i])}. "
            "Give every player two different numbers."
        )
    sign = 1 - 2 * terms.is_or.to(effects)
    weight = sign[:, None] * terms.members.to(effects)
    bias = torch.where(terms.is_or, 1, 1 - terms.order)
    weight = weight / step
    bias = bias - weight @ absent
    constant = terms.empty + effects[terms.is_or].sum()
    return nn.Sequential(
        _linear(weight, bias), nn.ReLU(), _linear((sign * effects)[None], constant[None])
    )


def linear_network(weights: Float[Tensor, " players"], bias: float = 0.0) -> nn.Sequential:
    r"""A weighted sum. Whatever the baseline b, player i contributes $w_i (x_i - b_i)$.

    No two players interact; the gradient is w everywhere.

    Args:
        weights: w.
        bias: the value at zero.
    """
    return nn.Sequential(_linear(weights[None], weights.new_tensor([bias])))


def relu_network(
    players: int,
    generator: torch.Generator,
    *,
    unused: Sequence[int] = (),
    twins: Sequence[tuple[int, int]] = (),
    hidden: int = 16,
) -> nn.Sequential:
    """A random network of two hidden layers, some of whose inputs are provably alike or unused.

    Nothing leads from an unused input to the output: its column in the first layer is zero, so
    every term, attribution and gradient of it must be zero. Twins have the same column: exchange
    their numbers, and the output stays. As players they are worth the same where both numbers
    and both baselines are equal. It is in float64.

    Args:
        players: numbers of the input.
        generator: source of the weights.
        unused: inputs that do not matter.
        twins: pairs of inputs that are treated alike.
        hidden: units of each hidden layer.
    """
    sizes = ((hidden, players), (hidden, hidden), (1, hidden))
    weights = [
        torch.randn(size, generator=generator, dtype=torch.float64) / size[1] ** 0.5
        for size in sizes
    ]
    biases = [
        0.5 * torch.randn(size[0], generator=generator, dtype=torch.float64) for size in sizes
    ]
    named = [*unused, *(i for pair in twins for i in pair)]
    for i in named:
        if not 0 <= i < players:
            raise ValueError(
                f"Input {i} does not exist: there are {players}. "
                f"Number unused inputs and twins from 0 to {players - 1}."
            )
        if named.count(i) > 1:
            raise ValueError(
                f"Input {i} is named {named.count(i)} times among unused inputs and twins. "
                "Name every input once."
            )
    weights[0][:, list(unused)] = 0
    for first, second in twins:
        weights[0][:, second] = weights[0][:, first]
    layers = [_linear(weight, bias) for weight, bias in zip(weights, biases, strict=True)]
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


def parity_network(players: int) -> nn.Sequential:
    r"""A ReLU network that is 1 on corners of {0, 1}^n with an odd number of ones, 0 on others.

    $$
    f(x) = \mathrm{relu}(s) + \sum_{k=1}^{n-1} 2\, (-1)^k\, \mathrm{relu}(s - k), \qquad
    s = \sum_i x_i
    $$

    Its terms are `parity_terms(n)`. For two players it is XOR. It is in float64.

    Args:
        players: n.
    """
    steps = 2 * (-1.0) ** torch.arange(players, dtype=torch.float64)
    steps[:1] = 1
    return _of_sum(players, range(players), steps)


def majority_network(players: int) -> nn.Sequential:
    r"""A ReLU network that is 1 on corners of {0, 1}^n with more than n / 2 ones, 0 on others.

    $$
    f(x) = \mathrm{relu}(s - m + 1) - \mathrm{relu}(s - m), \qquad
    s = \sum_i x_i, \quad m = \lfloor n/2 \rfloor + 1
    $$

    Its terms are `majority_terms(n)`. Each player is worth 1 / n. It is in float64.

    Args:
        players: n.
    """
    m = players // 2 + 1
    return _of_sum(players, (m - 1, m), torch.tensor([1.0, -1.0], dtype=torch.float64))


def _of_sum(players: int, knots: Sequence[int], steps: Float[Tensor, " knots"]) -> nn.Sequential:
    """A function of the sum of the input, linear in pieces, whose slope changes at the knots."""
    if players < 1:
        raise ValueError(f"A network cannot have {players} inputs. Give at least one player.")
    ones = torch.ones(len(knots), players, dtype=torch.float64)
    first = _linear(ones, -torch.tensor(knots, dtype=torch.float64))
    return nn.Sequential(first, nn.ReLU(), _linear(steps[None], steps.new_zeros(1)))


def _linear(weight: Float[Tensor, "outputs inputs"], bias: Float[Tensor, " outputs"]) -> nn.Linear:
    """A layer with these weights. It is made without drawing others first, which would move the
    global random state."""
    outputs, inputs = weight.shape
    layer = nn.Linear(inputs, outputs, device="meta")
    layer.weight = nn.Parameter(weight.clone())
    layer.bias = nn.Parameter(bias.clone())
    return layer
