"""What interactions of a language model's next word cost, and what a learned embedding saves.

The story-telling model of the zoo. All 2^n prompts with words hidden, with the embedding in place
of the token, beside plain passes over as many rows in batches of the same size: CPU time of one
thread, taking turns, medians. Then the second-order effects that hiding words makes when a hidden
word is the unknown token, the mean of all embeddings, or an embedding learned on the other
prompts (four folds of three), with intervals over the prompts.

    UNMASK_DATA=... OMP_NUM_THREADS=1 python benchmarks/llm_interactions.py
"""

import statistics
import time

import torch

from unmask import words, zoo
from unmask.bootstrap import bootstrap, means
from unmask.interactions import (
    content_words,
    learned_token_embedding,
    next_word_game,
    second_order_effects,
)
from unmask.masking import cached_rows

ROUNDS = 7
STEPS = 20


def speed() -> None:
    stories = zoo.stories()
    model, ids, pieces = stories.model, stories.inputs[9], stories.view(9).pieces
    starts = torch.tensor([piece.startswith(" ") for piece in pieces]).cumsum(0).tolist()

    players = words([None, *starts[1:]])
    row = model.tok_embeddings.weight.detach()[0]
    game = next_word_game(model, ids, players=players, baseline=row, layer="tok_embeddings")
    x = model.tok_embeddings(ids).detach()
    batch = ids.expand(cached_rows(x), -1)
    rows = 2 ** len(players.names)
    spent: dict[str, list[float]] = {"table": [], "plain": []}
    for _ in range(ROUNDS):
        begin = time.process_time()
        game.table()
        spent["table"].append(time.process_time() - begin)
        begin = time.process_time()
        with torch.inference_mode():
            for _ in range(-(-rows // len(batch))):
                model(batch)
        spent["plain"].append(time.process_time() - begin)
    ratio = statistics.median(a / b for a, b in zip(spent["table"], spent["plain"], strict=True))
    print(f"{rows} prompts of {len(ids)} tokens: {ratio:.2f} times the plain passes")


def baselines() -> None:
    stories = zoo.stories()
    model, rows = stories.model, stories.model.tok_embeddings.weight.detach()
    prompts = list(range(len(stories.inputs)))
    folds = [prompts[i::4] for i in range(4)]
    effects: dict[str, list[torch.Tensor]] = {"unknown": [], "mean": [], "learned": []}

    def of(numbers: list[int]) -> dict:
        players = [content_words(stories.view(i).pieces) for i in numbers]
        texts = [stories.inputs[i] for i in numbers]
        return {"prompts": texts, "players": players, "layer": "tok_embeddings"}

    for fold in folds:
        others = [i for i in prompts if i not in fold]
        learned = learned_token_embedding(model, **of(others), start=rows[0], steps=STEPS)
        chosen = {"unknown": rows[0], "mean": rows.mean(0), "learned": learned.inputs[0]}
        for name, r in chosen.items():
            effects[name].append(second_order_effects(model, **of(fold), baseline=r, samples=200))
    for name, parts in effects.items():
        values = torch.cat(parts).double()
        found = bootstrap(lambda w, values=values: {"mean": means(w, values)}, len(values))
        low, high = float(found["mean_low"]), float(found["mean_high"])
        print(f"{name:8s} {float(found['mean']):.3f} ({low:.3f} to {high:.3f}), 12 prompts")
    saved = torch.cat(effects["learned"]).double() / torch.cat(effects["unknown"]).double()
    print(f"learned / unknown, median over prompts {float(saved.median()):.2f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    speed()
    baselines()
