"""How much a hidden state keeps of each word."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmask import admission
from unmask.card import method
from unmask.internals import frozen, plain, record
from unmask.results import Attribution

_ROWS = 2**20
"""Numbers in one call of the model at most, where no batch is given."""

_WINDOW = 50
"""Steps that are averaged, and after which it is asked whether anything still moves."""


@method("guan2019towards")
def mutual_information_saliency(
    model: Callable[[Tensor], Tensor],
    x: Float[Tensor, "batch tokens width"],
    *,
    layer: str | None = None,
    data: Float[Tensor, "rows tokens2 width"] | None = None,
    scale: float | None = None,
    rate: float = 0.1,
    steps: int = 500,
    samples: int = 8,
    tolerance: float = 0.03,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Attribution:
    r"""Drown each word in as much noise as the hidden state does not notice.

    $$
    L(\sigma) = \frac{\mathbb{E}_\epsilon \lVert \Phi(x + \epsilon) - s \rVert^2}{m\, \varsigma^2}
    - \frac{\lambda}{n} \sum_i \log \sigma_i, \qquad
    \epsilon_i \sim \mathcal{N}(0, \sigma_i^2 I), \quad s = \Phi(x)
    $$

    The entropy of a word, given that the state of m numbers stays s, is
    $\tfrac{K}{2} \log 2 \pi e + K \log \sigma_i$ for an embedding of K numbers. The attribution is
    what the state keeps of it, in nats per number of the embedding,

    $$
    A_i = \log \frac{\sigma_{\max}}{\sigma_i}
    $$

    and zero where a word may be drowned altogether. As it is in nats, whatever the size of the
    state, words can be compared between layers and between models, for one $\sigma_{\max}$ and
    one $\lambda$; these two set what counts as noticed.

    $\log \sigma$ is found by Adam, all words of all inputs together, with noise in pairs of
    opposite sign. An input is done when the mean of its $\log \sigma$ over fifty steps has moved
    by less than the tolerance since the fifty before; that mean is the result. The inputs of a
    batch have the same number of words: texts of different lengths are explained one by one.

    Args:
        model: Phi, from embeddings to the state; or the whole model, if a layer is named.
        x: the embeddings.
        layer: whose output is the state, by its dotted name.
        data: other inputs, over which the variance of the state is taken; without them it is the
            mean square of the input's own state.
        scale: sigma_max, the most noise; by default ten times the standard deviation of the data,
            or of the input's own numbers.
        rate: lambda, what noise is worth.
        steps: of Adam at most.
        samples: draws of noise per step, an even number.
        tolerance: the largest change of log sigma within fifty steps of a word that is done.
        generator: source of the noise, which all inputs share.
        batch_size: noisy inputs in one call of the model.

    >>> x = torch.ones(1, 3, 4)
    >>> found = mutual_information_saliency(lambda x: x[:, 0] + 0.1 * x[:, 1], x, scale=2.0)
    >>> found.values.round(decimals=1)
    tensor([[2.6000, 0.4000, 0.0000]])
    """
    _check(model, layer, x, data, scale, rate, steps, samples, tolerance, batch_size)
    admission.settled(model)
    generator = admission.drawing(generator)
    with torch.inference_mode(False):
        x = plain(x)
        state = State(model, layer, batch_size or max(1, _ROWS // max(1, x[0].numel())))
        variance, deviation = _spreads(state, x, data)
        most = _most(deviation) if scale is None else torch.full_like(deviation, scale)
        search = Search(state, x, most[:, None], rate, samples)
        logs, evaluations = _found(search, variance, steps, tolerance, generator)
    return Attribution((0.0 - logs).to(x.dtype), evaluations=evaluations)


@dataclass(frozen=True)
class State:
    """The state of a model for each input.

    Args:
        model: puts it out, or has a layer that does.
        layer: the name of that layer.
        batch_size: inputs in one call.
    """

    model: Callable[[Tensor], Tensor]
    layer: str | None
    batch_size: int

    def __call__(self, x: Float[Tensor, "rows tokens width"]) -> Float[Tensor, "rows state"]:
        if self.layer is None:
            found = self.model(x)
        else:
            assert isinstance(self.model, nn.Module)  # asked for at the door
            with record(self.model, [self.layer]) as outputs:
                self.model(x)
            found = outputs[self.layer]
        if not isinstance(found, Tensor) or found.ndim == 0 or len(found) != len(x):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"The model returned {shape} for {len(x)} inputs. Return one tensor with a row "
                "per input: `lambda x: lstm(x)[0]`."
            )
        return found.reshape(len(x), -1).to(torch.promote_types(found.dtype, torch.float32))

    @torch.no_grad()
    def of(self, x: Float[Tensor, "rows tokens width"]) -> Float[Tensor, "rows state"]:
        """The states of any number of inputs."""
        return torch.cat([self(part.clone()).detach() for part in x.split(self.batch_size)])


@dataclass(frozen=True)
class Search:
    """What does not change while the noise is sought.

    Args:
        state: Phi.
        x: the inputs.
        most: the largest sigma of each input.
        rate: lambda.
        samples: draws per step.
    """

    state: State
    x: Float[Tensor, "batch tokens width"]
    most: Float[Tensor, "batch 1"]
    rate: float
    samples: int

    def slope(
        self, theta: Tensor, rows: Tensor, s: Tensor, variance: Tensor, noise: Tensor
    ) -> Float[Tensor, "open tokens"]:
        """The gradient of the loss in theta = log sigma / sigma_max, of the inputs that go on."""
        point = theta.detach().requires_grad_()
        total = torch.full_like(theta, -self.rate / theta.shape[1])  # of what noise is worth
        pairs = torch.arange(self.samples * len(rows), device=theta.device)
        for part in pairs.split(self.state.batch_size):
            draw, place = part // len(rows), part % len(rows)
            sigma = (self.most[rows] * point.exp())[place, :, None]
            base = self.x[rows[place]]
            noisy = self.state((base + sigma * noise[draw]).to(base))
            missed = (noisy - s[place]).square().mean(1) / variance[place]
            if not missed.requires_grad:
                raise ValueError(
                    "The state does not depend on x by any differentiable path. "
                    "Look for detach(), argmax or no_grad in the model."
                )
            total = total + torch.autograd.grad(missed.sum() / self.samples, point)[0]
        if not total.isfinite().all():
            raise ValueError(
                "The state of a noisy input is not finite, or has no finite gradient. Give less "
                "noise by a smaller scale, or look for a root or a logarithm of zero in the model."
            )
        return total


def _found(
    search: Search, variance: Tensor, steps: int, tolerance: float, generator: torch.Generator
) -> tuple[Float[Tensor, "batch tokens"], int]:
    """The logarithm of sigma / sigma_max of each word, and how many inputs the model was run on."""
    x = search.x
    wide = torch.promote_types(x.dtype, torch.float32)
    s = search.state.of(x)
    # From little noise: where all words are drowned a state is saturated and has no slope.
    theta = torch.full(x.shape[:2], -4.0, dtype=wide, device=x.device)
    first, second = torch.zeros_like(theta), torch.zeros_like(theta)
    logs, before, mean = torch.zeros_like(theta), torch.zeros_like(theta), torch.zeros_like(theta)
    rows = torch.arange(len(x), device=x.device)  # the inputs that are not done
    evaluations = len(x)
    for step in range(1, steps + 1):
        half = torch.randn(
            search.samples // 2, *x.shape[1:], generator=generator, device=generator.device,
            dtype=wide,
        ).to(x.device)  # fmt: skip
        noise = torch.cat([half, -half])
        with torch.enable_grad(), frozen(search.state.model):
            slope = search.slope(theta[rows], rows, s[rows], variance[rows], noise)
        evaluations += search.samples * len(rows)
        # Adam, written out, as inputs leave it when they are done.
        first[rows] = 0.9 * first[rows] + 0.1 * slope
        second[rows] = 0.999 * second[rows] + 0.001 * slope.square()
        size = (second[rows] / (1 - 0.999**step)).sqrt() + 1e-8
        moved = theta[rows] - 0.05 * first[rows] / (1 - 0.9**step) / size
        theta[rows] = moved.clamp(max=0)
        mean[rows] += theta[rows]
        since = (step - 1) % _WINDOW + 1
        if since == _WINDOW or step == steps:
            logs[rows] = mean[rows] / since
            change = (logs[rows] - before[rows]).abs().amax(1)
            before[rows], mean[rows] = logs[rows], 0.0
            rows = rows[change > tolerance]
        if len(rows) == 0:
            break
    return logs, evaluations


def _spreads(
    state: State, x: Tensor, data: Tensor | None
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Of each input: the variance of the state, and ten standard deviations of an embedding."""
    wide = torch.promote_types(x.dtype, torch.float32)
    if data is None:
        variance = state.of(x).square().mean(1)
        deviation = 10 * x.to(wide).reshape(len(x), -1).std(1, correction=0)
    else:
        states = state.of(data.detach().to(x))
        variance = states.var(0, correction=0).mean().expand(len(x))
        deviation = (10 * data.to(x.device, wide).std(correction=0)).expand(len(x))
    if not (variance > 0).all() or not variance.isfinite().all():
        where = "is the same for all of the data" if data is not None else "is zero"
        raise ValueError(
            f"The state {where}, or is not finite (its variance is {float(variance.min())}), so "
            "no noise changes it by a share of its spread. Give a layer that varies, or data."
        )
    return variance, deviation


