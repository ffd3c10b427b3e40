"""What ratings say of a method, in plain sentences, by rules that are written down once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan

from scipy import stats

from unmask.bootstrap import CONFIDENCE
from unmask.results import Rating
from unmask.run.compare.comparison import Against, Metric, Remark


@dataclass(frozen=True)
class Rules:
    """Where the lines are drawn. They are conventions, told so that they can be argued with.

    Args:
        inputs: fewer than these allow no verdict.
        p: below this, after Holm, a method is told from random numbers.
        excess: by how much an explanation may be more alike to those of random models than chance
            makes it; beyond it, it tells of something else than what was learnt.
        barely: a similarity to explanations of random models above which the weights barely count.
        gap: a share of the score's difference that an explanation may miss.
        unstable: a relative change of the explanation under hardly visible noise.
        invalid: a share of the inputs that may stay without an explanation.
        agree: a rank correlation of the order of methods under two fillings.
    """

    inputs: int = 8
    p: float = 0.05
    excess: float = 0.1
    barely: float = 0.7
    gap: float = 0.05
    unstable: float = 0.5
    invalid: float = 0.05
    agree: float = 0.5


RULES = Rules()


@dataclass(frozen=True)
class Verdict:
    """What is said of a method.

    Args:
        remarks: one per rule that has something to say.
        excluded: whether one of them speaks against its use.
    """

    remarks: tuple[Remark, ...]
    excluded: bool


def verdict(
    ratings: Mapping[str, Rating],
    against: Mapping[str, Against],
    metrics: Sequence[Metric],
    inputs: int,
    enough: int,
    rules: Rules = RULES,
) -> Verdict:
    """Judge a method by its ratings.

    Args:
        ratings: by metric.
        against: the method beside random numbers, by metric.
        metrics: that were taken.
        inputs: that they rest on.
        enough: how many a verdict takes.
        rules: where the lines are drawn.
    """
    known = {
        name: rating for name, rating in ratings.items() if rating.undefined < len(rating.values)
    }
    if inputs < enough:
        few = f"No verdict: {inputs} of the {enough} inputs that it takes."
        return Verdict((Remark(few, None),), False)
    said: list[Remark] = []
    excluded = False
    for judge in (_valid, _sane, _stable, _adds_up):
        remark, fails = judge(known, rules)
        said += [] if remark is None else [remark]
        excluded = excluded or fails
    remark, fails = _informed(against, metrics, rules)
    said += [] if remark is None else [remark]
    empty = [
        metric.name for metric in metrics if metric.name in ratings and metric.name not in known
    ]
    if empty:
        said.append(Remark(f"Has no rating by {_listed(empty)}.", None))
    return Verdict(tuple(said), excluded or fails)


Judgement = tuple[Remark | None, bool]
"""What a rule has to say, and whether it speaks against the use of the method."""


def _valid(known: Mapping[str, Rating], rules: Rules) -> Judgement:
    rating = known.get("valid")
    if rating is None or 1 - rating.mean <= rules.invalid:
        return None, False
    share = f"{100 * (1 - rating.mean):.0f} % of the inputs"
    text = f"Says nothing of {share}: it fails there, or ranks no part above another."
    return Remark(text, False), True


def _sane(known: Mapping[str, Rating], rules: Rules) -> Judgement:
    rating = known.get("randomization_excess")
    if rating is None:
        return None, False
    alike, low, high = _beyond_chance(rating)
    told = f"similarity {alike:.2f} to explanations of random models"
    if alike > rules.barely and low > rules.excess:
        text = f"Fails the randomisation test: barely depends on the weights ({told})."
        return Remark(text, False), True
    if low > rules.excess:
        text = f"Fails the randomisation test: depends on the weights only in part ({told})."
        return Remark(text, False), True
    if isnan(low) or (high > rules.excess and rating.mean > rules.excess):
        text = f"Leaves the randomisation test open ({told}; too few of them to tell)."
        return Remark(text, None), False
    return Remark(f"Passes the randomisation test ({told}).", True), False


def _beyond_chance(rating: Rating) -> tuple[float, float, float]:
    """The similarity to random models, and between which values its excess over chance lies.

    The interval is Student's, over the random models: what one of them says of all inputs
    is alike, and many inputs would only seem to make it sure.
    """
    if rating.curve is None:
        return float("nan"), float("nan"), float("nan")
    alike, null = rating.curve.double().nanmean(0).chunk(2)
    excess = alike - null
    excess = excess[~excess.isnan()]
    count = len(excess)
    if count < 2:
        return float(alike.nanmean()), float("nan"), float("nan")
    wide = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * excess.std() / count**0.5)
    return float(alike.nanmean()), float(excess.mean()) - wide, float(excess.mean()) + wide


def _stable(known: Mapping[str, Rating], rules: Rules) -> Judgement:
    rating = known.get("max_sensitivity")
    if rating is None or rating.mean <= rules.unstable:
        return None, False
    moved = f"{100 * rating.mean:.0f} %"
    text = f"Unstable: small noise changes the explanation by up to {moved} of its size."
    return Remark(text, False), False


def _adds_up(known: Mapping[str, Rating], rules: Rules) -> Judgement:
    rating = known.get("completeness_gap")
    if rating is None:
        return None, False
    middle = float(rating.values.double().nanmedian())  # a difference near zero spoils a mean
    if middle <= rules.gap:
        return Remark("Adds up to the difference of the score.", True), False
    missed = f"{100 * middle:.0f} %" if middle < 10 else "many times"
    return Remark(f"Does not add up: misses {missed} of the score's difference.", False), False


def _informed(against: Mapping[str, Against], metrics: Sequence[Metric], rules: Rules) -> Judgement:
    tested = [metric.name for metric in metrics if metric.name in against]
    lost = [name for name in tested if not against[name].p < rules.p]
    if not tested:
        return None, False
    if not lost:
        return Remark("Better than random attributions in all metrics of removal.", True), False
    text = f"Not distinguishable from random attributions in {_listed(lost)}."
    return Remark(text, False), 2 * len(lost) > len(tested)


def _listed(names: Sequence[str]) -> str:
    words = [name.replace("_", " ") for name in names]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
