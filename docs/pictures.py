"""Draw a picture for every method, on networks that train in seconds on data of scikit-learn.

python docs/pictures.py           # docs/pictures/METHOD.png, those that are missing
python docs/pictures.py NAME ...  # these anew
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from unmask import catalogue, log_odds, loss, masked, predicted, tokens, zoo
from unmask.plot import plot, png
from unmask.views import ImageView, TextView, View
from unmask.zoo import courses
from unmask.zoo.courses import explained, finished, watched
from unmask.zoo.training import Recipe, trained

FOLDER = Path(__file__).resolve().parent / "pictures"
DRAWN = 3
"""The digit that is explained, by its place among those that no network was trained on."""
OPTIONS: Mapping[str, Mapping[str, object]] = {
    "occlusion": {"window": 3},
    "prediction_difference": {"window": 3},
    "rise": {"cells": 4},
    "indirect_influence": {"feature": (20, 21, 23)},
}
LABELS: Mapping[str, str] = {
    "information_bottleneck": "bits of the layer that are needed",
    "meaningful_perturbation": "share of the pixel that is replaced",
    "extremal_perturbation": "share of the pixel that is kept",
    "attention_rollout": "share of the attention",
    "omission_score": "turn of the representation, 1 - cos",
    "mutual_information_saliency": "nats",
    "gnn_explainer": "weight of the mask",
    "flipping_set": "1 for what is taken out",
    "smallest_flipping_set": "1 for what is taken out",
}
"""What values are that are no contributions to a score."""
_OF_LOSS = ("feature_importance_curves", "permutation_importance", "shapley_feature_importance")
"""Methods that ask how much worse a model gets."""

Scene = tuple[Mapping[str, object], View | None]
"""What fills the arguments of a method, and what its result is laid over."""


class Eye(nn.Module):
    """A convolutional network that ends in a global mean and one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1)),
            *(nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
        )
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


