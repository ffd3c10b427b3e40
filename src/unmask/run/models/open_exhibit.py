"""What an exhibit of the zoo can do besides showing its own examples: read new texts."""

from collections.abc import Callable

from unmask.run.models.sentence import Sentence, in_words
from unmask.zoo import Exhibit


def text_reader(
    exhibit: Exhibit,
) -> tuple[Callable[[str], Sentence] | None, tuple[int, str] | None]:
    """What turns a text into tokens, and the token that stands for a hidden one.

    Args:
        exhibit: of the zoo.
    """
    if exhibit.name != "stories":
        return None, None
    from unmask.zoo.data import story_tokenizer

    tokenizer = story_tokenizer()

    def read(text: str) -> Sentence:
        ids = tokenizer.encode(text)
        pieces = tokenizer.pieces(ids)
        spans = []
        end = 0
        for piece in pieces:
            spans.append((end, end + len(piece)))
            end += len(piece)
        return in_words("".join(pieces), ids, spans)

    hidden = int(exhibit.baseline(0)[-1])
    return read, (hidden, f"token {tokenizer.tokens[hidden]!r}")
