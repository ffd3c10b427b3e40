"""What may come in: checks of what a user hands over, before anything is computed."""

import warnings
from numbers import Integral

import torch
from torch import Tensor, nn

_BATCH_DEPENDENT = (nn.modules.batchnorm._BatchNorm,)  # the one parent of all of torch's kinds
_DROPOUT = (nn.modules.dropout._DropoutNd,)


def tensor(what: str, x: Tensor) -> None:
    """Refuse what is no tensor: a number, a list, an array of NumPy."""
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{what} must be a tensor, but is a {type(x).__name__}. "
            "Convert it with torch.as_tensor(x), in the dtype of the model."
        )


def finite(what: str, x: Tensor) -> None:
    """Refuse what is no tensor, NaN and infinity, and say where the first one stands."""
    tensor(what, x)
    if not x.is_floating_point():
        return
    bad = ~x.isfinite()
    if bad.any():
        place = tuple(bad.nonzero()[0].tolist())
        raise ValueError(
            f"{what} must be finite, but holds {float(x[place])} at index {place} "
            f"({int(bad.sum())} such values in all). Impute or drop them first."
        )


def settled(model: object) -> None:
    """Refuse a module whose answer on one input depends on its batch; warn if it is random."""
    if not isinstance(model, nn.Module):
        return
    random = ""
    for name, module in model.named_modules():
        if isinstance(module, _BATCH_DEPENDENT) and (
            module.training or module.running_mean is None
        ):
            raise ValueError(
                f"The layer {name or type(module).__name__!r} is batch normalisation in training "
                "mode: an input's output would depend on the rest of its batch. "
                "Call model.eval() first."
            )
        if module.training and _draws(module):
            random = random or name or type(module).__name__
    if random:
        warnings.warn(
            f"The layer {random!r} draws at random in training mode, so the model never answers "
            "twice alike. Call model.eval() first.",
            stacklevel=3,
        )


def _draws(module: nn.Module) -> bool:
    """Whether a layer is random in training mode."""
    if isinstance(module, _DROPOUT):
        return module.p > 0
    if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
        return module.dropout > 0
    return isinstance(module, nn.RReLU)


def baseline_for(x: Tensor, baseline: Tensor) -> Tensor:
    """The baseline in the shape of one input x, or of a set of them with one axis more."""
    tensor("The baseline", baseline)
    if baseline.is_floating_point() and not x.is_floating_point():
        raise TypeError(
            f"The baseline holds {baseline.dtype} but the input {x.dtype}, such as token ids. "
            "Give a baseline of the same kind: an id that stands for nothing."
        )
    baseline = baseline.detach().to(x.device, x.dtype)
    finite("The baseline", baseline)  # in the dtype of x, where a large number may be infinite
    shape = x.shape
    if baseline.ndim == x.ndim + 1:
        if len(baseline) == 0:
            raise ValueError(
                f"The set of backgrounds is empty: its shape is {tuple(baseline.shape)}. "
                "Give at least one background."
            )
        shape = (len(baseline), *shape)
    try:
        return baseline.expand(shape)
    except RuntimeError:
        raise ValueError(
            f"The baseline has shape {tuple(baseline.shape)}, one input {tuple(x.shape)}. "
            "Give a baseline shaped like one input, or a set of them with one axis more in front."
        ) from None


def backgrounds_for(x: Tensor, baseline: Tensor) -> Tensor:
    """The baseline as a set of backgrounds of one input x, if only of one."""
    found = baseline_for(x, baseline)
    return found if found.ndim > x.ndim else found[None]


def one_baseline_for(x: Tensor, baseline: Tensor) -> Tensor:
    """The baseline in the shape of one input x, where a set of them has no meaning."""
    found = baseline_for(x, baseline)
    if found.ndim > x.ndim:
        raise ValueError(
            f"Inputs are compared with one baseline here, but it is a set of {len(found)}. "
            "Give one shaped like an input, such as their mean."
        )
    return found


def differentiable(x: Tensor) -> None:
    """Refuse inputs that have no gradient, such as token ids, and empty or broken batches."""
    finite("The input", x)
    if not x.is_floating_point():
        raise TypeError(
            f"A gradient needs an input of real numbers, but x holds {x.dtype}. For token ids, "
            "explain the embeddings: wrap the model in unmask.internals.Embedded(model, ids, "
            "layer) and pass its embeddings() as x."
        )
    filled(x)


def filled(x: Tensor) -> None:
    """Refuse a batch of nothing."""
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(
            f"The batch is empty: x has shape {tuple(x.shape)}. Give at least one input, with "
            "the batch as the first axis."
        )


def batched(batch_size: int | None) -> None:
    """Refuse calls of the model with nothing in them."""
    if batch_size is None:
        return
    if not isinstance(batch_size, Integral):
        raise TypeError(
            f"A batch holds whole inputs, but batch_size is {batch_size!r}. Give an int."
        )
    if batch_size < 1:
        raise ValueError(f"A batch of {batch_size} inputs is too small. Give at least 1.")


def drawing(generator: torch.Generator | None) -> torch.Generator:
    """The generator that was given; without one, one that gives the same numbers at each call."""
    if generator is None:
        return torch.Generator().manual_seed(0)
    if not isinstance(generator, torch.Generator):
        raise TypeError(
            f"Chance comes from a torch.Generator, but generator is {generator!r}. "
            "Give torch.Generator().manual_seed(seed)."
        )
    return generator
