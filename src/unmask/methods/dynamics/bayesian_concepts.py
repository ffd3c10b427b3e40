"""Bayesian networks and concepts: which orders of interaction survive uncertain weights."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmask import admission
from unmask.allocator import keep_freed_blocks
from unmask.bootstrap import Bounds, bootstrap, means
from unmask.card import method
from unmask.internals import plain
from unmask.lattice import MOEBIUS, by_order, sizes, transform
from unmask.methods.dynamics.mean_field import Labels, MeanField, fit_mean_field
from unmask.methods.dynamics.tables import hidden_for, tables
from unmask.players import Players
from unmask.results import Measurement
from unmask.score import Score, Target, log_odds, logit, predicted

_BOUNDS: Bounds = dict.fromkeys(("ratio", "power_ratio"), (0.0, torch.inf))


@method("ren2023bayesian", "blundell2015weight")
def bayesian_concepts(
    model: nn.Module,
    x: Float[Tensor, "batch *input"],
    *,
    data: Float[Tensor, "rows *shape"],
    labels: Labels,
    players: Players,
    baseline: Float[Tensor, "*background"],
    steps: int,
    samples: int = 30,
    target: Target | None = None,
    weight: float | None = None,
    deviation: float = 0.05,
    prior: float = 1.0,
    rate: float = 1e-3,
    minibatch: int = 100,
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Make a network's weights uncertain, and see which of its concepts are left.

    $$
    v_B(S) = \mathrm{E}_w\, v_w(S), \qquad w_i \sim N(\mu_i, \sigma_i^2), \qquad
    \bar I_m = \mathrm{E}_x\, \mathrm{E}_{|T| = m}\, |a(T \mid x)|, \qquad
    a(T) = \sum_{S \subseteq T} (-1)^{|T|-|S|}\, v(S)
    $$

    Noisy weights act like noisy inputs, under which effects of many players are the most unstable
    (see `concept_difficulty`): learning with them, a network gives these up. The Bayesian network
    is the same network with a Gaussian for every weight, trained on the data by the evidence lower
    bound. It begins at the weights of the network that is given, so that what it lacks was given
    up and not just never learned: too few steps tell against the claim, not for it. Whether the
    ratio falls with the order depends on the weight of the divergence; where that is small there
    is hardly any difference. Deviations grow from where they begin until the data hold them, and
    the ratio falls with them: look whether twice the steps change it.

    The same draws of the weights serve all coalitions of all inputs, or the effects would be noise.
    Still the mean of a few draws is noisy: `error` is its mean standard error, and as |a| of noise
    is not zero, `ratio` is too large where that comes near to `bayesian`. In `power_ratio`, of the
    roots of mean squares, the squared errors are taken off.

    v is the log-odds of the class that the given network names; of labels that are real numbers,
    the output itself.

    Curves over `order`: `deterministic` and `bayesian` mean strengths; `ratio`, of the second to
    the first, and `power_ratio`, both with `low` and `high`; `error`; `sensitivity`, the mean over
    sets of the standard deviation of a(T) over draws of the weights, divided by `bayesian`. NaN is
    a ratio to what the given network does not have. Numbers: `slope` of the logarithm of the ratio
    over the order, below 0 if complex concepts are given up, with `slope_low` and `slope_high`;
    `falling`, 1 if the ratio falls from each order to the next; `loss` of the given network on the
    data, and `bayesian_loss`, of the mean weights; `largest_deviation` of a weight, and
    `mean_deviation`; `inputs`, `samples` and `evaluations`, of networks on masked inputs. The
    bounds hold the value in 19 of 20 resamplings of the inputs (not of trainings: for those,
    repeat with other generators); of one input they are NaN.

    Args:
        model: a trained network.
        x: inputs to explain.
        data: what the Bayesian network learns from.
        labels: of the data: classes, or real numbers.
        players: who owns which position.
        baseline: what stands where a player is hidden; with one axis more, a set of them that
            is averaged over.
        steps: of Adam.
        samples: draws of the weights.
        target: the class that is explained, or one per input of x.
        weight: kappa, of the divergence from the prior beside the mean loss of an input; without
            it, one over the number of inputs.
        deviation: the standard deviation that weights begin with.
        prior: their standard deviation beforehand.
        rate: of Adam.
        minibatch: inputs per step.
        batch_size: rows in one call of a network; by default what a processor's cache holds.
        generator: source of weights, order of the data and resamplings.

    >>> from unmask import features
    >>> from unmask.planted import linear_network, planted_concepts
    >>> data = planted_concepts(3, [(0,), (1,)], 8, torch.Generator().manual_seed(0))
    >>> found = bayesian_concepts(
    ...     linear_network(torch.tensor([1.0, 1.0, 0.0])), data.inputs, data=data.inputs,
    ...     labels=data.labels, players=features(3), baseline=torch.zeros(3), steps=50,
    ... )
    >>> found.curves["deterministic"].round(decimals=3)
    tensor([0.6670, 0.0000, 0.0000], dtype=torch.float64)
    """
    _check(model, x, data, labels, steps, samples, batch_size)
    players.refuse_other(x.shape[1:])
    generator = admission.drawing(generator)
    backgrounds = admission.backgrounds_for(x[0], baseline)
    with torch.inference_mode(False):
        x, data, labels = plain(x), plain(data).to(x.device), plain(labels).to(x.device)
        network = MeanField(model, deviation=deviation, prior=prior)
        fit_mean_field(
            network, data, labels, steps=steps, weight=1 / len(data) if weight is None else weight,
            generator=generator, rate=rate, minibatch=minibatch,
        )  # fmt: skip
    read = _reading(model, x, labels, target)
    hidden = hidden_for(x, backgrounds)

    def effects(output: nn.Module, weights: dict[str, Tensor] | None) -> Tensor:
        def numbers(rows: Tensor, source: Tensor) -> Tensor:
            put_out = output(rows) if weights is None else output(rows, weights)
            return read.of(put_out, source)[:, None]

        values = tables(numbers, x, players, hidden, batch_size)[0]
        admission.finite("The table of values", values)
        return transform(values, MOEBIUS)

    own = effects(model, None)
    mean, squares = torch.zeros_like(own), torch.zeros_like(own)
    with torch.no_grad():
        for done in range(samples):
            step = effects(network, network.draw(generator)) - mean
            mean += step / (done + 1)
            squares += step.square() * (done / (done + 1))
        sigma = torch.cat([nn.functional.softplus(rho).flatten() for rho in network.rho])
        found = _of_orders(own, mean, (squares / (samples - 1)).sqrt(), samples, generator)
        numbers = {
            "loss": _whole_loss(model, data, labels, batch_size),
            "bayesian_loss": _whole_loss(network, data, labels, batch_size),
            "largest_deviation": float(sigma.max()),
            "mean_deviation": float(sigma.mean()),
            "inputs": float(len(x)),
            "samples": float(samples),
            "evaluations": float(own.numel() * len(backgrounds) * (samples + 1)),
        }
    return replace(found, numbers={**found.numbers, **numbers})


