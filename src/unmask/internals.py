"""Inside a model: its layers by name, what they put out, and gradients that leave no trace."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from unmask import admission
from unmask.allocator import keep_freed_blocks
from unmask.score import Score


def module_of(score: Score, method: str) -> nn.Module:
    """The module behind a score, for a method that must look inside."""
    _is_score(score)
    if not isinstance(score.model, nn.Module):
        raise TypeError(
            f"{method} needs the layers of the model, but this score wraps a "
            f"{type(score.model).__name__}. Make the score from an nn.Module."
        )
    return score.model


def layer(model: nn.Module, name: str) -> nn.Module:
    """The layer of that dotted name."""
    layers = dict(model.named_modules())
    if name not in layers:
        inner = [other for other in layers if other]  # the model itself goes by no name
        near = difflib.get_close_matches(str(name), inner, n=3, cutoff=0.0)
        if not near:
            raise ValueError(
                f"Layer {name!r} is not in the model: a {type(model).__name__} that holds no "
                "layers of its own. Give a model whose layers are modules."
            )
        raise ValueError(
            f"Layer {name!r} is not in the model. The nearest names are "
            f"{', '.join(repr(other) for other in near)}."
        )
    return layers[name]


@contextmanager
def frozen(model: object) -> Iterator[None]:
    """Spare the graph of the parameters while gradients of the input are taken."""
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        with _differentiable_recurrence(model):
            yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


@contextmanager
def _differentiable_recurrence(model: object) -> Iterator[None]:
    """cuDNN gives no gradient through a recurrent network in evaluation mode: do without it."""
    layers = model.modules() if isinstance(model, nn.Module) else ()
    recurrent = [one for one in layers if isinstance(one, nn.RNNBase)]
    if any(p.is_cuda for one in recurrent for p in one.parameters()):
        with torch.backends.cudnn.flags(enabled=False):
            yield
    else:
        yield


@contextmanager
def record(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Keep what the named layers put out in the last forward pass, while the context lasts."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            outputs[name] = _one_tensor(name, output)

        return hook

    with ExitStack() as hooks:
        for name in names:
            handle = layer(model, name).register_forward_hook(keep(name))
            hooks.callback(handle.remove)
        yield outputs


@contextmanager
def edit(model: nn.Module, edits: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Replace what the named layers put out by a function of it, while the context lasts."""

    def apply(name: str, change: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> Tensor:
            return change(_one_tensor(name, output))

        return hook

    with ExitStack() as hooks:
        for name, change in edits.items():
            handle = layer(model, name).register_forward_hook(apply(name, change))
            hooks.callback(handle.remove)
        yield


class Embedded(nn.Module):
    """A model of token ids as one of their embeddings, which have gradients.

    It runs the model on the ids of one text and puts what it is given in place of what the
    embedding layer puts out.

    >>> from unmask.zoo.transformer import TransformerClassifier
    >>> model, ids = TransformerClassifier(9, 2).eval(), torch.tensor([3, 1, 4])
    >>> of_embeddings = Embedded(model, ids, "embedding")
    >>> x = of_embeddings.embeddings()
    >>> tuple(x.shape), bool(torch.equal(of_embeddings(x), model(ids[None])))
    ((1, 3, 64), True)

    Args:
        model: reads token ids.
        ids: of one text.
        layer: the dotted name of the embedding layer.
    """

    def __init__(self, model: nn.Module, ids: Int[Tensor, " tokens"], layer: str) -> None:
        super().__init__()
        self.model, self.ids, self.layer = model, ids, layer
        self.training = model.training

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Tensor:
        with edit(self.model, {self.layer: lambda _: x}):
            return self.model(self.ids.expand(len(x), -1))

    @torch.no_grad()
    def embeddings(self) -> Float[Tensor, "1 tokens width"]:
        """What the embedding layer puts out for the text."""
        with record(self.model, [self.layer]) as outputs:
            self.model(self.ids[None])
        return outputs[self.layer]


@torch.inference_mode(False)
def plain(x: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Without a graph, and no child of inference mode, of which no gradient can be asked."""
    return x.clone() if x.is_inference() else x.detach()


def value_and_gradient(
    score: Score,
    x: Float[Tensor, "batch *input"],
    rows: Int[Tensor, " batch"] | None = None,
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch *input"]]:
    r"""The score of each input and its gradient there.

    Inputs must not mix in the model: then the gradient of the sum is the gradient of each.
    Nothing is left behind, neither in the model's gradients nor in x.
    """
    with torch.inference_mode(False), torch.enable_grad(), frozen(score.model):
        point = plain(x).requires_grad_()
        values = score(point.clone(), rows)  # a model may begin in place, but not on a leaf
        gradient = None
        if values.requires_grad:
            (gradient,) = torch.autograd.grad(values.sum(), point, allow_unused=True)
    if gradient is None:
        raise ValueError(
            f"The {score.name} does not depend on x by any differentiable path. "
            "Look for detach(), argmax or no_grad in the model, or use a method of a game."
        )
    for what, found in (("value", values), ("gradient", gradient)):
        if found.sum(dtype=torch.promote_types(found.dtype, torch.float32)).isfinite():
            continue  # one pass over the numbers; only a sum that is not finite is looked into
        broken = ~found.isfinite()
        broken = broken.flatten(1).any(1) if broken.ndim > 1 else broken
        if broken.any():
            raise ValueError(
                f"The {what} of the {score.name} at input {int(broken.nonzero()[0, 0])} is not "
                f"finite ({int(broken.sum())} of {len(x)} inputs). Look at what the model "
                "computes there: a root or a logarithm of zero, or a number too large for its type."
            )
    return values.detach(), gradient


def _one_tensor(name: str, output: object) -> Tensor:
    if not isinstance(output, Tensor):
        raise TypeError(
            f"Layer {name!r} puts out a {type(output).__name__}, not one tensor. "
            "Name a layer inside or after it that puts out a single tensor."
        )
    return output


def admit(score: Score, x: Float[Tensor, "batch *input"], batch_size: int | None = None) -> None:
    """Check what every method of gradients asks of its input, its model and its batches."""
    keep_freed_blocks()
    admission.differentiable(x)
    one_class_each(score, len(x))
    admission.settled(score.model)
    admission.batched(batch_size)


def admit_any(
    score: Score, x: Shaped[Tensor, "batch *input"], batch_size: int | None = None
) -> None:
    """The same of methods that take no gradient: token ids may come in as well."""
    keep_freed_blocks()
    admission.finite("The input", x)
    admission.filled(x)
    one_class_each(score, len(x))
    admission.settled(score.model)
    admission.batched(batch_size)


def one_class_each(score: Score, count: int, what: str = "x") -> None:
    """Refuse a score that has a class for each of other inputs than these."""
    _is_score(score)
    if score.targets not in (None, count):
        raise ValueError(
            f"The {score.name} is of {score.targets} inputs, but {what} holds {count}. "
            "Give one class, or one class per input."
        )


def _is_score(score: object) -> None:
    if not isinstance(score, Score):
        raise TypeError(
            f"A score is explained, one number per input, but got a {type(score).__name__}. Say "
            "which number of a model is meant, such as unmask.logit(model, target)."
        )


def refuse_broken(score: Score, values: Float[Tensor, " rows"]) -> None:
    """Refuse scores of changed inputs that are not finite: one would spoil the whole answer."""
    broken = ~values.isfinite()
    if broken.any():
        raise ValueError(
            f"The {score.name} of {int(broken.sum())} of {len(values)} changed inputs is not "
            f"finite: {float(values[broken][0])}. Look at what the model computes there, such as "
            "a root or a logarithm of zero, or change the inputs to something else."
        )
