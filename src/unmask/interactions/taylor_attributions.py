"""Attribution methods as allocations of Taylor effects, measured on a network."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.interactions.taylor.allocation import Handed, allocation, handed
from unmask.internals import admit, value_and_gradient
from unmask.lattice import MOEBIUS, ZETA, coalitions, sizes, transform
from unmask.masking import cached_rows, masked
from unmask.players import Players, features
from unmask.quadrature import gauss_legendre
from unmask.results import Attribution, Measurement
from unmask.score import Score

LARGEST = 12
"""Players up to which attributions of all masked inputs are asked for."""

Attribute = Callable[[Score, Tensor], Attribution]
"""A score and inputs -> what a method attributes to them."""


@method("deng2024unifying", "deng2021general")
def taylor_attributions(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    baseline: Float[Tensor, "*background"],
    players: Players | None = None,
    attributions: Mapping[str, Attribute] | None = None,
    steps: int = 32,
    samples: int = 1000,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Measurement:
    r"""Measure how attribution methods share out independent effects and interactions.

    $$
    A_i = \sum_j w_{ij}\, \psi(j) + \sum_{|S| \ge 2} w_{iS}\, J(S), \qquad
    \psi(j) = a(\{j\}), \quad J(S) = a(S)
    $$

    Fourteen methods hand out the terms of the Taylor series about the baseline and differ in the
    weights alone (in closed form: `taylor_shares.ALLOCATIONS`). A network has no finite series,
    but the terms of each set of players sum to its dividend a(S) in the game that hides players by
    the baseline. What a method gives player i of that effect is found by running it on all 2^n
    masked inputs (see `allocation`). So one sees how far it keeps two principles: nothing to
    players that take no part in an effect (`unrelated` is 0), and each effect handed out just once
    (`incomplete` is 0). They are not the whole of what makes an attribution good.

    Always measured are `gradient_x_input` (the gradient times x - b), `integrated_gradients`,
    `occlusion` and `shapley`; of the last two the weights are known, 1 and 1/|S| for each member,
    and the numbers are those of this network's effects. Others are given as `attributions`.

    Numbers: `inputs`, and for each method `unrelated` and `incomplete`, as shares of the sum of
    |a|, with intervals of 95 % over the inputs (`_low`, `_high`; of a single input NaN). Curves
    over `order`: `strength`, the share of the sum of |a| in effects of that order, and of each
    method `handed_out`, how many times over an effect is handed out, and `to_others`, how much of
    it goes outside. An effect of order k is a difference of 2^k outputs, so that of a model in
    float32 effects of high order may be rounding; and so is what an integral of few `steps` misses
    multiplied: where `incomplete` of integrated gradients falls with more steps, it was that. A
    method that takes another point than b for nothing, as LRP does with zero, is seen to give to
    outsiders.

    Args:
        score: f, differentiable in its input.
        x: the inputs.
        baseline: b, what stands where a player is hidden.
        players: at most 12, with the same positions in all inputs; the columns of a table if not
            given.
        attributions: further methods by name, each a function of a score and of inputs.
        steps: nodes of the integral of gradients.
        samples: how often inputs are drawn anew for the intervals.
        generator: source of these draws.
        batch_size: rows in one call of the model; by default what a processor's cache holds.

    >>> from unmask.score import logit
    >>> product = logit(lambda x: x[:, 0] + x[:, 0] * x[:, 1], 0)
    >>> x = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    >>> found = taylor_attributions(product, x, baseline=torch.zeros(2))
    >>> found.curves["gradient_x_input_handed_out"]
    tensor([1., 2.], dtype=torch.float64)
    >>> round(found.numbers["integrated_gradients_incomplete"], 6)
    0.0
    """
    admit(score, x, batch_size)
    players = _players(x, players)
    b = admission.one_baseline_for(x[0], baseline)
    nodes = gauss_legendre(steps)
    given = dict(attributions or {})
    size = batch_size or cached_rows(x[0])
    rows: dict[str, list[Handed]] = {}
    for i, one in enumerate(x.detach()):
        own = _of_input(score, i)
        table = masked(own, one, players, b, batch_size=batch_size).table().double()
        run = {
            "gradient_x_input": _along(own, b, [(1.0, 1.0)]),
            "integrated_gradients": _along(own, b, nodes),
        } | {name: _checked(own, name, attribute) for name, attribute in given.items()}
        values = {
            name: torch.cat(
                [_of_players(attribute(some), players) for some in _masks(one, b, players, size)]
            ).T
            for name, attribute in run.items()
        }
        for name, value in (values | _known(table)).items():
            rows.setdefault(name, []).append(handed(value[None], table[None]))

    draws = admission.drawing(generator)
    seed = int(torch.randint(2**31, (1,), generator=draws, device=draws.device))
    numbers, curves = {"inputs": float(len(x))}, {}
    for name, parts in rows.items():
        same = torch.Generator().manual_seed(seed)  # methods are compared on the same draws
        found = allocation(_joined(parts), samples=samples, generator=same)
        curves |= {key: found.curves[key] for key in ("order", "strength")}
        curves |= {f"{name}_{key}": found.curves[key] for key in ("handed_out", "to_others")}
        numbers |= {f"{name}_{key}": v for key, v in found.numbers.items() if key != "inputs"}
    panels = {
        title: ("order", *(f"{name}_{title.replace(' ', '_')}" for name in rows))
        for title in ("handed out", "to others")
    }
    return Measurement(numbers, curves, panels)


def _players(x: Tensor, players: Players | None) -> Players:
    if players is None:
        if x.ndim != 2 or x.shape[1] > LARGEST:
            raise ValueError(
                f"The columns of a table are players if there are at most {LARGEST}, but an input "
                f"has the shape {tuple(x.shape[1:])}. Give players, such as patches or groups of "
                "columns."
            )
        return features(x.shape[1])
    players.refuse_other(x.shape[1:])
    if len(players.names) > LARGEST:
        raise ValueError(
            f"{len(players.names)} players make 2^{len(players.names)} masked inputs, on all of "
            f"which each method is run; at most {LARGEST} are possible. Group the players into "
            "fewer, larger parts."
        )
    return players


def _of_input(score: Score, i: int) -> Score:
    """The score of the class of this input, for whatever is made from it."""
    if score.targets is None:
        return score

    def read(output: Tensor, rows: Tensor | None) -> Tensor:
        return score.read(output, torch.full((len(output),), i, device=output.device))

    return replace(score, read=read, targets=None)


def _masks(x: Tensor, b: Tensor, players: Players, size: int) -> Iterator[Tensor]:
    """The input under every mask, in lattice order, a batch at a time."""
    for masks in coalitions(len(players.names)).to(x.device).split(size):
        yield torch.where(players.cover(masks), x, b)


def _along(score: Score, b: Tensor, nodes: list[tuple[float, float]]) -> Callable[[Tensor], Tensor]:
    """The gradient at places between baseline and input, weighed, times what lies between them."""

    def attribute(x: Tensor) -> Tensor:
        step = x - b
        total = torch.zeros_like(x, dtype=torch.float64)
        for place, weight in nodes:
            _, gradient = value_and_gradient(score, b + place * step)
            total += weight * (step * gradient).double()
        return total

    return attribute


def _checked(score: Score, name: str, attribute: Attribute) -> Callable[[Tensor], Tensor]:
    def attributed(x: Tensor) -> Tensor:
        found = attribute(score, x.clone())
        values = found.values if isinstance(found, Attribution) else None
        if values is None or values.shape != x.shape:
            shape = type(found).__name__ if values is None else tuple(values.shape)
            raise ValueError(
                f"The method {name!r} returned {shape} for inputs of the shape {tuple(x.shape)}. "
                "Give functions of a score and of inputs that return an Attribution like these."
            )
        admission.finite(f"What {name!r} attributes", values)
        return values.detach().double()

    return attributed


def _of_players(
    values: Float[Tensor, "batch *input"], players: Players
) -> Float[Tensor, "batch players"]:
    """What the positions of each player have together."""
    owner = players.owner.to(values.device).flatten() + 1  # the first column is nobody's
    total = values.new_zeros(len(values), len(players.names) + 1)
    return total.index_add_(1, owner, values.flatten(1))[:, 1:]


def _known(table: Float[Tensor, " coalitions"]) -> dict[str, Float[Tensor, "players coalitions"]]:
    """The attributions, on every mask, of the methods whose weights are known."""
    a = transform(table, MOEBIUS)
    n = len(a).bit_length() - 1
    members = coalitions(n).T.to(a)
    size = sizes(n).to(a).clamp_min(1)
    return {
        "occlusion": transform(members * a, ZETA),
        "shapley": transform(members * a / size, ZETA),
    }


def _joined(parts: list[Handed]) -> Handed:
    return Handed(
        **{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Handed)}
    )
