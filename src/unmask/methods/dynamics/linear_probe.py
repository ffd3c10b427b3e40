"""Linear probes: what a linear classifier reads from the features of a layer."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional

from unmask.internals import record
from unmask.masking import cached_rows

LARGEST = 4096
"""Features that a probe reads; what a layer has more is averaged over places."""


@dataclass(frozen=True)
class LinearProbe:
    """A logistic regression on features.

    Args:
        weight: of each class and feature.
        bias: of each class.
        accuracy: share of the data that it was fitted to that it names rightly.
    """

    weight: Float[Tensor, "classes features"]
    bias: Float[Tensor, " classes"]
    accuracy: float

    def __call__(self, features: Float[Tensor, "rows features"]) -> Float[Tensor, "rows classes"]:
        """The logits."""
        return features.to(self.weight) @ self.weight.T + self.bias


def fit_probe(
    features: Float[Tensor, "rows features"], labels: Int[Tensor, " rows"], *, ridge: float
) -> LinearProbe:
    r"""Fit a linear classifier to features.

    $$
    \min_{W, b}\; \frac1m \sum_j -\log p_{y_j}(W z_j + b) + \frac{\rho}{2} \lVert W \rVert^2
    $$

    over features z of mean 0 and variance 1. The problem is convex, so nothing depends on where
    the search begins. Features that never change are not used.

    Args:
        features: of the rows.
        labels: their classes y, of which there are two at least.
        ridge: rho; without it, weights of separable classes would grow without end.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    wide = features.double()
    mean, scale = wide.mean(0), wide.std(0, correction=0)
    scale = torch.where(scale > 1e-9 * (wide.abs().amax(0) + scale), scale, torch.inf)
    z = ((wide - mean) / scale).cpu().numpy()
    regression = LogisticRegression(C=1 / (ridge * len(z)), max_iter=2000, tol=1e-6)
    with warnings.catch_warnings():
        # Two thousand steps of a convex search end close enough, if not everywhere to 1e-6.
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression.fit(z, labels.cpu().numpy())
    found = torch.as_tensor(regression.coef_).to(wide)
    constant = torch.as_tensor(regression.intercept_).to(wide)
    if len(found) == 1:  # of two classes the regression gives the difference
        found = torch.cat([torch.zeros_like(found), found])
        constant = torch.cat([torch.zeros_like(constant), constant])
    weight = found / scale
    bias = constant - weight @ mean
    right = (wide @ weight.T + bias).argmax(1) == labels.to(wide.device)
    return LinearProbe(weight, bias, float(right.double().mean()))


def flat(output: Float[Tensor, "rows *features"]) -> Float[Tensor, "rows flat"]:
    """The features of a layer in a row; of large maps, averages over a grid of places.

    The places of four axes are the last two, as those of convolutions; of three axes they are the
    first, as those of words.
    """
    if output[0].numel() <= LARGEST or output.ndim < 3:
        return output.flatten(1)
    output = output.to(torch.promote_types(output.dtype, torch.float32))
    if output.ndim == 3:
        return output.mean(1)
    maps = output.flatten(1, -3)
    side = max(1, int((LARGEST / maps.shape[1]) ** 0.5))
    return functional.adaptive_avg_pool2d(maps, min(side, *maps.shape[-2:])).flatten(1)


@torch.no_grad()
def features_of(
    model: nn.Module,
    layers: Sequence[str],
    data: Shaped[Tensor, "rows *input"],
    batch_size: int | None = None,
) -> list[Float[Tensor, "rows features"]]:
    """What each layer puts out for the data, all layers in one pass.

    Args:
        model: the network.
        layers: dotted names.
        data: its inputs; their features are held in memory all at once.
        batch_size: inputs in one call of the model.
    """
    parts: list[list[Tensor]] = [[] for _ in layers]
    with record(model, layers) as outputs:
        for rows in torch.arange(len(data), device=data.device).split(
            batch_size or cached_rows(data[0])
        ):
            model(data[rows])
            for name, part in zip(layers, parts, strict=True):
                part.append(recorded(outputs, name, len(rows)))
    return [torch.cat(part) for part in parts]


def recorded(outputs: dict[str, Tensor], name: str, rows: int) -> Float[Tensor, "rows features"]:
    """The features of one layer from what was recorded in a pass."""
    if name not in outputs:
        raise ValueError(
            f"Layer {name!r} does not run when the model does. Name a layer that takes part."
        )
    output = outputs[name]
    if output.ndim < 2 or len(output) != rows or not output.is_floating_point():
        raise ValueError(
            f"Layer {name!r} puts out {output.dtype} of shape {tuple(output.shape)} for {rows} "
            "inputs. Name a layer that puts out real numbers, a row or more per input."
        )
    return flat(output)


def read_by_weights(model: nn.Module, x: Shaped[Tensor, "batch *input"]) -> tuple[str, ...]:
    """The layers whose output is what the next weights read, in the order in which they run.

    Taken are the innermost modules that run right before one with parameters.
    """
    ran: list[tuple[str, bool]] = []
    handles = []

    def keep(name: str, weighted: bool):
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.ndim > 1 and len(output) == len(x):
                ran.append((name, weighted))

        return hook

    try:
        for name, module in model.named_modules():
            if name and not list(module.children()):
                weighted = bool(list(module.parameters()))
                handles.append(module.register_forward_hook(keep(name, weighted)))
        with torch.no_grad():
            model(x.clone())
    finally:
        for handle in handles:
            handle.remove()
    before = [ran[i - 1][0] for i in range(1, len(ran)) if ran[i][1]]
    return tuple(dict.fromkeys(before))
