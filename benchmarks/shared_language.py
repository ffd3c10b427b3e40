"""All 2^n values of language models by shared work, against a plain forward loop.

The limit is a loop of `inference_mode` forward passes over the masked inputs, ready in memory, at
the batch size that serves it best, after the C library was taught to keep freed memory. It scores
nothing. Both run on one thread, in turn; CPU time; medians over rounds of the ratio, with the least
and the largest. Where a loop takes long it is run on some masks, drawn at random, and counted as
often as they are fewer. Checks and planning are part of our time.

    UNMASK_DATA=... OMP_NUM_THREADS=1 python benchmarks/shared_language.py [--rounds 9] [name]...
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from unmask import Players, masked, token_log_odds, words
from unmask.allocator import keep_freed_blocks
from unmask.lattice import coalitions
from unmask.score import Score
from unmask.sharing import rows_run
from unmask.zoo.llama import Llama


@dataclass
class Work:
    """A table to be made.

    Args:
        score: of a model.
        x: one input.
        players: of it.
        background: what stands where they are hidden.
        thinned: how many masks stand for one in the loop.
    """

    score: Score
    x: Tensor
    players: Players
    background: Tensor
    thinned: int = 1


def of_words(score: Score, each: int, vocabulary: int, thinned: int) -> Work:
    """Twelve words of so many tokens behind the token that begins a text."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(1, vocabulary, (1 + 12 * each,), generator=generator)
    players = words([None, *(i // each for i in range(12 * each))])
    return Work(score, x, players, torch.zeros_like(x), thinned)


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


CAUSAL: dict[str, Callable[[], Work]] = {
    "stories": stories,
    "wide_1": partial(wide, 1),
    "wide_2": partial(wide, 2),
    "transformers_llama_1": partial(transformers_llama, 1),
    "transformers_llama_2": partial(transformers_llama, 2),
    "transformers_gpt2_2": partial(transformers_gpt2, 2),
}
"""Decoders: of each prefix once."""
WORK = CAUSAL


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def loop(model: Callable[[Tensor], Tensor], inputs: Tensor, batch: int) -> list[Tensor]:
    """The last of a batch of outputs is kept: all of them might not fit into memory."""
    with torch.inference_mode():
        return [model(part)[:1] for part in inputs.split(batch)]


def measure(name: str, rounds: int) -> None:
    """Print one line."""
    work = WORK[name]()
    model = work.score.model
    if isinstance(model, nn.Module):
        assert not model.training
    masks = coalitions(len(work.players.names))
    generator = torch.Generator().manual_seed(0)
    some = torch.randperm(len(masks), generator=generator)[: len(masks) // work.thinned]
    ready = torch.where(work.players.cover(masks[some]), work.x, work.background)
    game = masked(work.score, work.x, work.players, work.background)
    keep_freed_blocks()
    sizes = (4, 8, 16, 32) if work.thinned > 1 else (16, 32, 64, 128, 256)
    trial = ready[: 64 if work.thinned > 1 else 1024]
    trials = {
        b: min(cpu_seconds(lambda b=b: loop(model, trial, b)) for _ in range(3)) for b in sizes
    }
    best = min(trials, key=trials.__getitem__)
    pairs: list[tuple[float, float]] = []
    for _ in range(rounds):
        limit = work.thinned * cpu_seconds(lambda: loop(model, ready, best))
        pairs.append((limit, cpu_seconds(game.table)))
    with torch.inference_mode():
        true = torch.cat([work.score(part) for part in ready.split(best)])
    apart = float((game.table()[some] - true).abs().max())
    ratios = sorted(ours / theirs for theirs, ours in pairs)
    theirs, ours = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(
        f"| {name} | {len(work.players.names)} | {len(work.x)} | {best} | {theirs:.2f} "
        f"| {ours:.2f} | {statistics.median(ratios):.3f} ({ratios[0]:.3f}-{ratios[-1]:.3f}) "
        f"| {apart:.0e} | {rows_run(game)} |",
        flush=True,
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("names", nargs="*", default=list(WORK))
    given = options.parse_args()
    torch.set_num_threads(1)
    print("| model | n | tokens | batch | loop, s | ours, s | ratio | apart | rows |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in given.names:
        measure(name, given.rounds)


if __name__ == "__main__":
    main()
