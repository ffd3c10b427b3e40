"""A layer that loses units in the order of what is said of them."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from unmask import admission
from unmask.bootstrap import bootstrap, means
from unmask.card import method
from unmask.evaluation.explained import Explain, explained
from unmask.evaluation.retrained import admit_training, parted
from unmask.internals import edit, plain, record
from unmask.internals import layer as found_layer
from unmask.results import Measurement
from unmask.score import correct, log_odds

_DRAWS = 5
"""Orders by chance."""
_SHARES = tuple(tenth / 10 for tenth in range(10))


@method("yeom2021pruning", "molchanov2017pruning")
def prune_units(
    model: nn.Module,
    data: Float[Tensor, "batch *input"],
    *,
    labels: Int[Tensor, " labels"],
    layer: str,
    explain: Explain,
    shares: Sequence[float] = _SHARES,
    samples: int = 256,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Measurement:
    r"""Silence the units of a layer of which least is said, and see what accuracy is left.

    $$
    I_u = \frac1B \sum_b \sum_p |a_{bup}|, \qquad
    \mathrm{area} = \frac{1}{q_L - q_0} \int_{q_0}^{q_L} \mathrm{acc}(q)\, dq
    $$

    a explains the log-odds of the right class from what the layer puts out; p runs over the
    positions of a unit, which is a channel where the output has several axes. Sizes are added, so
    that what speaks for the class in one place and against it in another counts. The share q of the
    units of smallest I is set to zero, without training anew, and the accuracy is measured on
    inputs other than those that I was read from: 30 of 100 are kept for that.

    Beside it stand orders that need no explanation: by the mean size of what a unit puts out
    (`_by_output`), by the L1 norm of its weights, where the layer has any (`_by_weights`), and by
    chance, the mean of five orders. `gain_over_...` is the difference of the areas, with an
    interval from test inputs drawn anew: it tells of this network, not of others like it.

    >>> model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False))
    >>> with torch.no_grad():
    ...     _ = model[0].weight.copy_(torch.eye(3) * torch.tensor([1.0, 5.0, 5.0]))
    ...     _ = model[2].weight.copy_(torch.tensor([[1.0, 0.001, -0.001]]))
    >>> x = torch.rand(40, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    >>> from unmask.results import Attribution
    >>> def explain(score, h):  # each unit times the slope of the score
    ...     return Attribution(h * torch.autograd.functional.jacobian(lambda h: score(h).sum(), h))
    >>> y = (x[:, 0] > 0).long()
    >>> found = prune_units(model, x, labels=y, layer="1", explain=explain, shares=(0.0, 0.4, 0.7))
    >>> found.curves["importance"].argsort().tolist()[-1]  # the unit that tells the class
    0
    >>> found.numbers["gain_over_output"] > 0
    True

    Args:
        model: the network, which stays as it is.
        data: its inputs.
        labels: their classes.
        layer: whose units are silenced; all that the network knows of an input must pass it.
        explain: makes the explanations, of a score of what the layer puts out.
        shares: q, ascending.
        samples: inputs that are explained, at most.
        generator: source of the parting of the inputs and of the orders by chance.
        batch_size: inputs in one call of the network.
    """
    _check(data, labels, shares, samples)
    admission.batched(batch_size)
    admission.settled(model)
    generator = admission.drawing(generator)
    data, labels = plain(data), plain(labels).long().to(data.device)
    known, held_out = (part.to(data.device) for part in parted(len(data), generator))
    known = known[:samples]
    put_out = _output(model, layer, data[known], batch_size)
    importance = unit_importance(
        model, data[known], put_out, labels[known], layer, explain, batch_size
    )
    orders = _orders(model, layer, importance, put_out, generator)
    units = len(importance)
    removed = torch.tensor([int(share * units + 1e-9) for share in shares])
    keep = torch.cat([_keep(order, removed) for order in orders.values()])
    right = _right_without(model, data[held_out], labels[held_out], layer, keep, batch_size)
    curves = dict(zip(orders, right.double().split(len(shares), 1), strict=True))
    chance = [curves.pop(name) for name in tuple(curves) if name.startswith("_by_chance")]
    curves["_by_chance"] = torch.stack(chance).mean(0)
    points = torch.tensor([float(share) for share in shares])
    return _measured(curves, points, importance).to(data.device)


def unit_importance(
    model: nn.Module,
    x: Float[Tensor, "batch *input"],
    put_out: Float[Tensor, "batch units *positions"],
    labels: Int[Tensor, " batch"],
    layer: str,
    explain: Explain,
    batch_size: int | None = None,
) -> Float[Tensor, " units"]:
    """How much is said of each unit of a layer, whatever its sign.

    Args:
        model: the network.
        x: inputs.
        put_out: what the layer puts out of them.
        labels: the classes whose log-odds are explained.
        layer: by its name.
        explain: makes the explanations.
        batch_size: inputs that are explained at a time.
    """
    above = Above(model, x[:1], layer)
    with torch.no_grad():
        some = put_out[: batch_size or 8]
        whole = model(x[: len(some)].clone())
        if not torch.allclose(above(some), whole, rtol=1e-3, atol=1e-3 * float(whole.abs().max())):
            raise ValueError(
                f"What the model puts out does not follow from layer {layer!r} alone: something of "
                "the input goes around it. Name a layer that all paths pass, such as the last of "
                "a block."
            )
    said = explained(log_odds(above, labels), put_out, explain, batch_size=batch_size).values
    if said.shape != put_out.shape:
        raise ValueError(
            f"The explanation has shape {tuple(said.shape)}, but the layer puts out "
            f"{tuple(put_out.shape)}. Give a function that says something of every position."
        )
    return said.abs().flatten(2).sum(2).mean(0) if said.ndim > 2 else said.abs().mean(0)


class Above(nn.Module):
    """A network as a function of what one of its layers puts out.

    Args:
        model: the network.
        x: any one input; nothing of it gets past the layer.
        layer: by its name.
    """

    def __init__(self, model: nn.Module, x: Float[Tensor, "1 *input"], layer: str) -> None:
        super().__init__()
        self.model, self.x, self.layer = model, x, layer
        self.training = model.training

    def forward(self, h: Float[Tensor, "batch units *positions"]) -> Tensor:
        with edit(self.model, {self.layer: lambda _: h.clone()}):
            return self.model(self.x[[0] * len(h)])


@torch.no_grad()
def _output(model: nn.Module, layer: str, x: Tensor, batch_size: int | None) -> Tensor:
    found_layer(model, layer)
    parts = []
    for some in torch.arange(len(x), device=x.device).split(batch_size or len(x)):
        with record(model, [layer]) as outputs:
            model(x[some])
        parts.append(outputs[layer].clone())
    put_out = torch.cat(parts)
    if put_out.ndim < 2 or put_out.shape[1] < 2:
        raise ValueError(
            f"Layer {layer!r} puts out {tuple(put_out.shape[1:])} of each input, so it has no two "
            "units. Name a layer with a row of units or channels."
        )
    return put_out


def _orders(
    model: nn.Module, layer: str, importance: Tensor, put_out: Tensor, generator: torch.Generator
) -> dict[str, Int[Tensor, " units"]]:
    """Units, the first to be silenced first."""
    wide = torch.promote_types(put_out.dtype, torch.float32)
    said = {"": importance, "_by_output": put_out.to(wide).abs().transpose(0, 1).flatten(1).mean(1)}
    weight = getattr(found_layer(model, layer), "weight", None)
    if isinstance(weight, Tensor) and weight.ndim > 1 and len(weight) == len(importance):
        said["_by_weights"] = weight.detach().to(wide).abs().flatten(1).sum(1)
    for draw in range(_DRAWS):
        chance = torch.rand(len(importance), generator=generator, device=generator.device)
        said[f"_by_chance_{draw}"] = chance.to(put_out.device)
    return {name: values.argsort(stable=True) for name, values in said.items()}


def _keep(order: Tensor, removed: Tensor) -> Bool[Tensor, "points units"]:
    return order.argsort() >= removed.to(order.device)[:, None]


@torch.no_grad()
def _right_without(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    layer: str,
    keep: Bool[Tensor, "settings units"],
    batch_size: int | None,
) -> Bool[Tensor, "inputs settings"]:
    """Which inputs are named right when only some units are left, under each setting."""
    every = torch.arange(len(x) * len(keep), device=x.device)
    score, found = correct(model, labels), []
    for some in every.split(batch_size or max(len(x), 1024)):
        rows, kept = some // len(keep), keep[some % len(keep)]

        def silence(output: Tensor, kept: Tensor = kept) -> Tensor:
            return output * kept.view(*kept.shape, *[1] * (output.ndim - 2)).to(output)

        with edit(model, {layer: silence}):
            found.append(score(x[rows], rows) > 0)
    return torch.cat(found).view(len(x), len(keep))


def _measured(
    curves: dict[str, Float[Tensor, "inputs points"]], shares: Tensor, importance: Tensor
) -> Measurement:
    span = float(shares[-1] - shares[0])
    areas = {
        how: torch.trapezoid(right.cpu(), shares.double()) / span for how, right in curves.items()
    }

    def numbers(weights: Tensor) -> dict[str, Tensor]:
        found = {f"area{how}": means(weights, area) for how, area in areas.items()}
        rivals = [how for how in areas if how]
        return found | {
            f"gain_over{how.removeprefix('_by')}": found["area"] - found[f"area{how}"]
            for how in rivals
        }

    found = bootstrap(numbers, len(areas[""]))
    drawn = {f"accuracy{how}": right.mean(0).cpu() for how, right in curves.items()}
    return Measurement(
        {name: float(value) for name, value in found.items()}
        | {"accuracy": float(drawn["accuracy"][0])},
        {"share_silenced": shares} | drawn | {"importance": importance},
        {"Accuracy left": ("share_silenced", *drawn)},
    )


def _check(data: Tensor, labels: Tensor, shares: Sequence[float], samples: int) -> None:
    admit_training(data, labels, 2)
    rising = all(one < other for one, other in pairwise(shares))
    if len(shares) < 2 or not rising or shares[0] < 0 or shares[-1] > 1:
        raise ValueError(
            f"The shares {tuple(shares)} make no curve. Give two at least, ascending from 0 to 1."
        )
    if samples < 1:
        raise ValueError(f"{samples} inputs explain nothing. Give samples of at least 1.")
