"""Texts as inputs."""

from collections.abc import Sequence

from unmask.run.inputs.material import Material
from unmask.run.models.opened import Opened

_LONGEST_TITLE = 60


def read_texts(texts: Sequence[str], opened: Opened, digest: str) -> Material:
    """Cut texts into the tokens of a model.

    Args:
        texts: one input each.
        opened: the model, with what reads texts for it.
        digest: of the texts.
    """
    if opened.read_text is None:
        raise ValueError(
            "This model takes no texts: it has no tokenizer. Give a folder with a transformers "
            "model and its tokenizer, or numbers as inputs."
        )
    sentences = tuple(map(opened.read_text, texts))
    for text, sentence in zip(texts, sentences, strict=True):
        if not sentence.names:
            raise ValueError(f"The text {text!r} has no words. Give at least one word.")
    return Material(
        kind="text",
        inputs=[sentence.ids for sentence in sentences],
        titles=[_title(text) for text in texts],
        truths=[None] * len(texts),
        digest=digest,
        sentences=sentences,
    )


def _title(text: str) -> str:
    return text if len(text) <= _LONGEST_TITLE else text[: _LONGEST_TITLE - 1].rstrip() + "…"
