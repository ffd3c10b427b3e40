"""Reward: what explanations are good for, and what they cost."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from unmask import admission
from unmask.card import method
from unmask.evaluation.explained import Explain
from unmask.evaluation.passes import passes_of
from unmask.evaluation.retrained import Train, admit_training, over_repeats
from unmask.evaluation.uses.correct_reasons import SHARES, Correct, repaired
from unmask.evaluation.uses.misled import Misled, answers_of, mislead, said_of
from unmask.evaluation.uses.spot_shortcuts import detected
from unmask.evaluation.uses.student import foreseen
from unmask.internals import plain
from unmask.results import Measurement
from unmask.score import log_odds

_SELECTED = 0.1
"""The share of the positions that the student of a selection is shown."""
_DRAWS = 5
"""Selections by chance."""


@method("hase2020evaluating", "adebayo2022post", "schramowski2020making")
def reward(
    data: Float[Tensor, "batch *input"],
    labels: Int[Tensor, " labels"],
    *,
    explain: Explain,
    train: Train,
    annotation: Bool[Tensor, "*annotated"],
    correct: Correct | None = None,
    repeats: int = 3,
    purity: float = 1.0,
    samples: int = 64,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Measurement:
    r"""Put explanations to use on networks trained for it, and measure what that brings.

    $$
    \begin{aligned}
    \mathrm{cost} &= (\text{forward} + 2\, \text{backward passes}) / \text{explained input} \\
    \mathrm{detection} &= P\bigl(s(M_1) > s(M_0)\bigr) + \tfrac12 P\bigl(s(M_1) = s(M_0)\bigr) \\
    \mathrm{gain} &= \mathrm{acc}\bigl(M_{1 \setminus (T \cap R)}\bigr) - \mathrm{acc}(M_1) \\
    \mathrm{simulation} &= \mathrm{acc}(\text{who sees } x, a) - \mathrm{acc}(\text{who sees } x)
    \end{aligned}
    $$

    Networks M_1 are led to a shortcut R and networks M_0 are not. `detection` says whether
    explanations tell them apart (`spot_shortcuts`), `gain` how much righter M_1 becomes when what
    explanations showed of R is taken away (`correct_reasons`, with its `gain_by_chance`,
    `gain_over_chance`, `gain_of_all` and `recall`).

    `simulation` says how much better a linear student foresees the answer of M_0 if he is given
    the explanation of it beside the input. An explanation could give the answer away by its signs
    alone; `selection` is free of that: the student sees the tenth of the positions of which most is
    said over all inputs, and no explanation, beside one that sees as many at random.

    Costs are counted, not timed: calls of the whole model. What a method does with the layers
    alone is not seen. Intervals are Student's over the trainings; that of `detection` comes from
    networks drawn anew. `prune_units` and `label_errors_found` measure two further uses.

    >>> from unmask.planted import linear_network
    >>> def train(x, y, generator):  # a regression of the classes on the inputs
    ...     wide = torch.cat([x, torch.ones(len(x), 1)], 1)
    ...     return linear_network(torch.linalg.lstsq(wide, 2.0 * y - 1).solution[:-1])
    >>> from unmask.results import Attribution
    >>> def explain(score, x):  # leave out one column after the other
    ...     left = torch.stack([score(x * (1 - one)) for one in torch.eye(4)], 1)
    ...     return Attribution(score(x)[:, None] - left)
    >>> x = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    >>> y = (x[:, 1] + 0.1 * x[:, 3] > 0).long()
    >>> patch = torch.tensor([True, False, False, False])
    >>> found = reward(x, y, explain=explain, train=train, annotation=patch)
    >>> found.numbers["cost"], found.numbers["detection"]
    (5.0, 1.0)

    Args:
        data: inputs without the shortcut, their parts on one scale.
        labels: their classes.
        explain: makes the explanations.
        train: makes a trained network.
        annotation: R, where the shortcut is planted.
        correct: trains a network without what was rejected; see `correct_reasons`.
        repeats: networks of each kind.
        purity: the share of the rows of M_1 in which R tells the class.
        samples: inputs that are explained to find and to repair a shortcut, at most.
        generator: source of the rows, of the shortcuts and of the seeds of the trainings.
        batch_size: inputs that are explained at a time.
    """
    admit_training(data, labels, repeats)
    admission.batched(batch_size)
    generator = admission.drawing(generator)
    runs = mislead(
        data, labels, annotation, explain, train, repeats=repeats, purity=purity, samples=samples,
        controls=True, generator=generator, batch_size=batch_size,
    )  # fmt: skip
    detection, shares = detected(runs, annotation)
    mended = repaired(runs, annotation, train, correct, generator, batch_size)
    each = [
        one | _simulated(run, explain, generator, batch_size)
        for one, run in zip(mended, runs, strict=True)
    ]
    gains = {
        name: torch.tensor([one[name] for one in each])
        for name in ("gain", "gain_by_chance", "gain_of_all")
    }
    return Measurement(
        _cost(runs[0], explain, samples, batch_size)
        | detection
        | over_repeats(each, shares=SHARES),
        {**shares, **gains},
        {
            "Share of the mark": ("repeat", "with_shortcut", "without_shortcut"),
            "Accuracy gained": ("repeat", *gains),
        },
    ).to(data.device)


def _cost(run: Misled, explain: Explain, samples: int, batch_size: int | None) -> dict[str, float]:
    """Passes per explained input."""
    x = run.test[:samples]
    score = log_odds(run.model, answers_of(run.model, x, batch_size))
    passes, _ = passes_of(score, x, explain, batch_size=batch_size)
    return {
        "cost": passes.units / len(x),
        "forward": passes.forward / len(x),
        "backward": passes.backward / len(x),
    }


def _simulated(
    run: Misled, explain: Explain, generator: torch.Generator, batch_size: int | None
) -> dict[str, float]:
    """How much better a student foresees the control, with explanations and with their choice."""
    model: nn.Module = run.control or run.model
    answers = answers_of(model, run.test, batch_size)
    said = plain(said_of(model, run.test, explain, batch_size)).flatten(1)
    x = run.test.flatten(1).to(said)
    of_inputs = foreseen(x, answers)
    n = x.shape[1]
    shown = max(1, round(_SELECTED * n))
    chosen = said.abs().mean(0).topk(shown).indices

    def by_chance() -> float:
        order = torch.randperm(n, generator=generator, device=generator.device).to(x.device)
        return foreseen(x[:, order[:shown]], answers)

    return {
        "simulation": foreseen(torch.cat([x, said], 1), answers) - of_inputs,
        "selection": foreseen(x[:, chosen], answers)
        - sum(by_chance() for _ in range(_DRAWS)) / _DRAWS,
    }
