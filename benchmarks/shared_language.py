"""All 2^n values of language models by shared work, against a plain forward loop.

How it is measured: `shared_tables.py`.

    UNMASK_DATA=... OMP_NUM_THREADS=1 python benchmarks/shared_language.py [--rounds 9] [name]...
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from shared_tables import Work, raced
from torch import Tensor

from unmask import Players, token_log_odds, words
from unmask.score import Score
from unmask.zoo.llama import Llama


def of_words(score: Score, each: int, vocabulary: int, thinned: int) -> Work:
    """Twelve words of so many tokens behind the token that begins a text."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(1, vocabulary, (1 + 12 * each,), generator=generator)
    players = words([None, *(i // each for i in range(12 * each))])
    return Work(score, x, players, torch.zeros_like(x), thinned, (4, 8, 16, 32))


def stories() -> Work:
    """A real prompt of twelve words, put in front of the real model."""
    from unmask import zoo

    exhibit = zoo.stories()
    number = max(range(len(exhibit.inputs)), key=lambda i: len(exhibit.players(i).names))
    players = exhibit.players(number)
    owner = torch.where(players.owner < 12, players.owner, -1)
    x = exhibit.inputs[number]
    return Work(
        token_log_odds(exhibit.model, 300),
        x,
        Players(owner, players.names[:12]),
        exhibit.baseline(number).expand_as(x),
    )


def wide(each: int) -> Work:
    """A Llama of width 512 with random weights."""
    torch.manual_seed(0)
    model = Llama(width=512, hidden=1376, depth=6, heads=8, shared=8, vocabulary=4096).eval()
    return of_words(token_log_odds(model, 7), each, 4096, 32)


def transformers_llama(each: int) -> Work:
    """The same of the package transformers, all its logits asked for."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=6,
        num_attention_heads=8,
    )
    model: Any = LlamaForCausalLM(config).eval()
    return of_words(token_log_odds(lambda ids: model(ids).logits, 7), each, 4096, 32)


def transformers_gpt2(each: int) -> Work:
    """A GPT-2 of width 256, of which the caller keeps the last logits only."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=4096, n_embd=256, n_layer=4, n_head=8, n_positions=128)
    model: Any = GPT2LMHeadModel(config).eval()

    def last(ids: Tensor) -> Tensor:
        return model(ids, use_cache=False, logits_to_keep=1).logits

    return of_words(token_log_odds(last, 7), each, 4096, 8)


WORK: dict[str, Callable[[], Work]] = {
    "stories": stories,
    "wide_1": partial(wide, 1),
    "wide_2": partial(wide, 2),
    "transformers_llama_1": partial(transformers_llama, 1),
    "transformers_llama_2": partial(transformers_llama, 2),
    "transformers_gpt2_2": partial(transformers_gpt2, 2),
}


if __name__ == "__main__":
    raced(__doc__.splitlines()[0], WORK)