def _most(deviation: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    if not (deviation > 0).all():
        raise ValueError(
            "All numbers of an input are equal, so they do not tell how much noise is much. "
            "Give a scale, such as ten standard deviations of the table of embeddings."
        )
    return deviation


def _check(
    model: object, layer: str | None, x: Tensor, data: Tensor | None, scale: float | None,
    rate: float, steps: int, samples: int, tolerance: float, batch_size: int | None,
) -> None:  # fmt: skip
    admission.differentiable(x)
    if x.ndim != 3 or x.shape[1] == 0 or x.shape[2] == 0:
        raise ValueError(
            f"There is no word: x has shape {tuple(x.shape)}. Give [batch, tokens, width]."
        )
    if data is not None and (data.ndim != 3 or len(data) == 0):
        raise ValueError(
            f"Nothing can be learnt of the model's states from data of shape {tuple(data.shape)}. "
            "Give [texts, tokens, width], or none."
        )
    if not rate > 0:
        raise ValueError(
            f"A rate of {rate} makes noise worth nothing, so that no word gets any. "
            "Give a number above 0, such as 0.1."
        )
    if scale is not None and not scale > 0:
        raise ValueError(f"Noise of at most {scale} is none. Give a scale above 0.")
    if steps < 1 or not tolerance >= 0:
        raise ValueError(
            f"{steps} steps to a tolerance of {tolerance} are no search. Give at least 1 step and "
            "a tolerance of at least 0."
        )
    if samples < 2 or samples % 2:
        raise ValueError(
            f"Noise is drawn in pairs of opposite sign, but samples is {samples}. "
            "Give an even number of at least 2."
        )
    if layer is not None and not isinstance(model, nn.Module):
        raise TypeError(
            f"Layer {layer!r} is looked for in a module, but the model is a "
            f"{type(model).__name__}. Give an nn.Module, or a function that returns the state."
        )
    admission.batched(batch_size)
