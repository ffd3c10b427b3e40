"""Knowledge layer by layer: which interactions each layer keeps, forgets and adds."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from unmask import admission
from unmask.allocator import keep_freed_blocks
from unmask.card import method
from unmask.interactions import and_or_tables
from unmask.interactions.terms.stacked import salient, stacked
from unmask.internals import plain, record
from unmask.lattice import by_order, sizes
from unmask.methods.dynamics.interaction_flow import flow
from unmask.methods.dynamics.linear_probe import (
    LinearProbe,
    features_of,
    fit_probe,
    read_by_weights,
    recorded,
)
from unmask.methods.dynamics.tables import hidden_for, tables
from unmask.players import Players
from unmask.results import Measurement
from unmask.score import Target, log_odds, predicted

MOST = 4
"""Layers that are chosen where none are named."""


@method("cheng2024layerwise")
def layerwise_knowledge(
    model: nn.Module,
    x: Float[Tensor, "batch *input"],
    *,
    data: Float[Tensor, "rows *shape"],
    labels: Shaped[Tensor, " labels"],
    players: Players,
    baseline: Float[Tensor, "*background"],
    layers: Sequence[str] | None = None,
    target: Target | None = None,
    tau: float = 0.05,
    scaled: bool = False,
    ridge: float = 1e-3,
    precision: float = 1e-2,
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Read every layer by a linear probe, and follow its AND and OR terms to the output.

    $$
    v^{(l)}(S) = \log \frac{p^{(l)}_y(x_S)}{1 - p^{(l)}_y(x_S)}, \qquad
    p^{(l)} = \mathrm{softmax}\bigl(W^{(l)} f^{(l)}(x) + b^{(l)}\bigr)
    $$

    A probe is a logistic regression on the features of a layer, all of the network fixed, fitted
    to the data. Its log-odds are the game of that layer; that of the last, called `output`, are
    the network's own. The sparsest terms of each game are compared from layer to layer and with
    the output, as by `interaction_flow`: overlap, what is forgotten and what is new, by order.
    Completeness of a layer is the share of the output's strength that is there already, redundancy
    the share of its own strength that the output does not have.

    Only what is linearly read counts as known, and the probe's scale is part of it: where the
    data separate, its logits are as large as `ridge` lets them be, and the strengths of a layer
    with them, so that much is redundant that is only larger. With `scaled` every game is divided
    by its layer's mean |v(N) - v(empty)| over inputs, which compares what the layers say and not
    how loud. Feature maps of more than 4,096 numbers are averaged over a grid of places. All
    layers are read in one set of passes over the 2^n masked inputs.

    Curves over `order`, means over inputs: `strength L` of every layer L; `overlap L to M`,
    `forget L to M` and `new L to M` between neighbours. Numbers of every layer but the output:
    `completeness L` and `redundancy L` against the output; like the curves between neighbours they
    come with `_low` and `_high`, which hold them in 19 of 20 resamplings of the inputs (of one
    input they are NaN); `accuracy L`, the share of the data that its probe names
    rightly, the data that it was fitted to. `accuracy output` is that of the network; `agreement L`
    the share of x on which the probe names the class that the network names; `scale L`, the mean
    |v(N) - v(empty)|, of the output too. `inputs`;
    `largest_gap`, of all terms from the sparsest; `evaluations` of the model.

    Args:
        model: the network, which gives a row of logits per input.
        x: inputs to explain.
        data: what probes are fitted to; their features are held in memory all at once.
        labels: the classes of the data.
        players: who owns which position.
        baseline: what stands where a player is hidden; with one axis more, a set of them that
            is averaged over.
        layers: dotted names, from early to late; by default up to four of those whose output is
            what the next weights read.
        target: the class that is explained, or one per input of x; by default what the network
            names.
        tau: the least strength of a salient term, relative to the strongest of its input and
            layer; 0 for all.
        scaled: whether all layers are brought to one scale.
        ridge: of the probes, beside the mean loss.
        precision: the gap to the sparsest terms at which to stop.
        batch_size: rows in one call of the model; by default what a processor's cache holds.
        generator: source of the resamplings.

    >>> from unmask import features
    >>> from unmask.zoo import breast_cancer
    >>> net = breast_cancer()
    >>> data, labels = torch.stack(net.inputs), torch.tensor(net.labels)
    >>> found = layerwise_knowledge(
    ...     net.model, data[:4], data=data, labels=labels, players=net.players(0),
    ...     baseline=net.baseline(0), layers=["layers.1", "layers.3"],
    ... )
    >>> found.numbers["completeness layers.3"] > found.numbers["completeness layers.1"]
    True
    """
    _check(model, x, data, labels, batch_size, ridge)
    players.refuse_other(x.shape[1:])
    backgrounds = admission.backgrounds_for(x[0], baseline)
    x, data, labels = plain(x), plain(data).to(x.device), plain(labels).to(x.device)
    if layers is None:
        every = read_by_weights(model, x[:1])
        spaced = torch.linspace(0, len(every) - 1, min(MOST, len(every))).round().long()
        layers = [every[i] for i in spaced.tolist()]
    if not layers or len(set(layers)) < len(layers) or "output" in layers:
        raise ValueError(
            f"Layers are compared from early to late, but got {list(layers)}. Name one at least, "
            "each once; the output is added of itself."
        )
    probes = [
        fit_probe(part, labels, ridge=ridge)
        for part in features_of(model, layers, data, batch_size)
    ]
    with torch.no_grad():
        named = predicted(model, x.clone())
    values, agreement = _values(
        model, x, layers, probes, named if target is None else target, players,
        hidden_for(x, backgrounds), batch_size, named,
    )  # fmt: skip
    scale = (values[..., -1] - values[..., 0]).abs().mean(1)
    if scaled:
        values = values / torch.where(scale > 0, scale, 1)[:, None, None]
    found = and_or_tables(values.flatten(0, 1), players.names, precision=precision)
    stacks = stacked(found).view(len(layers) + 1, len(x), 2, -1)
    layered = _flows((*layers, "output"), stacks, tau, generator)
    numbers = dict(layered.numbers)
    for name, probe, agreed in zip(layers, probes, agreement, strict=True):
        numbers |= {f"accuracy {name}": probe.accuracy, f"agreement {name}": agreed}
    numbers["accuracy output"] = _accuracy(model, data, labels, batch_size)
    for name, size in zip((*layers, "output"), scale.tolist(), strict=True):
        numbers[f"scale {name}"] = size
    numbers["inputs"] = float(len(x))
    numbers["largest_gap"] = max(one.gap or 0.0 for one in found)
    numbers["evaluations"] = float(len(x) * len(backgrounds) * 2 ** len(players.names))
    return replace(layered, numbers=numbers)


