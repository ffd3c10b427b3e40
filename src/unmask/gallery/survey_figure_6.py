"""Figure 6 of the survey: gradient, SmoothGrad, integrated gradients and deep Taylor on digits."""

import os

import torch
from torch import Tensor

from unmask import zoo
from unmask.gallery.plate import Finding, Plate
from unmask.methods.saliency import deep_taylor, gradient, integrated_gradients, smoothgrad
from unmask.plot import plot_side_by_side
from unmask.score import logit, predicted
from unmask.views import ImageView

_DIGITS = 4


def survey_figure_6(*, quick: bool = False) -> Plate:
    """Four methods on digits that a network of LeNet's kind reads.

    Args:
        quick: whether to use data that need no reading and no long training.
    """
    small = quick or not os.environ.get("UNMASK_DATA")
    shown = zoo.digits() if small else zoo.mnist()
    chosen = _different(shown.labels or (), _DIGITS)
    x = torch.stack([shown.inputs[i] for i in chosen])
    classes = predicted(shown.model, x)
    score, baseline = logit(shown.model, classes), shown.baseline(0)
    columns = {
        "gradient": gradient(score, x),
        "SmoothGrad": smoothgrad(score, x, generator=torch.Generator().manual_seed(0)),
        "integrated gradients": integrated_gradients(score, x, baseline=baseline),
        "deep Taylor": deep_taylor(score, x, low=0.0, high=1.0),
    }
    views = [view for i in chosen if isinstance(view := shown.view(i), ImageView)]
    rough = [_roughness(columns[name].values) for name in ("gradient", "SmoothGrad")]
    gap = columns["integrated gradients"].gap
    change = (score(x) - score(baseline.expand_as(x))).abs().detach()
    missed = float((gap.abs() / change).max()) if gap is not None else float("nan")
    ink = (x > 0).double()
    on_ink = float(
        (columns["deep Taylor"].values.double().abs() * ink).sum()
        / columns["deep Taylor"].values.double().abs().sum()
    )
    return Plate(
        name="survey_figure_6",
        title="Four saliency methods on the same digits",
        source="Survey, figure 6; Simonyan 2014, Smilkov 2017, Sundararajan 2017, Montavon 2017",
        setting=(
            f"A network of LeNet's kind reads {'8 x 8' if small else '28 x 28'} digits; explained "
            "is the logit of the class that it names."
        ),
        findings=(
            Finding(
                "SmoothGrad is less noisy than the gradient.",
                f"Neighbouring pixels differ by {rough[1]:.2f} of a map's size, after "
                f"{rough[0]:.2f}.",
                rough[1] < rough[0],
            ),
            Finding(
                "Integrated gradients add up to the change of the score.",
                f"They miss at most {missed:.1%} of it.",
                missed < 0.05,
            ),
            Finding(
                "Deep Taylor marks the strokes.",
                f"{on_ink:.0%} of its relevance lies on ink, which covers "
                f"{float(ink.mean()):.0%} of the image.",
                on_ink > 1.3 * float(ink.mean()),
            ),
        ),
        picture=plot_side_by_side(
            columns, over=views, captions=[f"read as {shown.classes[int(y)]}" for y in classes]
        ),
    )


def _different(labels: tuple[int, ...], count: int) -> list[int]:
    """The first inputs of different classes."""
    first = {label: place for place, label in reversed(list(enumerate(labels)))}
    return sorted(first.values())[:count]


def _roughness(maps: Tensor) -> float:
    """How much neighbours differ, beside how large values are."""
    steps = maps.diff(dim=-1).abs().mean() + maps.diff(dim=-2).abs().mean()
    return float(steps / 2 / maps.abs().mean())
