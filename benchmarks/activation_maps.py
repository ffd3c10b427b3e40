"""Activation maps and the information bottleneck of SqueezeNet, beside plain runs and captum.

CPU time of one thread, all contestants taking turns; a ratio is to a plain forward pass of as many
inputs as the method runs the model on. What a method saves by running only what follows its layer
shows as a ratio below one (forward only) or below about three (with gradients).

    UNMASK_DATA=... OMP_NUM_THREADS=1 python benchmarks/activation_maps.py
"""

import statistics
import time
import warnings
from collections.abc import Callable

import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from unmask import log_odds, logit, predicted
from unmask.methods.saliency import (
    ablation_cam,
    cam,
    grad_cam,
    information_bottleneck,
    score_cam,
)
from unmask.zoo import squeezenet

ROUNDS, INPUTS, LAYER = 5, 4, "fire9"


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def speed(model: nn.Module, x: Tensor, data: Tensor) -> None:
    classes = predicted(model, x)
    score = logit(model, classes)
    theirs = LayerGradCam(model, model.get_submodule(LAYER))
    one, one_score = x[:1], logit(model, classes[:1])
    runs = {
        "grad_cam": lambda: grad_cam(score, x, layer=LAYER).evaluations,
        "captum LayerGradCam": lambda: len(theirs.attribute(x, target=classes)),
        "cam": lambda: cam(score, x, layer="relu").evaluations,
        "ablation_cam": lambda: ablation_cam(one_score, one, layer=LAYER).evaluations,
        "score_cam": lambda: score_cam(one_score, one, layer=LAYER).evaluations,
        "information_bottleneck, fire9": lambda: (
            information_bottleneck(log_odds(model, classes), x, data=data, layer=LAYER).evaluations
        ),
        "information_bottleneck, fire5": lambda: (
            information_bottleneck(
                log_odds(model, classes), x, data=data, layer="fire5"
            ).evaluations
        ),
    }
    spent: dict[str, list[float]] = {name: [] for name in ("forward", *runs)}
    evaluations: dict[str, int] = {}

    def forward() -> None:
        with torch.no_grad():
            model(x)

    def counted(name: str) -> None:
        evaluations[name] = runs[name]() or 0

    for _ in range(ROUNDS):
        spent["forward"].append(seconds(forward) / INPUTS)
        for name in runs:
            spent[name].append(seconds(lambda name=name: counted(name)))
    per_input = statistics.median(spent["forward"])
    print(f"forward pass: {1e3 * per_input:.1f} ms per photo")
    print("| method | model runs | CPU s | ratio |\n|---|---|---|---|")
    for name in runs:
        took = statistics.median(spent[name])
        ratio = took / (per_input * evaluations[name])
        print(f"| {name} | {evaluations[name]} | {took:.3f} | {ratio:.2f} |")


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    exhibit = squeezenet()
    data = torch.stack(exhibit.inputs)
    speed(exhibit.model, data[:INPUTS], data)


if __name__ == "__main__":
    main()
