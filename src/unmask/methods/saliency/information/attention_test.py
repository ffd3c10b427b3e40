"""Whether attention explains: the tests of Jain and Wallace."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import kendalltau
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.internals import frozen, plain
from unmask.methods.saliency.information.adversary import furthest_attention, total_variation
from unmask.results import Measurement

_ROWS = 2**20
"""Numbers in one call of the model at most, where no batch is given."""


@runtime_checkable
class Attentive(Protocol):
    """A model that can be asked for its attention, and answer with another.

    `encode` makes a state of each word, `attend` gives each a share of the attention, zero where
    the mask says that there is no word, and `decode` answers: a row of logits per input, or one
    logit for two classes.
    """

    def encode(
        self, x: Float[Tensor, "batch tokens width"], mask: Bool[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch tokens *state"]: ...

    def attend(
        self, states: Float[Tensor, "batch tokens *state"], mask: Bool[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch tokens"]: ...

    def decode(
        self, states: Float[Tensor, "batch tokens *state"], weights: Float[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch *classes"]: ...


@method("jain2019attention", "wiegreffe2019attention")
def attention_test(
    model: Attentive,
    x: Float[Tensor, "batch tokens width"],
    *,
    mask: Bool[Tensor, "inputs words"] | None = None,
    samples: int = 100,
    candidates: int = 5,
    change: float = 0.01,
    steps: int = 500,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Measurement:
    r"""Test whether a model's attention explains its answers.

    $$
    \tau(a, g), \qquad
    \mathrm{median}_\pi\, \mathrm{TVD}\bigl(y(\pi a), y(a)\bigr), \qquad
    \max_{a'} \bigl\{ \mathrm{JSD}(a', a) : \mathrm{TVD}(y(a'), y(a)) \le \epsilon \bigr\}
    $$

    No attribution but three tests of one, each a curve with a value per input. If attention
    explains, then (1) it ranks words as other importances do: `tau_gradient` and
    `tau_leave_one_out` are Kendall's tau-b with |x . dy/dx| (the attention held fixed) and with
    how far the answer moves when the word is taken out of the text; (2) other attention means
    another answer: `permuted_change` is the median total variation when the weights are permuted,
    to be read against `largest_weight`; (3) no quite different attention gives the same answer:
    `adversarial_distance` is the largest Jensen-Shannon divergence, at most log 2 = 0.693, that
    was found without moving the answer by more than `change`, a lower bound of what there is.
    `uniform_change` says how far uniform attention moves the answer. Where it hardly does, the
    task needs no attention, and its weights cannot be expected to explain.

    Wiegreffe and Pinter hold against such tests that attention is not independent of the rest of
    the model: weights that were made up for one input need not be those of any model. They compare
    with the spread of trained models between seeds, train the adversary as a model, and freeze
    attention at uniform and train again; for the last there is `uniform_baseline`. So what the
    third test finds speaks against one input's weights as the only explanation, not against all
    that attention tells.

    Inputs of fewer than two words are skipped and counted; their values are NaN, as is tau where
    all weights or all importances are equal.

    Args:
        model: with `encode`, `attend` and `decode` (`Attentive`).
        x: the embeddings of the words.
        mask: True where there is a word; without one, everywhere.
        samples: permutations.
        candidates: attentions that are sought together in the third test.
        change: epsilon.
        steps: of the search in the third test.
        generator: source of permutations and of first candidates, which all inputs share.
        batch_size: inputs or attentions in one call of the model.

    >>> class Mean:  # looks at what is large, and averages what it sees
    ...     def encode(self, x, mask):
    ...         return x[..., 0]
    ...     def attend(self, states, mask):
    ...         return states.softmax(1)
    ...     def decode(self, states, weights):
    ...         return (states * weights).sum(1)
    >>> found = attention_test(Mean(), torch.tensor([[[1.0], [2.0], [3.0]]]), steps=10)
    >>> round(found.numbers["tau_gradient"], 3)
    1.0
    """
    mask = _check(model, x, mask, samples, candidates, change, steps, batch_size)
    admission.settled(model)
    generator = admission.drawing(generator)
    rows = batch_size or max(1, _ROWS // max(1, x[0].numel()))
    with torch.inference_mode(False), frozen(model):
        x = plain(x)
        mask = mask.to(x.device).clone()
        with torch.no_grad():
            test = Trial(model, x, mask, _states(model, x, mask, rows), rows)
            weights = test.weights()
            answers = test.answers(weights)
            uniform = mask / mask.sum(1, keepdim=True)
            taus = {
                "tau_gradient": _taus(weights, test.slopes(), mask),
                "tau_leave_one_out": _taus(weights, test.omissions(answers), mask),
            }
            curves = {
                "largest_weight": weights.amax(1),
                **{name: tau for name, (tau, _) in taus.items()},
                "permuted_change": test.permuted(weights, answers, samples, generator),
            }
        with torch.enable_grad():
            curves["adversarial_distance"] = furthest_attention(
                test.decoded, weights, answers, mask, change=change, candidates=candidates,
                steps=steps, rows=rows, generator=generator,
            )  # fmt: skip
        with torch.no_grad():
            flat = torch.cat([test.decoded(i, uniform[i].to(weights)) for i in test.everyone()])
            curves["uniform_change"] = total_variation(flat, answers)
    tested = mask.sum(1) > 1
    for name, curve in curves.items():
        curves[name] = torch.where(tested, curve.double(), torch.nan)
    numbers = _numbers(curves, {name: p for name, (_, p) in taus.items()})
    kept = (flat.argmax(1) == answers.argmax(1))[tested].double().mean()
    counts = {"inputs": float(len(x)), "skipped": float((~tested).sum())}
    return Measurement(counts | numbers | {"uniform_same_class": float(kept)}, curves)


def uniform_baseline(model: Attentive) -> Attentive:
    """The same model with attention frozen at uniform, as a module to be trained.

    If it learns the task as well as the model does, attention is not what the model needs. It
    shares its parameters with the model: copy the model first to keep that as it is.

    Args:
        model: with `encode`, `attend` and `decode`.
    """
    return UniformAttention(model)


class UniformAttention(torch.nn.Module):
    """A model whose attention is the same on all words.

    Args:
        model: all that is not attention.
    """

    def __init__(self, model: Attentive) -> None:
        super().__init__()
        self.model = model

    def encode(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.model.encode(x, mask)

    def attend(self, states: Tensor, mask: Tensor) -> Tensor:
        return (mask / mask.sum(1, keepdim=True).clamp(min=1)).to(states)

    def decode(self, states: Tensor, weights: Tensor) -> Tensor:
        return self.model.decode(states, weights)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """The answer to embeddings, for training."""
        states = self.encode(x, mask)
        return self.decode(states, self.attend(states, mask))


@dataclass(frozen=True)
class Trial:
    """A model, its inputs, and what is asked of both, in batches.

    Args:
        model: the model.
        x: the embeddings.
        mask: True where there is a word.
        states: of the words; whatever attention is tried, they stay.
        rows: inputs in one call.
    """

    model: Attentive
    x: Float[Tensor, "batch tokens width"]
    mask: Bool[Tensor, "batch tokens"]
    states: Float[Tensor, "batch tokens *state"]
    rows: int

    def everyone(self) -> Iterator[Int[Tensor, " rows"]]:
        """All inputs, as many at a time as go into one call."""
        yield from torch.arange(len(self.x), device=self.x.device).split(self.rows)

    def weights(self) -> Float[Tensor, "batch tokens"]:
        """The attention of the model, checked."""
        weights = torch.cat(
            [self.model.attend(self.states[i], self.mask[i]) for i in self.everyone()]
        )
        if weights.shape != self.mask.shape:
            raise ValueError(
                f"Attention has shape {tuple(weights.shape)} for inputs of shape "
                f"{tuple(self.x.shape)}. Return one weight per word from `attend`."
            )
        weights = weights.to(torch.promote_types(weights.dtype, torch.float32))
        loose = 1e-5 if self.x.dtype in (torch.float32, torch.float64) else 0.02
        shares = (weights * self.mask).sum(1)
        there = self.mask.any(1)
        off = ((shares - 1).abs() > loose) | (weights < 0).any(1) | ~shares.isfinite()
        if (off & there).any():
            which = int((off & there).nonzero()[0, 0])
            raise ValueError(
                f"The attention on the words of input {which} sums to {float(shares[which]):.6g}. "
                "Return weights from `attend` that sum to 1 over the words; if the rest falls on "
                "padding, give the mask, and heed it in `attend`."
            )
        return torch.where(self.mask, weights, 0.0)

    def answers(self, weights: Float[Tensor, "batch tokens"]) -> Float[Tensor, "batch classes"]:
        """The probabilities that the model gives."""
        return torch.cat([self.decoded(i, weights[i]) for i in self.everyone()])

    def decoded(
        self, index: Int[Tensor, " rows"], weights: Float[Tensor, "rows tokens"]
    ) -> Float[Tensor, "rows classes"]:
        """The probabilities of some inputs, with attention that is given."""
        states = self.states[index]
        return _probabilities(self.model.decode(states, weights.to(states.dtype)))

    def slopes(self) -> Float[Tensor, "batch tokens"]:
        """|x . dy/dx| of the class that is chosen: the gradient of a one-hot code of the words."""
        found = []
        for i in self.everyone():
            with torch.enable_grad():
                point = self.x[i].requires_grad_()
                states = self.model.encode(point.clone(), self.mask[i])
                weights = self.model.attend(states, self.mask[i]).detach()
                chosen = _probabilities(self.model.decode(states, weights)).amax(1).sum()
                slope = None
                if chosen.requires_grad:
                    (slope,) = torch.autograd.grad(chosen, point, allow_unused=True)
            if slope is None:
                raise ValueError(
                    "The answer does not depend on x by any differentiable path, the attention "
                    "held fixed. Look for detach(), argmax or no_grad in `encode` and `decode`."
                )
            found.append((point.detach() * slope).sum(2).abs())
        return torch.cat(found)

    def omissions(self, answers: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch tokens"]:
        """How far the answer moves when a word is taken out and the text closes up."""
        moved = answers.new_zeros(self.mask.shape)
        pairs = (self.mask & (self.mask.sum(1, keepdim=True) > 1)).nonzero()
        tokens = self.mask.shape[1]
        places = torch.arange(tokens - 1, device=self.x.device)
        for part in pairs.split(self.rows):
            if len(part) == 0:
                break
            rows, out = part.unbind(1)
            left = places + (places >= out[:, None])
            x, mask = self.x[rows[:, None], left], self.mask[rows[:, None], left]
            states = self.model.encode(x, mask)
            answer = _probabilities(self.model.decode(states, self.model.attend(states, mask)))
            moved[rows, out] = total_variation(answer, answers[rows])
        return moved

    def permuted(
        self, weights: Tensor, answers: Tensor, samples: int, generator: torch.Generator
    ) -> Float[Tensor, " batch"]:
        """The median change of the answer when the weights change places."""
        keys = torch.rand(
            samples, weights.shape[1], generator=generator, device=generator.device
        ).to(weights.device)
        home = (~self.mask).sort(dim=1, stable=True).indices  # the places of the words come first
        moved = []
        for part in torch.arange(samples * len(weights), device=weights.device).split(self.rows):
            draw, i = part // len(weights), part % len(weights)
            order = (
                keys[draw].masked_fill(~self.mask[i], torch.inf).sort(dim=1, stable=True).indices
            )
            other = torch.zeros_like(weights[i]).scatter(1, home[i], weights[i].gather(1, order))
            moved.append(total_variation(self.decoded(i, other), answers[i]))
        return torch.cat(moved).view(samples, -1).quantile(0.5, dim=0)


def _states(
    model: Attentive, x: Tensor, mask: Tensor, rows: int
) -> Float[Tensor, "batch tokens *state"]:
    parts = zip(x.split(rows), mask.split(rows), strict=True)
    states = torch.cat([model.encode(part.clone(), there) for part, there in parts])
    if states.shape[:2] != x.shape[:2]:
        raise ValueError(
            f"The states have shape {tuple(states.shape)} for inputs of shape {tuple(x.shape)}. "
            "Return a state per word from `encode`."
        )
    return states


def _probabilities(output: Float[Tensor, "rows *classes"]) -> Float[Tensor, "rows classes"]:
    """One logit stands for two classes."""
    if output.ndim not in (1, 2):
        raise ValueError(
            f"`decode` returned shape {tuple(output.shape)}. Return a row of logits per input, or "
            "one logit for two classes."
        )
    z = output.to(torch.promote_types(output.dtype, torch.float32)).reshape(len(output), -1)
    return (torch.cat([torch.zeros_like(z), z], 1) if z.shape[1] == 1 else z).softmax(1)


def _taus(
    weights: Float[Tensor, "batch tokens"],
    importance: Float[Tensor, "batch tokens"],
    mask: Bool[Tensor, "batch tokens"],
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Kendall's tau-b of each input, and its p-value; NaN where it is not defined."""
    found = []
    # SciPy knows no bfloat16.
    pairs = zip(weights.double().cpu(), importance.double().cpu(), mask.cpu(), strict=True)
    for a, g, there in pairs:
        tau = cast(Any, kendalltau(a[there], g[there])) if there.sum() > 1 else None
        found.append((tau.statistic, tau.pvalue) if tau else (torch.nan, torch.nan))
    taus, ps = torch.tensor(found, dtype=torch.float64, device=weights.device).unbind(1)
    return taus, ps


def _numbers(curves: dict[str, Tensor], ps: dict[str, Tensor]) -> dict[str, float]:
    """Mean and standard deviation of each curve over the inputs where it is defined."""
    numbers: dict[str, float] = {}
    for name, curve in curves.items():
        there = curve[~curve.isnan()]
        numbers[name] = float(there.mean())
        if name in ps:
            spread = there.std(correction=0) if len(there) else there.mean()
            numbers[f"{name}_deviation"] = float(spread)
            significant = ps[name][~ps[name].isnan()] < 0.05
            numbers[f"{name}_significant"] = float(significant.double().mean())
    return numbers


def _check(
    model: object, x: Tensor, mask: Tensor | None, samples: int, candidates: int, change: float,
    steps: int, batch_size: int | None,
) -> Bool[Tensor, "batch tokens"]:  # fmt: skip
    if not isinstance(model, Attentive):
        raise TypeError(
            f"The test replaces attention, for which a {type(model).__name__} has no way. Give a "
            "model with encode(x, mask), attend(states, mask) and decode(states, weights)."
        )
    admission.differentiable(x)
    if mask is None:
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    if mask.shape != x.shape[:2]:
        raise ValueError(
            f"The mask has shape {tuple(mask.shape)}, the words {tuple(x.shape[:2])}. "
            "Give True or False for every word."
        )
    if not (mask.sum(1) > 1).any():
        raise ValueError(
            "No input has two words, so there is nothing that attention could choose between. "
            "Give longer inputs, or look at the mask."
        )
    if min(samples, candidates, steps) < 1 or not 0 < change < 1:
        raise ValueError(
            f"{samples} permutations, {candidates} candidates and {steps} steps to an answer that "
            f"changed by {change} are no test. Give at least 1 of each and a change between 0 "
            "and 1, such as 0.01."
        )
    admission.batched(batch_size)
    return mask