def _values(
    model: nn.Module,
    x: Tensor,
    layers: Sequence[str],
    probes: Sequence[LinearProbe],
    target: Target,
    players: Players,
    hidden: Tensor,
    batch_size: int | None,
    named: Int[Tensor, " inputs"],
) -> tuple[Float[Tensor, "layers inputs coalitions"], list[float]]:
    """The games of all layers and the output, and how often probes name what the model names."""
    with record(model, layers) as outputs:

        def logits(rows: Tensor) -> list[Tensor]:
            put_out = model(rows)
            found = [
                probe(recorded(outputs, name, len(rows)))
                for name, probe in zip(layers, probes, strict=True)
            ]
            return [*found, put_out]

        def read(rows: Tensor, source: Tensor) -> Tensor:
            scores = [
                log_odds(lambda z: z, target).of(one, source).double() for one in logits(rows)
            ]
            return torch.stack(scores, 1)

        values = tables(read, x, players, hidden, batch_size)
        agreed = [torch.zeros(0, device=x.device)] * len(layers)
        with torch.no_grad():
            for rows in torch.arange(len(x), device=x.device).split(batch_size or 64):
                for i, one in enumerate(logits(x[rows])[:-1]):
                    same = (one.argmax(1) == named[rows]).float()
                    agreed[i] = torch.cat([agreed[i], same])
    admission.finite("The table of values", values)
    return values, [float(one.mean()) for one in agreed]


def _flows(
    names: Sequence[str],
    stacks: Float[Tensor, "layers inputs kinds coalitions"],
    tau: float,
    generator: torch.Generator | None,
) -> Measurement:
    n = stacks.shape[-1].bit_length() - 1
    size = sizes(n).to(stacks.device)
    curves = {"order": torch.arange(1, n + 1, dtype=stacks.dtype, device=stacks.device)}
    numbers = {}
    panels = {"strength": ("order", *(f"strength {name}" for name in names))}
    for name, stack in zip(names, stacks, strict=True):
        strength = (stack * salient(stack, tau)).abs().sum(-2).mean(0)
        curves[f"strength {name}"] = by_order(strength, size, n)
    for (one, p), (two, q) in pairwise(zip(names, stacks, strict=True)):
        between = flow(p, q, tau, generator)
        pair = tuple(f"{part} {one} to {two}" for part in ("overlap", "forget", "new"))
        panels[f"{one} to {two}"] = ("order", *pair)
        for part in ("overlap", "forget", "new"):
            for end in ("", "_low", "_high"):
                curves[f"{part} {one} to {two}{end}"] = between.curves[part + end]
    for name, stack in zip(names[:-1], stacks[:-1], strict=True):
        against = flow(stack, stacks[-1], tau, generator)
        for part in ("completeness", "redundancy"):
            for end in ("", "_low", "_high"):
                numbers[f"{part} {name}{end}"] = against.numbers[part + end]
    return Measurement(numbers, curves, panels)


@torch.no_grad()
def _accuracy(model: nn.Module, data: Tensor, labels: Tensor, batch_size: int | None) -> float:
    parts = torch.arange(len(data), device=data.device).split(batch_size or 256)
    right = [(predicted(model, data[rows]) == labels[rows]).double() for rows in parts]
    return float(torch.cat(right).mean())


def _check(
    model: nn.Module, x: Tensor, data: Tensor, labels: Tensor, batch_size: int | None, ridge: float
) -> None:
    keep_freed_blocks()
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"The layers of a network are probed, but got a {type(model).__name__}. "
            "Give an nn.Module."
        )
    for what, given in (("The input", x), ("The data", data), ("The labels", labels)):
        admission.finite(what, given)
        admission.filled(given)
    if len(labels) != len(data) or data.shape[1:] != x.shape[1:] or labels.is_floating_point():
        raise ValueError(
            f"Probes learn from inputs like x, each with a class, but x has shape {tuple(x.shape)},"
            f" data {tuple(data.shape)} and labels {labels.dtype} of shape {tuple(labels.shape)}. "
            "Give data shaped like x, and a whole number per row."
        )
    classes = labels.unique()
    if len(classes) < 2 or classes.tolist() != list(range(len(classes))):
        raise ValueError(
            f"A probe tells the classes 0, 1, ... apart, but the labels are {classes.tolist()}. "
            "Give data of all classes."
        )
    if not ridge > 0:
        raise ValueError(
            f"Probes of separable classes need a ridge above 0, but it is {ridge}. Give a small "
            "number, such as 0.001."
        )
    admission.settled(model)
    admission.batched(batch_size)