def _reading(model: nn.Module, x: Tensor, labels: Tensor, target: Target | None) -> Score:
    """What number of an output is read; for each input its class."""
    if labels.is_floating_point():
        return logit(model, 0 if target is None else target)
    return log_odds(model, predicted(model, x.clone()) if target is None else target)


def _of_orders(
    own: Float[Tensor, "inputs coalitions"],
    mean: Float[Tensor, "inputs coalitions"],
    deviation: Float[Tensor, "inputs coalitions"],
    samples: int,
    generator: torch.Generator,
) -> Measurement:
    n = own.shape[1].bit_length() - 1
    size = sizes(n).to(own.device)
    counts = by_order(torch.ones_like(own[0]), size, n)
    order = torch.arange(1, n + 1, dtype=own.dtype, device=own.device)

    def strength(values: Tensor) -> Tensor:
        return by_order(values, size, n) / counts

    ours, theirs = strength(own.abs()), strength(mean.abs())
    # An order that the network does not have is rounding, and a ratio of rounding means nothing.
    there = (ours > 1e-12 * ours.amax()).any(0)
    ours = torch.where(there, ours, 0)
    unbiased = strength(mean.square() - deviation.square() / samples)
    parts = (ours, theirs * there, strength(own.square()) * there, unbiased * there)

    def statistics(weights: Float[Tensor, "draws inputs"]) -> dict[str, Tensor]:
        first, second, squares, other_squares = (means(weights, part) for part in parts)
        ratio = second / first
        power = (other_squares.clamp(min=0) / squares).sqrt()
        return {"ratio": ratio, "power_ratio": power, "slope": _slope(ratio.log(), order)}

    found = bootstrap(statistics, len(own), generator=generator, bounds=_BOUNDS)
    spread = strength(deviation).mean(0)
    known = found["ratio"][~found["ratio"].isnan()]
    return Measurement(
        {
            **{name: float(value) for name, value in found.items() if value.dim() == 0},
            "falling": float((known.diff() < 0).all()),
        },
        {
            "order": order,
            "deterministic": ours.mean(0),
            "bayesian": theirs.mean(0),
            **{name: value for name, value in found.items() if value.dim()},
            "error": spread / samples**0.5,
            "sensitivity": spread / theirs.mean(0),
        },
        {
            "strength": ("order", "deterministic", "bayesian"),
            "ratio": ("order", "ratio", "power_ratio"),
        },
    )