class Reader(nn.Module):
    """Reads a digit row by row, and attends to the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 32, batch_first=True)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.query = nn.Linear(32, 1)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        states = self.encode(x, mask)
        return self.decode(states, self.attend(states, mask))

    def encode(self, x: Tensor, mask: Tensor) -> Tensor:
        states = self.rnn(x)[0]
        return states + self.attention(states, states, states, need_weights=False)[0]

    def attend(self, states: Tensor, mask: Tensor) -> Tensor:
        return self.query(states)[..., 0].masked_fill(~mask, -torch.inf).softmax(1)

    def decode(self, states: Tensor, weights: Tensor) -> Tensor:
        return self.head((weights[..., None] * states).sum(1))


class Messages(nn.Module):
    """Two rounds of messages along weighted edges."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds = nn.ModuleList([nn.Linear(4, 8), nn.Linear(8, 2)])

    def forward(self, x: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
        for layer in self.rounds:
            x = torch.tanh(layer(x))
            x = x + torch.zeros_like(x).index_add(0, edges[1], weights[:, None] * x[edges[0]])
        return x


@cache
def digits() -> tuple[Tensor, Tensor]:
    shown = zoo.digits()
    return torch.stack(shown.inputs), torch.tensor(shown.labels)


def always() -> dict[str, object]:
    return {
        "steps": 100,
        "samples": 200,
        "generator": torch.Generator().manual_seed(0),
        "feature": 0,
        "radius": 0.5,
        "noise": 0.1,
    }


@cache
def image() -> Scene:
    x, labels = digits()
    model = trained(Eye, x[40:], labels[40:], Recipe(epochs=60, batch_size=32, rate=1e-2))
    shown = zoo.digits()
    one = x[DRAWN : DRAWN + 1]
    found = {
        "model": model, "x": one, "data": x[40:], "labels": labels[40:],
        "score": log_odds(model, int(predicted(model, one))), "layer": "features.5",
        "baseline": torch.zeros_like(x[0]), "players": shown.players(DRAWN),
    }  # fmt: skip
    return always() | found, shown.view(DRAWN)


@cache
def sequence() -> Scene:
    x, labels = digits()
    rows = x[:, 0]
    model = trained(Reader, rows[40:], labels[40:], Recipe(epochs=60, batch_size=32, rate=1e-2))
    one = rows[DRAWN : DRAWN + 1]
    found = {
        "model": model, "x": one, "data": rows[40:], "labels": (labels[40:] == 3).long(),
        "score": log_odds(model, int(predicted(model, one))), "layer": "head",
        "baseline": torch.zeros_like(rows[0]), "players": tokens(8, width=8),
    }  # fmt: skip
    return always() | found, TextView(tuple(f"row {i + 1} " for i in range(8)))


@cache
def table() -> Scene:
    shown = zoo.breast_cancer()
    x = torch.stack(shown.inputs)
    one = x[DRAWN : DRAWN + 1]
    score = log_odds(shown.model, int(predicted(shown.model, one)))
    found = {
        "model": shown.model, "x": one, "data": x[:100], "labels": torch.tensor(shown.labels[:100]),
        "score": score, "baseline": shown.baseline(0), "players": shown.players(0),
        "game": masked(score, x[DRAWN], shown.players(0), shown.baseline(0)),
        "annotation": torch.arange(30) < 3, "feature": 20,
    }  # fmt: skip
    return always() | found, None


@cache
def prompt() -> Scene:
    """One digit as a text of eight rows, without a batch axis."""
    found, view = sequence()
    x = found["x"]
    assert isinstance(x, Tensor)
    return {**found, "x": x[0]}, view


@cache
def training() -> Scene:
    """A network that learned digits, some under wrong names, and a second one beside it."""
    course = courses.digits()
    history = watched(course)
    one, two = finished(course, 0), finished(course, 1)
    sample = course.unseen[0]
    found = {
        "history": tuple(replace(at, terms=at.terms[course.watched_clean]) for at in history),
        "terms": explained(one, course.clean),
        "other": explained(one, course.unseen),
        "games": (sample.game(one), sample.game(two)),
        "annotation": torch.arange(9) % 3 == 0,
    }
    return always() | found, None


@cache
def graph() -> Scene:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Messages().eval()
    around = torch.arange(6)
    edges = torch.stack([around, (around + 1) % 6])
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    return always() | {"model": model, "x": x, "edges": edges}, None


SCENES: Mapping[str, Callable[[], Scene]] = {
    "batch channels height width": image,
    "batch tokens width": sequence,
    "batch tokens *width": sequence,
    "batch tokens *embedding": sequence,
    "tokens *width": prompt,
    "nodes width": graph,
    "batch *input": image,
}


def scene(entry: catalogue.Entry) -> Scene:
    """The first that has what a method asks for: by the shape that it declares, else a table."""
    if {"history", "terms", "games"} & set(entry.needs):
        return training()
    hints = entry.call.__annotations__
    shape = getattr(hints.get("x", hints.get("data")), "dim_str", "")
    chosen = SCENES.get(shape, table)
    if shape == "batch *input" and ({"data", "annotation"} & set(entry.needs)):
        chosen = table
    return chosen()


def picture(entry: catalogue.Entry) -> Figure:
    """The result of a method, drawn."""
    supplies, view = scene(entry)
    wanted = {name: supplies[name] for name in (*entry.needs, "generator") if name in supplies}
    if entry.name in _OF_LOSS:
        wanted["score"] = loss(*(supplies[name] for name in ("model", "labels")))
    options = dict(OPTIONS.get(entry.name, {}))
    if "names" in entry.options and "data" in wanted:
        from sklearn.datasets import load_breast_cancer

        options["names"] = tuple(map(str, load_breast_cancer()["feature_names"]))
    if entry.name in ("shapley_feature_importance", "taylor_attributions"):
        options["players"] = supplies["players"]
    if entry.name == "spindle":
        wanted["terms"] = watched(courses.digits())[0].terms  # before anything was learned
    if entry.name == "transferability_models":
        course = courses.digits()
        wanted["other"] = explained(finished(course, 1), course.clean)
    result = catalogue.fill(entry, wanted, options)
    values = getattr(result, "values", None)
    looks = {"label": LABELS[entry.name]} if entry.name in LABELS else {}
    if values is None:
        return plot(result)
    if isinstance(view, ImageView) and values.ndim != 4:
        view = None
    return plot(result, **looks) if view is None else plot(result, over=view, **looks)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    chosen = sys.argv[1:]
    failed = []
    for name, entry in catalogue.methods().items():
        file = FOLDER / f"{name}.png"
        if (chosen and name not in chosen) or (not chosen and file.exists()):
            continue
        try:
            file.write_bytes(png(picture(entry)))
        except Exception as error:  # the others are still to be drawn
            failed.append(f"{name}: {error}")
    sys.exit("\n".join(failed) or 0)


if __name__ == "__main__":
    main()
