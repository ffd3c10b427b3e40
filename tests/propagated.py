"""What every network must keep under relevance propagation, whatever its build."""

import torch
from torch import Tensor

from unmask import logit
from unmask.methods.saliency import lrp
from unmask.methods.saliency.propagation import rules
from unmask.methods.saliency.propagation.relevance import Propagation
from unmask.methods.saliency.propagation.rules import Rules
from unmask.operations import Replaced

ZERO = Rules(rules.zero(), rules.zero())
COMPOSITES = {
    "zero": ZERO,
    "epsilon": rules.EPSILON,
    "epsilon-plus": rules.EPSILON_PLUS,
    "epsilon-plus-flat": rules.EPSILON_PLUS_FLAT,
    "alpha2-beta1": rules.ALPHA2_BETA1,
    "gamma": Rules(rules.gamma(), rules.gamma()),
    "box": rules.epsilon_gamma_box(-5.0, 5.0),
    "deep Taylor": rules.DEEP_TAYLOR,
}


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Normal ones, in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def watched(model, x, chosen):
    """What a model puts out while its operations are replaced."""
    point = x.detach().requires_grad_()
    work = Propagation(chosen, model, point)
    with Replaced(work.handlers):
        return model(point.clone())


def holds(model, x, chosen=rules.EPSILON, target=1):
    """The forward pass is the network's own, and score = sum + gap."""
    assert torch.equal(watched(model, x, chosen), model(x.clone()))
    score = logit(model, target)
    found = lrp(score, x, rules=chosen)
    assert found.values.shape == x.shape
    assert found.evaluations == len(x)
    left = score(x.clone()).double() - found.values.double().flatten(1).sum(1)
    assert torch.allclose(left, found.gap, rtol=1e-5, atol=1e-6)
    return found