def _slope(
    y: Float[Tensor, "draws orders"], order: Float[Tensor, " orders"]
) -> Float[Tensor, " draws"]:
    """Of the line through the points, where they are finite."""
    known = y.isfinite().to(y)
    count = known.sum(1, keepdim=True)
    away = (order - (known * order).sum(1, keepdim=True) / count) * known
    return (away * torch.where(known > 0, y, 0)).sum(1) / away.square().sum(1)


def _whole_loss(network: nn.Module, data: Tensor, labels: Tensor, batch_size: int | None) -> float:
    """The mean loss over all data, a batch at a time."""
    total = 0.0
    for rows in torch.arange(len(data), device=data.device).split(batch_size or 256):
        output = network(data[rows])
        if labels.is_floating_point():
            squares = (output.view(len(rows)).double() - labels[rows].double()).square()
            total += float(squares.sum())
            continue
        scores = log_odds(lambda x, output=output: output, labels[rows])
        total += float(nn.functional.softplus(-scores(data[rows]).double()).sum())
    return total / len(data)


def _check(
    model: nn.Module,
    x: Tensor,
    data: Tensor,
    labels: Tensor,
    steps: int,
    samples: int,
    batch_size: int | None,
) -> None:
    keep_freed_blocks()
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"The weights of a network are made uncertain, but got a {type(model).__name__}. "
            "Give an nn.Module."
        )
    for what, given in (("The input", x), ("The data", data), ("The labels", labels)):
        admission.finite(what, given)
        admission.filled(given)
    if len(labels) != len(data) or data.shape[1:] != x.shape[1:]:
        raise ValueError(
            f"A Bayesian network learns from inputs like x, each with a label, but x has shape "
            f"{tuple(x.shape)}, data {tuple(data.shape)} and labels {tuple(labels.shape)}. Give "
            "data shaped like x, and one label per row."
        )
    admission.settled(model)
    admission.batched(batch_size)
    if steps < 1:
        raise ValueError(f"A training of {steps} steps leads nowhere. Give some hundreds.")
    if samples < 2:
        raise ValueError(
            f"An expectation over weights needs two draws at least, but samples is {samples}. "
            "Give some dozens."
        )
