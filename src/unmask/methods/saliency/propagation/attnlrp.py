"""Relevance propagation for transformers."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from unmask.card import method
from unmask.methods.saliency.propagation import unweighted
from unmask.methods.saliency.propagation.relevance import Propagation, relevance
from unmask.methods.saliency.propagation.rules import EPSILON, Rules
from unmask.operations import Handler, Operation
from unmask.results import Attribution
from unmask.score import Score


@method("achtibat2024attnlrp")
def attnlrp(
    score: Score,
    x: Float[Tensor, "batch tokens width"],
    *,
    rules: Rules = EPSILON,
    batch_size: int | None = None,
) -> Attribution:
    r"""Hand the score of a transformer back through attention as well as around it.

    $$
    R_{x_i} = x_i \Bigl( R_{s_i} - s_i \sum_j R_{s_j} \Bigr) \text{ at } s = \mathrm{softmax}(x),
    \qquad R_A = R_V = \tfrac12 R_{AV}
    $$

    A softmax is expanded around its input, of two matrices that are multiplied each gets half,
    activations and norms pass relevance on, what a norm divides by being a constant, and layers of
    weights follow their rule: epsilon for language models, gamma for vision transformers. In terms
    of the input times gradient, V counts half, Q and K a quarter. Encoders and decoders are taken
    as they are, whichever way they call attention; a cache must be off. The relevance of a token
    is the sum over its embedding, `values.sum(2)`.

    A softmax keeps relevance back as a bias does; `gap` says how much was lost in all.

    Args:
        score: what is handed back, such as a logit or the margin between two.
        x: embedded tokens. Of ids, split the model behind its embedding.
        rules: how layers of weights share.
        batch_size: inputs in one call of the model, all of them if not given.

    >>> import torch
    >>> from unmask.score import logit
    >>> mean = logit(lambda x: (x.softmax(1) * x).sum((1, 2)), 0)
    >>> attnlrp(mean, torch.tensor([[[0.0], [1.0]]])).values.squeeze(2)
    tensor([[0.0000, 0.4638]])
    """
    return relevance(score, x, rules, batch_size=batch_size)


@method("ali2022xai")
def cp_lrp(
    score: Score,
    x: Float[Tensor, "batch tokens width"],
    *,
    rules: Rules = EPSILON,
    batch_size: int | None = None,
) -> Attribution:
    r"""Hand the score of a transformer back along the values, attention weights being constants.

    $$
    R_V = R_{AV}, \quad R_A = 0, \qquad
    R_{\mathrm{up}} = R_{\mathrm{gate} \cdot \mathrm{up}}, \quad R_{\mathrm{gate}} = 0
    $$

    Relevance is conserved but for biases, as nothing goes into a softmax: `gap` is then what
    biases and epsilon keep. Why a token was attended to is not told; `attnlrp` tells it, and loses
    relevance in doing so.

    Args:
        score: what is handed back, such as a logit or the margin between two.
        x: embedded tokens. Of ids, split the model behind its embedding.
        rules: how layers of weights share.
        batch_size: inputs in one call of the model, all of them if not given.

    >>> import torch
    >>> from unmask.score import logit
    >>> mean = logit(lambda x: (x.softmax(1) * x).sum((1, 2)), 0)
    >>> cp_lrp(mean, torch.tensor([[[0.0], [1.0]]])).values.squeeze(2)
    tensor([[0.0000, 0.7311]])
    """
    return relevance(score, x, rules, handlers=_constant_gates, batch_size=batch_size)


def _constant_gates(_: Propagation) -> Mapping[str, Handler]:
    """Attention weights, and what an activation opens or shuts, take no relevance."""
    activated = WeakTensorKeyDictionary()

    def curve(operation: Operation) -> Any:
        made = unweighted.curve(operation)
        activated[made] = True
        return made

    def product(operation: Operation) -> Any:
        factors = [one for one in operation.args if isinstance(one, Tensor) and one.requires_grad]
        gates = [one for one in factors if one in activated]
        if len(factors) != 2 or len(gates) != 1:
            return unweighted.product(operation)
        args = (one.detach() if one is gates[0] else one for one in operation.args)
        return operation.run(*args, **operation.kwargs)

    def attention(operation: Operation) -> Any:
        q, k = (operation.argument(i, name).detach() for i, name in enumerate(("query", "key")))
        rest = {n: one for n, one in operation.kwargs.items() if n not in ("query", "key", "value")}
        value = operation.argument(2, "value")
        return operation.run(q, k, value, *operation.args[3:], **rest)

    return {
        "softmax": lambda operation: operation().detach(),
        "attention": attention,
        "curve": curve,
        "product": product,
    }
