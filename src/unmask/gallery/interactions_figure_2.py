"""Figure 2 of the interaction article: terms that two networks share."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmask.gallery.lines import SHADES, legend, line, named
from unmask.gallery.plate import Finding, Plate
from unmask.gallery.trainings import SEEDS, course, mean_with_bounds
from unmask.interactions import generalizable_tables
from unmask.interactions.terms.logic_values import logic_values
from unmask.interactions.terms.stacked import stacked
from unmask.plot import panels
from unmask.results import JointInteractions
from unmask.zoo.cache import trained_once
from unmask.zoo.courses import Course
from unmask.zoo.mlp import MLP
from unmask.zoo.training import Recipe

_INPUTS = 16
_COUNTS = (5, 10, 20, 30, 40, 50, 75, 100)
_JUDGED = 50
_ALPHA = 0.1


def interactions_figure_2(*, quick: bool = False) -> Plate:
    """How many of two networks' strongest terms are the same, found apart and found together.

    Args:
        quick: whether to use data that need no reading and no long training.
    """
    taken = course(quick)
    figure, places = panels(1, len(SEEDS), 3.0)
    gains: list[tuple[float, float, float]] = []
    judged: list[str] = []
    off: list[float] = []
    dearer: list[float] = []
    for column, seed in enumerate(SEEDS):
        tables = _tables(taken, seed)
        names = taken.unseen[0].players.names
        apart = generalizable_tables(tables, names, alpha=1.0, precision=1e-3)
        joint = generalizable_tables(tables, names, alpha=_ALPHA, precision=1e-3)
        curves = {"apart": _overlap(apart), "together": _overlap(joint)}
        place, along = places[column], torch.tensor([float(count) for count in _COUNTS])
        for (name, curve), colour in zip(curves.items(), SHADES, strict=False):
            ends = torch.tensor([mean_with_bounds(row) for row in curve.T])
            line(place, along, ends[:, 0], band=(ends[:, 1], ends[:, 2]), colour=colour,
                 label=f"found {name}")  # fmt: skip
        chance = along / (2 ** (len(names) + 1) - len(names) - 2)
        line(place, along, chance, colour=SHADES[2], style=":", label="chance")
        named(place, f"seed {seed}", x="strongest terms of each network",
              y="" if column else "share in both")  # fmt: skip
        place.set_ylim(0, 1)
        if column == 0:
            legend(place)
        at = _COUNTS.index(_JUDGED)
        gains.append(mean_with_bounds(curves["together"][:, at] - curves["apart"][:, at]))
        judged.append(f"{float(curves['apart'][:, at].mean()):.0%} apart and "
                      f"{float(curves['together'][:, at].mean()):.0%} together")  # fmt: skip
        off.append(_error(joint, tables))
        dearer.append(_strength(joint) / _strength(apart) - 1)
    return Plate(
        name="interactions_figure_2",
        title="Terms that two networks share",
        source="Interaction article, figure 2; Chen and others 2024",
        setting=f"A convolutional network and a perceptron, trained three times on the rightly "
        f"labelled {taken.name} of the course of figure 1, explain {_INPUTS} test inputs that are "
        f"new to both: each by its own sparsest terms, and both by terms in common (alpha "
        f"{_ALPHA}). Bands hold 19 of 20 resamplings of the inputs; `chance` is for sets drawn "
        "blindly.",
        findings=(
            Finding(
                f"Found together, more of the {_JUDGED} strongest terms are the same.",
                f"The share in both is {'; '.join(judged)} (3 pairs of networks). It grows "
                + ", ".join(f"by {a:+.0%} ({b:+.0%} to {c:+.0%})" for a, b, c in gains)
                + ".",
                all(low > 0 for _, low, _ in gains),
            ),
            Finding(
                "They still give each network's output on every mask.",
                f"They are off by {max(off):.1e} of the largest change of the output, at most.",
                max(off) < 1e-4,
            ),
            Finding(
                "What is given up is little sparsity.",
                "The sum of all strengths is larger by "
                + ", ".join(f"{part:.0%}" for part in dearer)
                + " than that of each network's own terms.",
                max(dearer) < 0.25,
            ),
        ),
        picture=figure,
    )


def _tables(taken: Course, seed: int) -> Float[Tensor, "inputs networks coalitions"]:
    """The log-odds of the true class on all masks, of two networks."""
    known = ~taken.flipped
    inputs, labels = taken.inputs[known], taken.labels[known]
    pixels = inputs[0].numel()
    recipe = Recipe(epochs=20, rate=3e-3, decay=0.01, smoothing=0.05, seed=seed)
    models = (
        trained_once(f"{taken.name}-shared", taken.make, inputs, labels, recipe),
        trained_once(
            f"{taken.name}-shared",
            lambda: nn.Sequential(nn.Flatten(), MLP((pixels, 128, 64, 10))),
            inputs,
            labels,
            recipe,
        ),
    )
    return torch.stack(
        [
            torch.stack([sample.game(model).table() for model in models])
            for sample in taken.unseen[:_INPUTS]
        ]
    ).double()


def _overlap(found: list[JointInteractions]) -> Float[Tensor, "inputs counts"]:
    """Which share of the strongest terms is the same in both networks."""
    rows: list[list[float]] = []
    for one in found:
        ranking = stacked([one.of(0), one.of(1)]).flatten(1).abs().argsort(1, descending=True)
        first, second = ranking.tolist()
        rows.append([len({*first[:k]} & {*second[:k]}) / k for k in _COUNTS])
    return torch.tensor(rows)


def _strength(found: list[JointInteractions]) -> float:
    return sum(float(one.effects.abs().sum()) for one in found)


def _error(found: list[JointInteractions], tables: Tensor) -> float:
    """The largest error on any mask, beside the largest change of that game."""
    worst = 0.0
    for one, values in zip(found, tables, strict=True):
        for network, v in enumerate(values):
            logic = logic_values(one.of(network))[0] + one.empty[network]
            worst = max(worst, float((logic - v).abs().max() / (v - v[0]).abs().max()))
    return worst
