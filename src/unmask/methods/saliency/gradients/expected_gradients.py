"""Expected gradients, also known as GradientSHAP."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.internals import admit, value_and_gradient
from unmask.methods.saliency.gradients.line_integral import between
from unmask.methods.saliency.gradients.stream import (
    blocks,
    rows_at_once,
    rows_of,
    wide,
)
from unmask.results import Attribution
from unmask.score import Score


@method("erion2021improving", "lundberg2017unified", axioms=("dummy", "linearity"))
def expected_gradients(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    baseline: Float[Tensor, "*background"],
    samples: int = 200,
    noise: float = 0.0,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Attribution:
    r"""Average the gradient over random places between random backgrounds and the input.

    $$
    A_i(x) = \mathbb E_{b,\, \alpha} \Bigl[ (x_i - b_i)\,
             \partial_i F\bigl(b + \alpha (x - b)\bigr) \Bigr], \qquad \alpha \sim U(0, 1)
    $$

    It is what integrated gradients, averaged over all backgrounds, tends to: with enough samples
    the values sum to F(x) less the mean of F over the backgrounds, and `gap` is what is left of
    that. Also known as GradientSHAP, though Shapley values these are only where F is multilinear,
    such as a product of inputs.

    Places and backgrounds are drawn evenly: one place in each of as many equal parts of the line
    as there are samples, and each background as often as any other, in chance pairs; the same for
    all inputs. `errors` of the result are standard errors from the differences of neighbouring
    places. They count what the backgrounds differ by in full, so the true ones are smaller.

    Args:
        score: F, differentiable in its input.
        x: the inputs.
        baseline: b, a set of backgrounds with one axis more than an input, or a single one.
        samples: places per input.
        noise: standard deviation of noise that is added to the points, in the units of x; then
            the values sum to the same only if F is flat to it.
        generator: source of randomness.
        batch_size: points in one call of the model, by default what a processor's cache holds.

    >>> from unmask.score import logit
    >>> product = logit(lambda x: x[:, 0] * x[:, 1], 0)
    >>> found = expected_gradients(
    ...     product, torch.tensor([[2.0, 3.0]]), baseline=torch.zeros(1, 2), samples=2000
    ... )
    >>> found.values.round(decimals=2)
    tensor([[3., 3.]])
    """
    admit(score, x, batch_size)
    if samples < 2:
        raise ValueError(f"{samples} samples tell no standard error. Give at least 2.")
    if not noise >= 0:
        raise ValueError(f"Noise cannot have the size {noise}. Give 0 or more.")
    backgrounds = admission.backgrounds_for(x[0], baseline)
    x = x.detach()
    size = rows_at_once(x, batch_size)
    generator = admission.drawing(generator)
    alpha, chosen = _drawn(samples, len(backgrounds), generator)
    alpha, chosen = alpha.to(x.device), chosen.to(x.device)

    mean = torch.zeros_like(x, dtype=wide(x.dtype))
    squares, before, moved = torch.zeros_like(mean), torch.zeros_like(mean), x[:0]
    started = -1
    for draws, inputs in blocks(len(x), samples, size):
        if noise > 0 and draws.start != started:
            started, moved = draws.start, _noise(x, draws.stop - draws.start, noise, generator)
        starts, some = backgrounds[chosen[draws], None], x[inputs]
        points = between(starts, some, alpha[draws, None])
        if noise > 0:
            points = (points.to(moved) + moved[:, None]).to(x.dtype)
        rows = rows_of(inputs, len(points), x.device)
        _, gradient = value_and_gradient(score, points.flatten(0, 1), rows)
        steps = some.to(mean) - starts.to(mean)
        values = gradient.unflatten(0, points.shape[:2]).to(mean) * steps
        mean[inputs] += values.sum(0) / samples
        # Half the squared difference of two draws is their variance, whatever both depend on.
        chain = torch.cat([before[None, inputs], values]) if draws.start > 0 else values
        squares[inputs] += chain.diff(dim=0).square().sum(0) / 2
        before[inputs] = values[-1]
    errors = (squares / (samples - 1) / samples).sqrt()
    left, spent = _change(score, x, backgrounds, size)
    values = mean.to(x.dtype)
    left = left - values.double().reshape(len(x), -1).sum(1)
    return Attribution(
        values, gap=left, evaluations=samples * len(x) + spent, errors=errors.to(x.dtype)
    )


def _drawn(
    samples: int, backgrounds: int, generator: torch.Generator
) -> tuple[Float[Tensor, " samples"], Int[Tensor, " samples"]]:
    """Places, one in each part of the line, and with each a background."""
    device = generator.device
    kind = {"generator": generator, "device": device}
    offsets = torch.rand(samples, dtype=torch.float64, **kind)
    alpha = (torch.arange(samples, device=device) + offsets) / samples
    rounds = [torch.randperm(backgrounds, **kind) for _ in range(-(-samples // backgrounds))]
    return alpha, torch.cat(rounds)[:samples]


def _noise(x: Tensor, draws: int, noise: float, generator: torch.Generator) -> Tensor:
    """One after the other, so that the batch does not change what is drawn."""
    kind = {"dtype": wide(x.dtype), "device": generator.device}
    one = [torch.randn(x.shape[1:], generator=generator, **kind) for _ in range(draws)]
    return noise * torch.stack(one).to(x.device)


def _change(
    score: Score, x: Tensor, backgrounds: Tensor, size: int
) -> tuple[Float[Tensor, " batch"], int]:
    """F of each input less the mean of F over the backgrounds, and how many inputs that took."""
    rows = torch.arange(len(x), device=x.device)
    with torch.no_grad():
        ends = torch.cat([score(x[some], some).double() for some in rows.split(size)])
        for some in backgrounds.split(size):
            output = score.output(some.clone())  # a model may work in place
            for one in output:  # read once for every input, as each may have its own class
                read = score.of(one.expand(len(x), *one.shape), rows)
                ends -= read.double() / len(backgrounds)
    return ends, len(x) + len(backgrounds)
