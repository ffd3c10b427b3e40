"""Omission score."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.masking import Batches, cached_rows
from unmask.results import Attribution
from unmask.score import Score


@method("kadar2017representation")
def omission_score(
    model: Callable[[Tensor], Tensor],
    x: Shaped[Tensor, "batch tokens *width"],
    *,
    lengths: Int[Tensor, " batch"] | None = None,
    batch_size: int | None = None,
) -> Attribution:
    r"""Delete each token in turn and see how far what the model makes of the text turns away.

    $$
    A_i(x) = 1 - \cos\bigl( h(x), h(x_{\setminus i}) \bigr)
    $$

    The text without a token is shorter by one: nothing stands in its place, so that every later
    token moves up. It is the representation that is watched, not a decision, and no class is
    asked for. A score is 0 where nothing turns and 2 where all is reversed; how large a turn is
    large depends on the model, so compare scores within one.

    Args:
        model: h, an encoder that gives a vector per text, such as the last state of a recurrent
            network. A classifier is read by its logits; close over the model for what lies below:
            `lambda ids: model.encode(ids).mean(1)`.
        x: token ids or embeddings.
        lengths: tokens of each text; what follows them is padding, which the model never sees,
            as texts are cut to their length. Its score is 0.
        batch_size: texts in one call of the model; by default what a processor's cache holds.

    >>> words = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> omission_score(lambda x: x.mean(1), words).values
    tensor([[0.2929, 0.2929]])
    """
    admission.finite("The input", x)
    admission.filled(x)
    admission.settled(model)
    admission.batched(batch_size)
    lengths = _lengths(x, lengths)
    kind = x.dtype if x.is_floating_point() else torch.float32
    with torch.inference_mode(False), torch.no_grad():
        values = torch.zeros(x.shape[:2], dtype=kind, device=x.device)
        for length in lengths.unique().tolist():
            texts = (lengths == length).nonzero()[:, 0]
            cut = x.detach()[texts, :length]
            values[texts, :length] = _turns(model, cut, batch_size).to(kind)
    return Attribution(values, evaluations=int(lengths.sum()) + len(x))


def _turns(
    model: Callable[[Tensor], Tensor],
    x: Shaped[Tensor, "texts tokens *width"],
    batch_size: int | None,
) -> Float[Tensor, "texts tokens"]:
    """The scores of texts of one length."""
    texts, length = x.shape[:2]
    rows = torch.arange(texts * length, device=x.device)
    places = torch.arange(length - 1, device=x.device)
    whole: list[Tensor] = []

    def turn(output: Tensor, source: Int[Tensor, " rows"] | None) -> Float[Tensor, " rows"]:
        of = whole[0] if source is None else whole[0][source]
        # |a - b|^2 / 2 is 1 - cos of directions, and exactly 0 where they are the same.
        return (_directions(output) - of).square().sum(1) / 2

    score = Score(model, turn, "omission score")
    batches = Batches(score, batch_size or cached_rows(x[0]))
    parts = [_directions(score.output(part.clone())) for part in x.split(batches.rows)]
    whole.append(torch.cat(parts))

    def shortened() -> Iterator[Tensor]:
        for some in rows.split(batches.rows):
            text, token = some // length, some % length
            kept = places + (places >= token[:, None])
            yield x[text[:, None], kept]

    return batches(shortened(), len(rows), rows // length).view(texts, length)


def _directions(output: Tensor) -> Float[Tensor, "texts width"]:
    if output.ndim != 2:
        raise ValueError(
            "An omission score compares one vector per text, but the model returned shape "
            f"{tuple(output.shape)}. Return [batch, width], such as the last state or the mean."
        )
    vectors = output.double()
    norm = vectors.norm(dim=1, keepdim=True)
    if not ((norm > 0) & norm.isfinite()).all():
        bad = float(norm[~((norm > 0) & norm.isfinite())][0])
        raise ValueError(
            f"The model makes of a text a vector of length {bad}, which has no direction. "
            "Look at what it returns for a text with a token left out."
        )
    return vectors / norm


def _lengths(
    x: Shaped[Tensor, "batch tokens *width"], lengths: Int[Tensor, " batch"] | None
) -> Int[Tensor, " batch"]:
    if x.ndim < 2:
        raise ValueError(
            f"Texts have shape [batch, tokens] or [batch, tokens, width], but x {tuple(x.shape)}. "
            "Give x a batch axis, such as x[None]."
        )
    if lengths is None:
        lengths = torch.full((len(x),), x.shape[1], device=x.device)
    if lengths.shape != x.shape[:1]:
        raise ValueError(
            f"There are {len(x)} texts, but lengths have shape {tuple(lengths.shape)}. "
            "Give the number of tokens of each text."
        )
    if lengths.min() < 2 or lengths.max() > x.shape[1]:
        raise ValueError(
            f"Lengths run from {int(lengths.min())} to {int(lengths.max())}, in texts of "
            f"{x.shape[1]} tokens. Give lengths from 2, as of a single token nothing is left, to "
            f"{x.shape[1]}."
        )
    return lengths.to(x.device)
