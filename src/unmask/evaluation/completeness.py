"""Completeness in the survey's sense: for how many inputs the explanation holds water."""

from collections import Counter
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.evaluation.association import constant
from unmask.evaluation.explained import Explain
from unmask.evaluation.trial import Trial, on_trial, spread
from unmask.players import Players
from unmask.results import Attribution, Measurement
from unmask.score import Score

REASONS = ("raised", "unusable", "not_finite", "constant", "misses_sum", "no_better_than_random")
"""Why an explanation does not count, in the order in which that is asked; places count from 1."""
_LEAST = 1e-6
"""A score that changes by less has no sum of which a share could be missed."""
_AT_ONCE = 2**22
"""Random values that are held at a time."""
_NORMAL = 1.959963984540054
"""Standard deviations about the mean of a normal number that hold 95 % of it."""


@method("fan2021interpretability", "wilson1927probable", "bhatt2020evaluating")
def completeness(
    score: Score,
    x: Shaped[Tensor, "batch *input"],
    *,
    explain: Explain,
    baseline: Shaped[Tensor, "*background"],
    players: Players,
    strata: Int[Tensor, " numbers"] | None = None,
    tolerance: float | None = None,
    level: float = 0.95,
    samples: int = 100,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Measurement:
    r"""For which share of the inputs there is an explanation that is worth the name.

    $$
    \hat p = \frac{1}{N} \sum_b [b \text{ is valid}], \qquad
    p \in \frac{\hat p + \frac{z^2}{2N} \pm
    z \sqrt{\frac{\hat p (1 - \hat p)}{N} + \frac{z^2}{4N^2}}}{1 + \frac{z^2}{N}}
    $$

    This is completeness over instances and kinds of data, not the axiom that values add up. An
    explanation is valid if it is made without an error, is finite, does not say the same of all
    players, adds up where that is promised, and is better than chance: over random coalitions of a
    fifth of the players, the sum of what is said of them correlates with what their removal takes
    from F more closely than does a share `level` of random attributions. Of two players none can
    be better than chance, and of three or four it takes nearly a perfect order.

    An explainer that raises ends nothing: the inputs are tried in ever smaller batches, down to
    each alone. `valid` stands with its 95 % interval (Wilson, z = 1.96), and behind it how many
    inputs fail for each of the reasons, the first that applies; errors also by their kind, as
    `raised_ValueError`. The curve `reason` is 0 for a valid input, else the place of its reason in
    that list, from 1. With strata there are the same shares of each, and the `worst` of them.

    >>> from unmask.planted import linear_network
    >>> from unmask import features, logit
    >>> network = linear_network(torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0, 0.0]))
    >>> def explain(score, x):
    ...     if (x[:, 0] > 1).any():
    ...         raise ValueError("This is too much.")
    ...     return Attribution(network[0].weight.detach() * x)
    >>> found = completeness(logit(network, 0), torch.tensor([[1.0], [2.0]]).expand(2, 6),
    ...     explain=explain, baseline=torch.zeros(6), players=features(6))
    >>> found.numbers["valid"], found.numbers["raised_ValueError"]
    (0.5, 1.0)

    Args:
        score: F.
        x: the inputs.
        explain: makes the explanations.
        baseline: what stands where a player is removed.
        players: who is removed.
        strata: the stratum of each input: its class, say, or the kind of its data.
        tolerance: what the values may miss of F(x) less F without all players, as a share of it;
            None where the explanation promises no such sum.
        level: the share of random attributions that a valid explanation surpasses.
        samples: coalitions that are removed.
        generator: source of the coalitions and of the random attributions.
        batch_size: inputs that are explained, and that the model is given, at a time.
    """
    trial = on_trial(score, x, players, baseline, batch_size=batch_size)
    _check(x, strata, tolerance, level, samples)
    generator = admission.drawing(generator)
    values, total, reason, errors = _explanations(trial, score, x, explain, batch_size)
    reason[(reason == 0) & constant(values)] = _code("constant")
    if tolerance is not None:
        whole, nothing = (end.double() for end in trial.ends())
        missed = (whole - nothing - total).abs() / (whole - nothing).abs().clamp(_LEAST)
        reason[(reason == 0) & (missed > tolerance)] = _code("misses_sum")
    better = _better_than_random(trial, values, level, samples, generator)
    reason[(reason == 0) & ~better] = _code("no_better_than_random")

    valid = (reason == 0).double()
    numbers = {"valid": valid.mean()}
    numbers["valid_low"], numbers["valid_high"] = _wilson(valid.mean(), valid.new_tensor(len(x)))
    numbers["inputs"] = valid.new_tensor(len(x))
    for place, name in enumerate(REASONS, 1):
        numbers[name] = (reason == place).sum()
    counted = {name: float(number) for name, number in numbers.items()}
    counted |= {f"raised_{name}": float(count) for name, count in sorted(errors.items())}
    curves = {"reason": reason.cpu().float()}
    if strata is None:
        return Measurement(counted, curves).to(x.device)
    found = _by_stratum(valid.cpu(), strata.cpu())
    worst = int(found["valid_by_stratum"].argmin())
    counted["worst"] = float(found["valid_by_stratum"][worst])
    counted["worst_stratum"] = float(found["stratum"][worst])
    panels = {"valid by stratum": ("stratum", "valid_by_stratum")}
    return Measurement(counted, found | curves, panels).to(x.device)


def _explanations(
    trial: Trial, score: Score, x: Tensor, explain: Explain, batch_size: int | None
) -> tuple[
    Float[Tensor, "batch players"], Float[Tensor, " batch"], Int[Tensor, " batch"], Counter[str]
]:
    """What is said of each player and in all, why not where it is not, and the errors."""
    n = len(trial.names)
    of_players = torch.zeros(len(x), n, dtype=torch.float64, device=x.device)
    of_positions = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
    reason = torch.zeros(len(x), dtype=torch.long, device=x.device)
    errors: Counter[str] = Counter()
    every = torch.arange(len(x), device=x.device)
    for some in every.split(batch_size or len(x)):
        for rows, made in _tried(score, x, explain, some):
            if isinstance(made, Exception):
                reason[rows] = _code("raised")
                errors[type(made).__name__] += 1
                continue
            if made is None:
                reason[rows] = _code("unusable")
                continue
            said = made.values.detach()
            if said.shape[1:] != (n,):
                said = spread(said, x[rows].shape)
            # As in Trial.of: where both would fit, columns are positions unless the names tell.
            named = made.names == trial.names or x.shape[1:] != (n,)
            place = of_players if said.shape[1:] == (n,) and named else of_positions
            if said.shape != place[rows].shape:
                reason[rows] = _code("unusable")
                continue
            finite = said.flatten(1).isfinite().all(1)
            reason[rows[~finite]] = _code("not_finite")
            place[rows[finite]] = said[finite].to(place)
    # What nobody owns may be told something too, and counts towards the sum.
    total = of_players.sum(1) + of_positions.flatten(1).sum(1)
    return of_players + trial.of(Attribution(of_positions)), total, reason, errors


def _tried(
    score: Score, x: Tensor, explain: Explain, rows: Int[Tensor, " rows"]
) -> Iterator[tuple[Int[Tensor, " rows"], Attribution | Exception | None]]:
    """The explanations of batches of inputs; those of a batch that fails, half by half."""
    try:
        made = explain(score.at(rows), x[rows])
    except Exception as error:  # whatever an explainer does, the other inputs go on
        if len(rows) == 1:
            yield rows, error
            return
        for half in rows.tensor_split(2):
            yield from _tried(score, x, explain, half)
        return
    yield rows, made if isinstance(made, Attribution) else None


def _better_than_random(
    trial: Trial,
    values: Float[Tensor, "batch players"],
    level: float,
    samples: int,
    generator: torch.Generator,
) -> Bool[Tensor, " batch"]:
    """Whether values tell better than most random ones what removing players does."""
    n, draws = values.shape[1], 1000
    order = torch.rand(samples, n, generator=generator, device=generator.device).argsort(1)
    removed = (order < max(1, round(n / 5))).to(values.device)
    whole, _ = trial.ends()
    drops = _standard(whole[:, None].double() - trial.under(~removed).double())
    who = removed.to(values).T
    random = []
    for some in torch.arange(draws).split(max(16, _AT_ONCE // n)):
        rows = torch.randn(len(some), n, generator=generator, device=generator.device)
        random.append(rows.to(values) @ who)
    said, guessed = _standard(values @ who), _standard(torch.cat(random))
    return (said * drops).sum(1) > (drops @ guessed.T).quantile(level, 1)


def _standard(rows: Float[Tensor, "rows numbers"]) -> Float[Tensor, "rows numbers"]:
    """Rows whose products are correlations. One that is constant correlates with nothing: NaN."""
    centred = (rows - rows.mean(1, keepdim=True)) / rows.abs().amax(1, keepdim=True)
    centred = torch.where(constant(rows)[:, None], torch.nan, centred)
    return centred / centred.norm(dim=1, keepdim=True)


def _by_stratum(
    valid: Float[Tensor, " batch"], strata: Int[Tensor, " batch"]
) -> dict[str, Float[Tensor, " strata"]]:
    names, places = strata.unique(return_inverse=True)
    count = torch.zeros(len(names), dtype=torch.float64).index_add_(0, places, valid * 0 + 1)
    share = torch.zeros_like(count).index_add_(0, places, valid) / count
    low, high = _wilson(share, count)
    return {
        "stratum": names.double(),
        "valid_by_stratum": share,
        "valid_by_stratum_low": low,
        "valid_by_stratum_high": high,
        "inputs_by_stratum": count,
    }


def _wilson(share: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """The interval of a share of so many."""
    spread = _NORMAL**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = (share * (1 - share) * spread + spread**2 / 4).sqrt() / (1 + spread)
    return (centre - half).clamp(0, 1), (centre + half).clamp(0, 1)


def _code(name: str) -> int:
    return 1 + REASONS.index(name)


def _check(
    x: Tensor, strata: Tensor | None, tolerance: float | None, level: float, samples: int
) -> None:
    if strata is not None and strata.shape != (len(x),):
        raise ValueError(
            f"There are {len(x)} inputs, but strata has shape {tuple(strata.shape)}. "
            "Give one whole number per input."
        )
    if tolerance is not None and not tolerance >= 0:
        raise ValueError(
            f"The tolerance is a share of the score's change, but got {tolerance}. "
            "Give a number of at least 0, or None."
        )
    if not 0 < level < 1:
        raise ValueError(
            f"The level is a share of random attributions, but got {level}. "
            "Give a number between 0 and 1."
        )
    if samples < 2:
        raise ValueError(
            f"A correlation over {samples} coalitions says nothing. Give at least 2 samples."
        )
