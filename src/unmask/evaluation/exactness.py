"""Exactness: does an explanation say how much, and is the number right?"""

from collections.abc import Mapping
from math import comb

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unmask import admission
from unmask.bootstrap import bootstrap, means
from unmask.card import method
from unmask.evaluation.association import spearman
from unmask.evaluation.explained import Explain, explained
from unmask.evaluation.faithfulness import (
    completeness_gap,
    contribution_fidelity,
    deletion,
    faithfulness_correlation,
    insertion,
    logic_fidelity,
    removal_infidelity,
    sensitivity_n,
    surrogate_r2,
)
from unmask.evaluation.references import reference_attributions
from unmask.evaluation.trial import Masks, Trial, on_trial
from unmask.game import LARGEST_TABLE
from unmask.lattice import coalitions, indices
from unmask.lattice import sizes as sizes_of
from unmask.players import Players
from unmask.results import Attribution, Measurement, Rating
from unmask.score import Score

_AT_ONCE = 2**18
"""Masks that are looked up at a time."""


@method("fan2021interpretability")
def exactness(
    score: Score,
    x: Shaped[Tensor, "batch *input"],
    *,
    explain: Explain,
    baseline: Shaped[Tensor, "*background"],
    players: Players,
    truth: Attribution | None = None,
    largest: int = 12,
    samples: int = 100,
    tolerance: float = 0.01,
    logic: bool = False,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Measurement:
    r"""Rate the numbers of an explanation: do they add up, come true, and agree with the truth?

    $$
    \mathrm{gap} = \frac{|F(x) - F(x') - \sum_i a_i|}{|F(x) - F(x')|}, \qquad
    \mathrm{error} = \frac{\sum_i |a_i - a^*_i|}{\sum_i |a^*_i|}
    $$

    - `quantitative`: for which share of the inputs the explanation promises to add up, and does.
    - `completeness_gap`: by how much it does not.
    - `deletion` (lower is better), `insertion`, `faithfulness_correlation`, `sensitivity_n`: does
      the score fall with the players that are said to matter? They see order and proportions;
      the first two are mean scores on the way, in the unit of F.
    - `surrogate_r2`, `removal_infidelity` (lower is better): the size of the numbers as well.
    - `contribution_fidelity`, with few players, and `logic_fidelity`: against all 2^n masks.
    - `truth_error` (lower is better) and `truth_rank`: against a*, if that is known. Without a
      truth that is given, an explanation that promises to add up is held to the Shapley values,
      found from all masks where there are few players. It is a convention, not a law: where
      players interact there are other ways to share a score out.

    Each is a mean over the inputs for which it has a meaning, with the ends of its interval. The
    first four are also there for attributions that know nothing of the model, as `random_deletion`
    and so on, and `deletion_lead` is by how much the explanation does better than the best of
    these on the same inputs: where its interval holds 0, nothing has been shown.

    >>> from unmask.planted import linear_network
    >>> from unmask import features, logit
    >>> network = linear_network(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    >>> def contribution(score, x):
    ...     return Attribution(network[0].weight.detach() * x, gap=torch.zeros(len(x)))
    >>> found = exactness(logit(network, 0), torch.rand(5, 4, generator=torch.Generator()),
    ...     explain=contribution, baseline=torch.zeros(4), players=features(4))
    >>> found.numbers["quantitative"], found.numbers["truth_error"] < 1e-6
    (1.0, True)

    Args:
        score: F; of a class of each input's own, or of one for all.
        x: the inputs.
        explain: makes a.
        baseline: x', what stands where a player is removed.
        players: what a is rated by: what is said of a player's positions is added up.
        truth: a*, shaped like the inputs or with a column per player.
        largest: players up to which all masks are asked; everything is read from these then.
        samples: masks that are drawn where something is averaged over them.
        tolerance: the gap up to which values add up.
        logic: whether the explanation is held to the sparsest AND and OR terms too, which takes up
            to a second per input; 20 players at most.
        generator: source of the masks, of the random attributions and of the intervals.
        batch_size: inputs that are explained, and that the model is given, at a time.
    """
    if not 0 <= largest <= LARGEST_TABLE or tolerance < 0:
        raise ValueError(
            f"All masks of {largest} players, or a tolerance of {tolerance}, make no sense here. "
            f"Give up to {LARGEST_TABLE} players, and a tolerance of at least 0."
        )
    admission.batched(batch_size)
    generator = admission.drawing(generator)
    trial = on_trial(score, x, players, baseline, batch_size=batch_size)
    references = reference_attributions(x, baseline, generator=generator)
    promised: list[bool] = []

    def watched(of: Score, points: Tensor) -> Attribution:
        made = explain(of, points)
        promised.append(getattr(made, "gap", None) is not None)
        return made

    attribution = explained(score, x, watched, batch_size=batch_size)
    few = len(trial.names) <= largest
    if few:
        trial = _tabulated(trial)
    gap = completeness_gap(trial, attribution, relative=True).values.double()
    ranked = _ranked(trial, attribution, samples, generator)
    ratings = dict(ranked) | _sized(trial, attribution, samples, generator)
    if few:
        ratings["contribution_fidelity"] = contribution_fidelity(trial, attribution)
    if logic:
        ratings["logic_fidelity"] = logic_fidelity(trial, attribution)
    columns = {
        "quantitative": ((gap <= tolerance) & all(promised)).double(),
        "completeness_gap": gap,
    }
    columns |= {name: rating.values.double() for name, rating in ratings.items()}
    if truth is not None or (few and all(promised)):
        known = trial.of(truth) if truth is not None else _shapley(trial)
        columns |= _beside(trial.of(attribution).double(), known.double())
    beside = {name: _ranked(trial, one, samples, generator) for name, one in references.items()}
    columns |= {
        f"{reference}_{name}": rating.values.double()
        for reference, rated in beside.items()
        for name, rating in rated.items()
    }
    columns |= {f"{name}_lead": _lead(name, ranked, beside) for name in ranked}
    numbers = _with_intervals(columns, generator)
    curves, panels = _curves(ranked, beside["random"])
    return Measurement(numbers, curves, panels).to(x.device)


def _ranked(
    trial: Trial, attribution: Attribution, samples: int, generator: torch.Generator
) -> dict[str, Rating]:
    """What order and proportions of an attribution are worth; all are asked the same masks."""
    return {
        "deletion": deletion(trial, attribution, normalized=False),
        "insertion": insertion(trial, attribution, normalized=False),
        "faithfulness_correlation": faithfulness_correlation(
            trial, attribution, samples=samples, generator=_again(generator)
        ),
        "sensitivity_n": sensitivity_n(
            trial, attribution, samples=samples, generator=_again(generator)
        ),
    }


def _sized(
    trial: Trial, attribution: Attribution, samples: int, generator: torch.Generator
) -> dict[str, Rating]:
    """What the size of the numbers is worth as well."""
    return {
        "surrogate_r2": surrogate_r2(
            trial, attribution, samples=samples, generator=_again(generator)
        ),
        "removal_infidelity": removal_infidelity(
            trial, attribution, samples=samples, generator=_again(generator)
        ),
    }


def _again(generator: torch.Generator) -> torch.Generator:
    """A generator that gives what this one will give, so that all are asked the same."""
    return torch.Generator(generator.device).set_state(generator.get_state())


def _tabulated(trial: Trial) -> Trial:
    """The same trial, with the scores of all masks found once and looked up from then on."""
    n = len(trial.names)
    bits = 2 ** torch.arange(n)
    table = trial.ask(lambda _, k: (k[:, None] & bits.to(k.device)) > 0, 2**n)

    def ask(masks: Masks, count: int) -> Tensor:
        every = torch.arange(len(table) * count, device=table.device)
        found = [
            table[some // count, indices(masks(some // count, some % count))]
            for some in every.split(_AT_ONCE)
        ]
        return torch.cat(found).view(len(table), count)

    return Trial(ask, trial.inputs, trial.names, trial.total)


def _shapley(trial: Trial) -> Float[Tensor, "inputs players"]:
    """The mean of what each player adds, over all orders in which players can come."""
    n = len(trial.names)
    masks = coalitions(n)
    v = trial.under(masks).double()
    size = sizes_of(n)
    before = torch.tensor([1 / (n * comb(n - 1, s)) for s in range(n)], dtype=torch.float64)
    # With the player the mask is one larger than those who came before.
    weight = torch.where(masks, before[(size - 1).clamp(min=0)][:, None], 0)
    weight -= torch.where(masks, 0, before[size.clamp(max=n - 1)][:, None])
    return v @ weight.to(v)


def _beside(
    values: Float[Tensor, "inputs players"], truth: Float[Tensor, "inputs players"]
) -> dict[str, Tensor]:
    """How far values are from the truth; NaN where the truth is that nothing matters."""
    size = truth.abs().sum(1)
    error = (values - truth).abs().sum(1) / size
    return {
        "truth_error": torch.where(size > 0, error, torch.nan),
        "truth_rank": spearman(values, truth),
    }


def _lead(
    name: str, ranked: Mapping[str, Rating], beside: Mapping[str, Mapping[str, Rating]]
) -> Float[Tensor, " inputs"]:
    """By how much each input is rated better than by the reference that does best on average."""
    sign = 1 if ranked[name].higher_is_better else -1
    best = max((rated[name].values * sign for rated in beside.values()), key=_mean)
    return (ranked[name].values * sign - best).double()


def _mean(values: Tensor) -> float:
    known = float(values.double().nanmean())
    return known if known == known else -torch.inf  # a reference without a rating leads nothing


def _with_intervals(
    columns: Mapping[str, Float[Tensor, " inputs"]], generator: torch.Generator
) -> dict[str, float]:
    """The mean of each column over the inputs, with the ends of its interval."""
    table = torch.stack([column.cpu() for column in columns.values()], 1)
    found = bootstrap(
        lambda weights: {"mean": means(weights, table)}, len(table), generator=_again(generator)
    )
    return {
        name + end: float(found[f"mean{end}"][place])
        for place, name in enumerate(columns)
        for end in ("", "_low", "_high")
    }


def _curves(
    ranked: Mapping[str, Rating], chance: Mapping[str, Rating]
) -> tuple[dict[str, Tensor], dict[str, tuple[str, ...]]]:
    """The mean curves of deletion and insertion, beside those of random attributions."""
    curves: dict[str, Tensor] = {}
    panels: dict[str, tuple[str, ...]] = {}
    for name, at in (("deletion", "removed"), ("insertion", "inserted")):
        drawn = {f"{name}_curve": ranked[name], f"random_{name}_curve": chance[name]}
        places = ranked[name].at
        assert places is not None
        curves[at] = places.cpu()
        for title, rating in drawn.items():
            assert rating.curve is not None
            curves[title] = rating.curve.nanmean(0).cpu()
        panels[name] = (at, *drawn)
    return curves, panels
