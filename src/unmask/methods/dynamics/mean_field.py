"""Networks whose weights are uncertain: an independent Gaussian for every weight."""

import copy
import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from unmask import admission

Labels = Shaped[Tensor, " labels"]
"""Classes, or numbers to be predicted."""


class MeanField(nn.Module):
    r"""A network with a Gaussian over every weight in place of the weight.

    $$
    w = \mu + \log(1 + e^\rho)\, \epsilon, \qquad \epsilon \sim N(0, 1)
    $$

    It serves any module, as the weights are put into it from outside: linear layers,
    convolutions, normalisations, attention. The module itself is copied; layers stay in
    evaluation mode, so statistics of batches are those that the module comes with, and dropout is
    off.

    Args:
        model: the network; its weights are the first means.
        deviation: the first standard deviation of every weight.
        prior: standard deviation of each weight beforehand; the mean is 0.

    >>> network = MeanField(nn.Linear(2, 1), deviation=0.5)
    >>> weights = network.draw(torch.Generator().manual_seed(0))
    >>> {name: tuple(weight.shape) for name, weight in weights.items()}
    {'weight': (1, 2), 'bias': (1,)}
    """

    def __init__(self, model: nn.Module, *, deviation: float = 0.05, prior: float = 1.0) -> None:
        super().__init__()
        for name, size in (("deviation", deviation), ("prior", prior)):
            if not 0 < size < math.inf:
                raise ValueError(
                    f"The {name} of a weight is a standard deviation, but is {size}. "
                    "Give a number above 0."
                )
        self.network = copy.deepcopy(model).eval().requires_grad_(False)
        found = dict(self.network.named_parameters())
        if not found:
            raise ValueError(
                f"A {type(model).__name__} without parameters has no weights to be uncertain of. "
                "Give a network that was trained."
            )
        self.names = tuple(found)
        self.prior = prior
        rho = math.log(math.expm1(deviation))
        # In half precision the steps of a training are too small to change a weight.
        wide = [one.detach().to(_wide(one), copy=True) for one in found.values()]
        self.mean = nn.ParameterList(nn.Parameter(one) for one in wide)
        self.rho = nn.ParameterList(nn.Parameter(torch.full_like(one, rho)) for one in wide)

    def draw(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Weights at random, with gradients to mean and deviation."""
        drawn = {}
        for name, mean, rho in zip(self.names, self.mean, self.rho, strict=True):
            noise = torch.randn(mean.shape, generator=generator, device=generator.device)
            drawn[name] = mean + functional.softplus(rho) * noise.to(mean)
        return self._put_in(drawn)

    def forward(
        self, x: Shaped[Tensor, "batch *input"], weights: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """The network's answer with these weights; without any, with the means."""
        if weights is None:
            weights = self._put_in(dict(zip(self.names, self.mean, strict=True)))
        return functional_call(self.network, dict(weights), (x,))

    def _put_in(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """In the types that the network computes with."""
        own = dict(self.network.named_parameters())
        return {name: weight.to(own[name].dtype) for name, weight in weights.items()}

    def divergence(self) -> Float[Tensor, ""]:
        r"""How far all weights are from the prior, in nats.

        $$
        \mathrm{KL} = \sum_w \log \frac{s}{\sigma_w} + \frac{\sigma_w^2 + \mu_w^2}{2 s^2}
        - \frac12
        $$
        """
        total = torch.zeros((), dtype=torch.float32, device=self.mean[0].device)
        for mean, rho in zip(self.mean, self.rho, strict=True):
            sigma = functional.softplus(rho)
            nats = (sigma.square() + mean.square()) / (2 * self.prior**2) - 0.5
            total = total.to(mean.dtype) + (nats + math.log(self.prior) - sigma.log()).sum()
        return total


def fit_mean_field(
    network: MeanField,
    data: Shaped[Tensor, "batch *input"],
    labels: Labels,
    *,
    steps: int,
    weight: float,
    generator: torch.Generator,
    rate: float = 1e-3,
    minibatch: int = 100,
) -> Float[Tensor, " steps"]:
    r"""Train the means and deviations, with new weights drawn at every step; the losses on the way.

    $$
    \min_{\mu, \rho}\; \mathrm{E}_w\, \mathcal{L}(f_w(x), y) + \kappa\, \mathrm{KL}
    $$

    With the mean cross-entropy and kappa one over the number of inputs this is the evidence lower
    bound, divided by that number and turned round.

    Args:
        network: changed in place.
        data: x.
        labels: y, classes (cross-entropy) or real numbers (squared error).
        steps: of Adam.
        weight: kappa.
        generator: source of the weights and of the order of the data.
        rate: of Adam.
        minibatch: inputs per step.
    """
    trained = [*network.mean, *network.rho]
    losses = []
    order = torch.zeros(0, dtype=torch.long)
    with torch.inference_mode(False), torch.enable_grad():
        optimiser = torch.optim.Adam(trained, lr=rate)
        for _ in range(steps):
            if len(order) == 0:
                order = torch.randperm(len(data), generator=generator, device=generator.device)
            rows, order = order[:minibatch].to(data.device), order[minibatch:]
            output = network(data[rows], network.draw(generator))
            loss = _loss(output, labels[rows]) + weight * network.divergence()
            for parameter, gradient in zip(
                trained, torch.autograd.grad(loss, trained), strict=True
            ):
                parameter.grad = gradient
            optimiser.step()
            losses.append(loss.detach())
    for parameter in trained:
        parameter.grad = None
    found = torch.stack(losses) if losses else data.new_zeros(0)
    admission.finite("The loss of the Bayesian network", found)
    return found


def _loss(output: Tensor, labels: Tensor) -> Tensor:
    output = output.to(_wide(output))
    if labels.is_floating_point():
        return functional.mse_loss(output.flatten(), labels.to(output))
    if output.ndim == 1 or output.shape[1] == 1:  # one output is the log-odds of class 1
        return functional.binary_cross_entropy_with_logits(output.flatten(), labels.to(output))
    return functional.cross_entropy(output, labels)


def _wide(values: Tensor) -> torch.dtype:
    return torch.promote_types(values.dtype, torch.float32)
