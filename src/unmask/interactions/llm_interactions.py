"""The logic of a language model's next word."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from unmask import admission
from unmask.card import method
from unmask.game import Game
from unmask.interactions.and_or import and_or
from unmask.internals import Embedded, plain
from unmask.masking import masked
from unmask.players import Players
from unmask.results import Interactions
from unmask.score import Score, log_odds, predicted, token_log_odds


@method("shen2023inference", "chen2024defining")
def llm_interactions(
    model: nn.Module,
    x: Shaped[Tensor, "tokens *width"],
    *,
    players: Players,
    baseline: Shaped[Tensor, "*background"],
    layer: str | None = None,
    target: int | None = None,
    tolerance: float = 0.0,
    batch_size: int | None = None,
) -> Interactions:
    r"""Write a language model's next word as AND and OR terms of the words of the prompt.

    $$
    v(S) = \log \frac{p(y^* \mid x_S)}{1 - p(y^* \mid x_S)}
         = z_{y^*}(x_S) - \log \sum_{c \ne y^*} e^{z_c(x_S)}, \qquad
    y^* = \arg\max_y p(y \mid x)
    $$

    The players are words, of which all tokens are hidden together; whatever is no player stays in
    the prompt. The terms are the sparsest of `and_or`; they reproduce v on all 2^n prompts with
    words hidden, where `empty` is v(empty). It is about the token that the model itself would put
    next; a classifier of texts is explained in the class that it chooses.

    A hidden word is an embedding that stands for no word (give `layer`), or a token that does.
    Which one decides what is found: `learned_token_embedding` looks for an embedding that carries
    little of its own, the mean of all embeddings or that of a special token are simpler choices.
    The papers draw ten words of a prompt that are no stop words (`content_words`) and pass over
    prompts whose next word is one (`speaks`).

    Args:
        model: gives logits of shape [batch, tokens, vocabulary], of which the last position is
            read, or [batch, classes].
        x: one prompt, as token ids, or as embeddings if the model takes these.
        players: the words; they label the tokens.
        baseline: what stands for a hidden word: ids, or with a layer embeddings, one for all tokens
            or one for each; a set of them is averaged over.
        layer: the dotted name of the embedding layer, if words are hidden in what it puts out.
        target: the token or class that is explained, in place of the likeliest.
        tolerance: how far the terms may be off, as a share of |v(N) - v(empty)|.
        batch_size: prompts in one call of the model; by default what a processor's cache holds.

    >>> from unmask.players import words
    >>> from unmask.zoo.llama import Llama
    >>> model = Llama(vocabulary=9, width=16, depth=1).eval()
    >>> ids, pairs = torch.tensor([1, 5, 6, 3]), words([None, 0, 0, 1], ["ab", "c"])
    >>> terms = llm_interactions(model, ids, players=pairs, baseline=torch.tensor(0))
    >>> terms.names, terms.evaluations
    (('ab', 'c'), 4)
    """
    game = next_word_game(
        model,
        x,
        players=players,
        baseline=baseline,
        layer=layer,
        target=target,
        batch_size=batch_size,
    )
    return and_or(game, tolerance=tolerance)


def next_word_game(
    model: nn.Module,
    x: Shaped[Tensor, "tokens *width"],
    *,
    players: Players,
    baseline: Shaped[Tensor, "*background"],
    layer: str | None = None,
    target: int | None = None,
    batch_size: int | None = None,
) -> Game:
    """The game that the words of a prompt play for the next word.

    `and_interaction` of it gives AND terms alone.

    Args:
        model: as in `llm_interactions`.
        x: one prompt.
        players: the words.
        baseline: what stands for a hidden word.
        layer: the embedding layer.
        target: the token or class that is explained.
        batch_size: prompts in one call of the model.
    """
    if x.ndim not in (1, 2) or len(x) == 0:
        raise ValueError(
            f"A prompt has an axis of tokens, but x has the shape {tuple(x.shape)}. Give one "
            "prompt with a token at least, without a batch axis: ids, or a row of embeddings."
        )
    admission.finite("The prompt", x)
    prompt = x
    x, of_x = (x, model) if layer is None else embedded(model, x, layer)
    read, chosen = _reading(model, prompt, target)
    if layer is None and baseline.is_floating_point() and not x.is_floating_point():
        raise TypeError(
            f"The baseline holds {baseline.dtype}, the prompt token ids. Name the embedding layer "
            "as layer, such as 'tok_embeddings', or give the id of a token that stands for nothing."
        )
    if layer is not None and not baseline.is_floating_point():
        raise TypeError(
            f"Words are hidden in what layer {layer!r} puts out, but the baseline holds "
            f"{baseline.dtype}. Give an embedding, such as a row of the layer's weight."
        )
    players = _over(players, x)
    return masked(read(of_x, chosen), x, players, baseline, batch_size=batch_size)


def embedded(
    model: nn.Module, ids: Shaped[Tensor, "tokens *width"], layer: str
) -> tuple[Float[Tensor, "tokens width"], Embedded]:
    """A prompt as embeddings, and the model as one of these.

    Args:
        model: reads token ids.
        ids: of one prompt.
        layer: the dotted name of the embedding layer.
    """
    if ids.ndim != 1 or ids.is_floating_point():
        raise ValueError(
            f"A layer turns token ids into embeddings, but the prompt holds {ids.dtype} of shape "
            f"{tuple(ids.shape)}. Give the ids of one prompt, without a batch axis."
        )
    admission.settled(model)
    inner = Embedded(model, ids.clone(), layer)
    embeddings = inner.embeddings()
    if embeddings.ndim != 3 or embeddings.shape[:2] != (1, len(ids)):
        raise ValueError(
            f"Layer {layer!r} puts out the shape {tuple(embeddings.shape)} for {len(ids)} tokens. "
            "Name the layer that puts out one vector per token."
        )
    return plain(embeddings[0]), inner


@torch.no_grad()
def _reading(
    model: nn.Module, x: Tensor, target: int | None
) -> tuple[Callable[[nn.Module, int], Score], int]:
    """How the model is read, and the likeliest token or class."""
    admission.settled(model)
    output = Score(model, lambda z, rows: z).output(x[None].clone())
    if output.ndim not in (2, 3):
        raise ValueError(
            f"The model returned the shape {tuple(output.shape)} for one prompt. Return logits, "
            "[batch, tokens, vocabulary] or [batch, classes]."
        )
    chosen = int(predicted(lambda _: output, x[None])) if target is None else target
    return (token_log_odds if output.ndim == 3 else log_odds), chosen


def _over(players: Players, x: Tensor) -> Players:
    """Players that label tokens, as those that label every number of their embeddings."""
    if x.ndim == 2 and players.owner.shape == x.shape[:1]:
        return Players(players.owner[:, None].expand(x.shape).clone(), players.names)
    players.refuse_other(x.shape)
    return players
