"""Relevance propagation beside a plain forward and backward pass, captum and zennit.

A VGG-11 of a quarter of the width, images of 32 x 32, a batch of 64, with batch normalisation and
without. One unit is a forward pass and a backward pass to the input alone. CPU time of one thread,
all taking turns; the median over rounds of the ratio within a round.

    OMP_NUM_THREADS=1 python benchmarks/lrp.py
"""

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from captum.attr import LRP
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from convolutional import vgg
from unmask import logit
from unmask.methods.saliency import lrp
from unmask.methods.saliency.propagation import rules
from zennit_alone import zennit

BATCH, ROUNDS = 64, 15


def plain(model: nn.Module, x: Tensor, target: Tensor) -> None:
    point = x.detach().requires_grad_()
    torch.autograd.grad(logit(model, target)(point).sum(), point)


class Unfolded(nn.Module):
    """captum has no rule for a layer that flattens."""

    def __init__(self, model: nn.Sequential) -> None:
        super().__init__()
        place = next(i for i, one in enumerate(model) if isinstance(one, nn.Flatten))
        self.features, self.classifier = model[:place], model[place + 1 :]

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


def by_captum(model: nn.Module, x: Tensor, target: Tensor) -> None:
    LRP(model).attribute(x, target=target)


def by_zennit(composite: object, model: nn.Module, x: Tensor, target: Tensor) -> None:
    attribution = zennit().attribution
    with attribution.Gradient(model, composite) as attribute:
        attribute(x, torch.eye(10)[target])


def ratios(runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start = time.process_time()
            run()
            spent[name].append(time.process_time() - start)
    unit = next(iter(runs))
    return {
        name: statistics.median(a / b for a, b in zip(times, spent[unit], strict=True))
        for name, times in spent.items()
    }


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    composites = zennit().composites
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(BATCH, 3, 32, 32, generator=generator)
    target = torch.arange(BATCH) % 10
    ours = {
        "epsilon": rules.EPSILON,
        "epsilon-plus": rules.EPSILON_PLUS,
        "alpha2-beta1": rules.ALPHA2_BETA1,
        "epsilon-gamma-box": rules.epsilon_gamma_box(0.0, 1.0),
    }
    ends = {"low": torch.zeros(1, 3, 32, 32), "high": torch.ones(1, 3, 32, 32)}
    theirs = {
        "epsilon-plus": composites.EpsilonPlus(),
        "alpha2-beta1": composites.EpsilonAlpha2Beta1(),
        "epsilon-gamma-box": composites.EpsilonGammaBox(**ends),
    }
    print("| network | rules | by | forward + backward |")
    print("|---|---|---|---|")
    for normalised in (False, True):
        model = vgg(normalised=normalised)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        runs: dict[str, Callable[[], object]] = {
            "- | plain": lambda model=model: plain(model, x, target)
        }
        for name, chosen in ours.items():
            runs[f"{name} | unmask"] = lambda model=model, chosen=chosen: lrp(
                logit(model, target), x, rules=chosen
            )
        if not normalised:  # captum has no rule for batch normalisation, zennit must merge it first
            unfolded = Unfolded(model)
            runs["epsilon | captum"] = lambda model=unfolded: by_captum(model, x, target)
            for name, composite in theirs.items():
                runs[f"{name} | zennit"] = lambda model=model, composite=composite: by_zennit(
                    composite, model, x, target
                )
        for name, ratio in ratios(runs).items():
            print(f"| VGG-11{', normalised' * normalised} | {name} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
