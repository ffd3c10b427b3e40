"""Universality: which kinds of model an explanation works for, found by trying each."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unmask.card import method
from unmask.evaluation.explained import Explain
from unmask.evaluation.trial import on_trial
from unmask.players import Players
from unmask.results import Attribution, Measurement
from unmask.score import Score

VERDICTS = ("ok", "refused", "wrong", "crash")
"""What may become of an explanation on a kind of model; the first two are as they should be."""
APART = 0.5
"""Two players are clearly apart if what they are worth differs by this share of the most."""


@dataclass(frozen=True)
class Kind:
    """A kind of model, in the person of a small one whose truth is known.

    Args:
        name: of the kind.
        score: what is explained.
        x: the inputs.
        baseline: the input that stands for nothing.
        players: the parts of an input, few enough for all their coalitions to be asked for.
        truth: what each player of each input is worth: its Shapley value.
        data: inputs to learn from, where a method wants some.
        layer: of the model, where a method wants one: the last that keeps places apart.
    """

    name: str
    score: Score
    x: Shaped[Tensor, "batch *input"]
    baseline: Shaped[Tensor, "*input"]
    players: Players
    truth: Float[Tensor, "batch players"]
    data: Shaped[Tensor, "rows *input"] | None = None
    layer: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of an explanation on a kind of model.

    Args:
        verdict: from VERDICTS.
        reason: the message of the refusal or the error, or what is wrong; nothing if all is well.
        agreement: with the truth, if it ran.
    """

    verdict: str
    reason: str = ""
    agreement: float | None = None


@method("fan2021interpretability", "kendall1938new")
def universality(
    kinds: Sequence[Kind],
    *,
    explain: Explain | Mapping[str, Explain],
    tolerance: float | None = None,
    agreement: float = 0.8,
) -> Measurement:
    r"""For which share of the kinds of model an explanation works, where it refuses, and fails.

    $$
    U = \frac{1}{K} \sum_k [\text{ok}_k], \qquad
    \tau = \operatorname{mean}_{(i,j):\; \phi_i - \phi_j > \frac12 \max |\phi|}
    \operatorname{sign}(a_i - a_j)
    $$

    On each kind the explanation is made, and is one of four. It is ok if it orders the players as
    the truth does: Kendall's tau, over the pairs that are clearly apart in the Shapley values and
    averaged over the inputs, exceeds `agreement`; and, where that is promised, its values add up
    to F(x) - F(baseline). It is refused if it raises a TypeError or a ValueError that says what
    is wrong and what to do. It is wrong if it runs, but says something else: the one case that
    misleads, so that `wrong` is to be 0. All else is a crash.

    Pairs that are nearly worth the same are left out, as methods differ in what they mean by
    worth: a gradient and a Shapley value agree on what matters and on what does not, hardly on
    more. The curve `verdict` is the place of the verdict of each kind in that list, from 0.
    `unmask.zoo.kinds` has kinds to try on.

    >>> from unmask.planted import linear_network
    >>> from unmask import features, logit
    >>> network = linear_network(torch.tensor([4.0, 3.0, 0.0, 0.0]))
    >>> kind = Kind("linear", logit(network, 0), torch.ones(1, 4), torch.zeros(4), features(4),
    ...     truth=torch.tensor([[4.0, 3.0, 0.0, 0.0]]))
    >>> def explain(score, x):
    ...     return Attribution(network[0].weight.detach() * x)
    >>> universality([kind], explain=explain, tolerance=1e-6).numbers["universality"]
    1.0

    Args:
        kinds: what it is tried on.
        explain: makes explanations; where a method wants more than a score and inputs (players,
            a layer), one such function for each kind, by its name.
        tolerance: what the values may miss of F(x) - F(baseline), as a share of it; None where
            the explanation promises no such sum.
        agreement: the least tau.
    """
    if len(kinds) == 0:
        raise ValueError("There are no kinds of model to try. Give one at least.")
    outcomes = [tried_on(kind, _for(kind, explain), tolerance, agreement) for kind in kinds]
    codes = torch.tensor([float(VERDICTS.index(outcome.verdict)) for outcome in outcomes])
    numbers = {"universality": float((codes == 0).double().mean()), "kinds": float(len(kinds))}
    for code, verdict in enumerate(VERDICTS):
        numbers[verdict] = float((codes == code).sum())
    for kind, outcome in zip(kinds, outcomes, strict=True):
        if outcome.agreement is not None:
            numbers[f"agreement_{kind.name}"] = outcome.agreement
    return Measurement(numbers, {"verdict": codes}).to(kinds[0].x.device)


def tried_on(
    kind: Kind, explain: Explain, tolerance: float | None = None, agreement: float = 0.8
) -> Outcome:
    """What becomes of an explanation on one kind of model.

    Args:
        kind: of model.
        explain: makes the explanation.
        tolerance: what its values may miss of the sum, if it promises one.
        agreement: the least tau.
    """
    try:
        made = explain(kind.score, kind.x)
    except Exception as error:  # whatever a method does, the other cells of a table go on
        usable = isinstance(error, TypeError | ValueError) and _tells_what_to_do(str(error))
        told = " ".join(str(error).split())
        return Outcome("refused", told) if usable else Outcome("crash", f"{_kind(error)}: {told}")
    if not isinstance(made, Attribution):
        return Outcome("wrong", f"It is no Attribution, but a {_kind(made)}.")
    trial = on_trial(kind.score, kind.x, kind.players, kind.baseline)
    try:
        values = trial.of(made).double()
    except ValueError as error:
        return Outcome("wrong", str(error))
    tau = concordance(values, kind.truth)
    if not tau > agreement:
        return Outcome("wrong", f"Its order agrees with the truth by {tau:.2f} only.", tau)
    if tolerance is None:
        return Outcome("ok", agreement=tau)
    whole, nothing = (end.double() for end in trial.ends())
    told = made.values.double().flatten(1).sum(1)  # of what nobody owns too, which may get some
    missed = ((whole - nothing - told).abs() / (whole - nothing).abs()).max()
    if not missed <= tolerance:
        return Outcome("wrong", f"Its sum misses {float(missed):.1%} of the score's change.", tau)
    return Outcome("ok", agreement=tau)


def concordance(
    values: Float[Tensor, "batch players"], truth: Float[Tensor, "batch players"]
) -> float:
    """Kendall's tau over the pairs of players that are clearly apart in truth.

    Args:
        values: what is said of the players.
        truth: what they are worth.
    """
    truth = truth.to(values)
    apart = truth[:, :, None] - truth[:, None] > APART * truth.abs().amax(1)[:, None, None]
    order = (values[:, :, None] - values[:, None]).sign()
    return float(((order * apart).sum((1, 2)) / apart.sum((1, 2))).mean())


def _for(kind: Kind, explain: Explain | Mapping[str, Explain]) -> Explain:
    if not isinstance(explain, Mapping):
        return explain
    if kind.name not in explain:
        raise ValueError(
            f"There is no function that explains {kind.name!r}, but of "
            f"{', '.join(map(repr, explain)) or 'nothing'}. Give one for each kind."
        )
    return explain[kind.name]


def _tells_what_to_do(message: str) -> bool:
    """Whether there are two sentences at least: what is wrong, and what to do."""
    return re.search(r"\S\. [A-Z].*\.$", " ".join(message.split())) is not None


def _kind(thing: object) -> str:
    return type(thing).__name__
