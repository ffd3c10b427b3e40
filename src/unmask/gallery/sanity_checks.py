"""Sanity checks of all saliency methods at once: what is left of a map when all is forgotten."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import zoo
from unmask.evaluation import Explain, absolute_rank_similarity, as_new, top_down
from unmask.evaluation.randomization.parameter_randomization import Randomized, randomized
from unmask.gallery.lines import SHADES, legend_below, line, named
from unmask.gallery.plate import Finding, Plate
from unmask.plot.style import FAINT, INK, MUTED, SMALL, quiet, sheet
from unmask.results import Attribution, Rating
from unmask.run.compare.explainers import Supplies, explainers
from unmask.score import Score, logit, predicted

_SHOWN = (
    "gradient",
    "smoothgrad",
    "grad_cam",
    "guided_backprop",
    "deep_taylor",
    "input_x_gradient",
)
"""Methods whose way to the end is drawn."""
_PAIRED = "guided_grad_cam"
_SLOW = (
    "dasp",
    "kernel_shap",
    "leverage_shap",
    "permutation_shapley",
    "shapley_exact",
    "shapley_values",
    "smallest_flipping_set",
)
"""Thousands of passes for each explanation."""
_ALIKE = "sizes"

Interval = tuple[float, float, float]


@dataclass(frozen=True)
class _Judged:
    """The methods on one network.

    Args:
        network: its name.
        found: how alike the maps stay, by method.
        inputs: how many.
        repeats: random networks.
        left_out: methods that explain nothing of this network, or nothing of a random one.
    """

    network: str
    found: Mapping[str, Randomized]
    inputs: int
    repeats: int
    left_out: tuple[str, ...]

    def at(self, method: str, step: int) -> Interval:
        """The mean over the inputs at a step, and between what it lies."""
        return _interval(self.found[method].curves[_ALIKE][:, step])

    def end(self, method: str) -> Interval:
        """The same with all layers random."""
        return self.at(method, -1)

    def half(self, method: str) -> Interval:
        """The same with the upper half of the layers random."""
        return self.at(method, (self.found[method].curves[_ALIKE].shape[1] - 1) // 2)

    def excess(self, method: str) -> float:
        """By how much maps stay more alike than by chance."""
        return self.end(method)[0] - float(self.found[method].null[_ALIKE].nanmean())

    def floor(self, method: str) -> float:
        """How alike the maps of two random networks are."""
        return float(self.found[method].floor[_ALIKE].nanmean())


def sanity_checks(*, quick: bool = False) -> Plate:
    """Every method that explains single images, before and after the network forgets.

    Args:
        quick: whether to use data that need no reading and no long training.
    """
    if quick or not os.environ.get("UNMASK_DATA"):
        judged = [_judge("LeNet's kind, 8 x 8 digits", zoo.digits(), 16, 3)]
    else:
        judged = [
            _judge("LeNet, MNIST", zoo.mnist(), 16, 3),
            _judge("ResNet-20, CIFAR-10", zoo.cifar10(), 8, 2),
        ]
    counts = "; ".join(
        f"{one.network}: {len(one.found)} methods, {one.inputs} images, {one.repeats} random "
        f"networks ({len(one.left_out)} methods give nothing here, or ask too often)"
        for one in judged
    )
    return Plate(
        name="sanity_checks",
        title="What is left of a saliency map when the network forgets",
        source="Adebayo 2018, figures 2 to 4; Sixt 2020; Binder 2023",
        setting="The logit of the class that the network names is explained; then its layers are "
        "drawn anew, from the output down. How alike maps are is Spearman's correlation of the "
        f"sizes of their values. {counts}. In brackets, between what a mean over the images lies.",
        findings=_findings(judged),
        picture=_picture(judged),
    )


def _judge(name: str, shown: zoo.Exhibit, count: int, repeats: int) -> _Judged:
    x = torch.stack(shown.inputs[:count])
    score = logit(shown.model, predicted(shown.model, x))
    lineup = explainers(score, x, Supplies(shown.baseline(0), shown.players(0)), tried=False)
    explain: dict[str, Explain] = {k: v for k, v in lineup.explain.items() if k not in _SLOW}
    left_out = [*lineup.left_out, *(k for k in lineup.explain if k in _SLOW)]
    if {"guided_backprop", "grad_cam"} <= set(explain):
        explain[_PAIRED] = _product(explain["guided_backprop"], explain["grad_cam"])
    found: dict[str, Randomized] = {}
    for method, one in explain.items():
        order = top_down if method in (*_SHOWN, _PAIRED) else lambda names: [tuple(names)]
        try:
            made = randomized(
                score, x, one, {_ALIKE: absolute_rank_similarity}, order, as_new, repeats,
                torch.Generator().manual_seed(0), None,
                compared=True,
            )  # fmt: skip
        except (ValueError, TypeError):  # it explains other networks, or no random one
            left_out.append(method)
            continue
        if made.curves[_ALIKE][:, -1].isnan().all():
            left_out.append(method)
        else:
            found[method] = made
    return _Judged(name, found, count, repeats, tuple(left_out))


def _product(one: Explain, other: Explain) -> Explain:
    def product(score: Score, x: Tensor) -> Attribution:
        return Attribution(one(score, x).values * other(score, x).values)

    return product


def _findings(judged: list[_Judged]) -> tuple[Finding, ...]:
    changing, guided = ("gradient", "smoothgrad", "grad_cam"), ("guided_backprop", _PAIRED)
    times_input = ("input_x_gradient", "integrated_gradients")
    every = [(one, method) for one in judged for method in one.found]
    above = [(o, m) for o, m in every if o.end(m)[0] > o.floor(m) + 0.1]
    passed = [(o, m) for o, m in every if o.excess(m) <= 0.1]
    return (
        Finding(
            "The maps of gradient, SmoothGrad and Grad-CAM change when all layers are random.",
            f"All random, they are alike to {_told(judged, changing, _Judged.end)}.",
            all(o.end(m)[2] < 0.5 for o, m in every if m in changing),
        ),
        Finding(
            "Guided backpropagation and guided Grad-CAM hardly change until the lowest layers.",
            "With the upper half of the layers random they are alike to "
            f"{_told(judged, (*guided, 'gradient'), _Judged.half)}.",
            all(o.half(m)[0] > 0.5 for o, m in every if m in guided),
        ),
        Finding(
            "Relevance by the rule of deep Taylor hardly depends on the upper layers.",
            "With the upper half of the layers random it is alike to "
            f"{_told(judged, ('deep_taylor',), _Judged.half)}.",
            all(o.half(m)[0] > 0.5 for o, m in every if m == "deep_taylor"),
        ),
        Finding(
            "What multiplies by the input goes on looking like it.",
            f"All random, maps are alike to {_told(judged, times_input, _Judged.end)}.",
            all(o.end(m)[0] > 0.5 for o, m in every if m in times_input),
        ),
        Finding(
            "What is left when all is random is owed to input, architecture and method: two "
            "random networks have as much in common.",
            f"Of {len(every)} methods on networks, {len(above)} are more alike than that by over "
            f"0.1{_named(above)}. {len(passed)} come within 0.1 of chance.",
            not above,
        ),
    )


def _told(judged: list[_Judged], methods: tuple[str, ...], read: Any) -> str:
    told = []
    for one in judged:
        each = [
            f"{_readable(m)} {read(one, m)[0]:.2f} ({read(one, m)[1]:.2f} to {read(one, m)[2]:.2f})"
            for m in methods
            if m in one.found
        ]
        told.append(f"{', '.join(each) or 'not judged'} [{one.network}]")
    return "; ".join(told)


def _named(pairs: list[tuple[_Judged, str]]) -> str:
    names = sorted({_readable(method) for _, method in pairs})
    return f" ({', '.join(names)})" if names else ""


def _picture(judged: list[_Judged]) -> Any:
    rows = max(len(one.found) for one in judged)
    figure = sheet(3.0 + 0.145 * rows)
    places: list[Any] = []
    grid = figure.add_gridspec(2, len(judged), height_ratios=[2.4, 0.145 * rows])
    for column, one in enumerate(judged):
        place = figure.add_subplot(grid[0, column])
        _draw_steps(place, one)
        places.append(place)
        named(place, one.network, x="random layers, from the output down",
              y="" if column else "likeness of sizes")  # fmt: skip
        _draw_ends(figure.add_subplot(grid[1, column]), one)
    legend_below(figure, places[0])
    return figure


def _draw_steps(place: Any, one: _Judged) -> None:
    for i, method in enumerate(method for method in _SHOWN if method in one.found):
        curve = one.found[method].curves[_ALIKE]
        ends = torch.tensor([one.at(method, step) for step in range(curve.shape[1])])
        line(
            place, torch.arange(len(ends)), ends[:, 0], band=(ends[:, 1], ends[:, 2]),
            colour=SHADES[i % len(SHADES)], style="-" if i < len(SHADES) else ":",
            label=_readable(method),
        )  # fmt: skip
    place.axhline(0, color=MUTED, linewidth=0.6)
    place.xaxis.get_major_locator().set_params(integer=True)


def _draw_ends(place: Any, one: _Judged) -> None:
    """A row for each method: with all layers random, and what two random networks share."""
    order = sorted(one.found, key=lambda method: one.end(method)[0])
    quiet(place)
    place.grid(axis="x", color=FAINT, linewidth=0.5)
    for row, method in enumerate(order):
        mean, low, high = one.end(method)
        place.plot([low, high], [row, row], color=SHADES[0], linewidth=1.2)
        place.plot([mean], [row], "o", color=SHADES[0], markersize=3)
        place.plot([one.floor(method)], [row], "|", color=INK, markersize=5)
    place.axvline(0, color=MUTED, linewidth=0.6)
    place.set_yticks(range(len(order)), [_readable(method) for method in order], fontsize=6.5)
    place.set_ylim(-0.7, len(order) - 0.3)
    place.set_xlabel(
        "likeness with all layers random (dot);\nof two random networks (stroke)",
        size=SMALL,
        color=MUTED,
    )


def _readable(method: str) -> str:
    return method.replace("_", " ")


def _interval(values: Float[Tensor, " inputs"]) -> Interval:
    rating = Rating(values, False)
    return (rating.mean, *rating.interval())
