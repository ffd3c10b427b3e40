"""Of 200 games whose truth is planted: how often does a metric put the truth above chance?"""

from functools import cache, partial

import pytest
import torch

from unmask import Game, features, logit
from unmask.evaluation import (
    completeness_gap,
    contribution_fidelity,
    faithfulness_correlation,
    faithfulness_estimate,
    infidelity,
    logic_fidelity,
    monotonicity,
    monotonicity_correlation,
    non_sensitivity,
    on_trial,
    removal_infidelity,
    sensitivity_n,
    surrogate_r2,
)
from unmask.internals import value_and_gradient
from unmask.planted import (
    and_or_network,
    linear_network,
    majority_terms,
    planted_terms,
    relu_network,
    terms_of,
)
from unmask.results import Attribution

pytestmark = pytest.mark.slow

N = 8
NAMES = tuple("abcdefgh")


def shared_out(terms):
    """Shapley values: each term, AND or OR, in equal shares to its players."""
    share = terms.effects / terms.members.sum(1)
    return share @ terms.members.double()


def planted(i, generator):
    """A network on zeros and ones, and its terms. Two features or more are idle in two kinds out of
    three."""
    if i % 3 == 0:
        weights = torch.randn(N, generator=generator, dtype=torch.float64)
        weights[torch.randperm(N, generator=generator)[:2]] = 0
        ands = {(name,): weight for name, weight in zip(NAMES, weights.tolist(), strict=True)}
        return linear_network(weights), terms_of(NAMES, ands=ands)
    if i % 3 == 1:
        terms = planted_terms(N, 5, 3, generator, largest=4)
    else:
        voters = torch.randperm(N, generator=generator)[:5].tolist()
        vote = majority_terms(5)
        size = float(1 + torch.rand((), generator=generator))
        groups = [tuple(NAMES[voters[j]] for j in row.nonzero()[:, 0]) for row in vote.members]
        effects = dict(zip(groups, (size * vote.effects).tolist(), strict=True))
        terms = terms_of(NAMES, ands=effects)
    return and_or_network(terms), terms


@cache
def cases():
    """Networks, terms, trials, the truth, and a random explanation of the same size in L1."""
    generator = torch.Generator().manual_seed(11)
    found = []
    for i in range(200):
        network, terms = planted(i, generator)
        truth = shared_out(terms)
        chance = torch.randn(N, generator=generator, dtype=torch.float64)
        chance *= truth.abs().sum() / chance.abs().sum()
        x, nothing = torch.ones(1, N, dtype=torch.float64), torch.zeros(N, dtype=torch.float64)
        trial = on_trial(logit(network, 0), x, features(N), nothing)
        said = Attribution(truth[None]), Attribution(chance[None])
        found.append((network, terms, trial, *said))
    return found


def rate(verdicts):
    """The share of networks for which the truth is rated above chance; a tie is half of that."""
    return sum(verdicts) / len(verdicts)


def verdict(metric, one, other):
    """Whether the first explanation is rated higher; an undefined rating is the lower one."""
    ratings = metric(one), metric(other)
    sign = 1 if ratings[0].higher_is_better else -1
    a, b = (float(sign * rating.values.nan_to_num(-sign * 1e9)[0]) for rating in ratings)
    return 0.5 if a == b else float(a > b)


# Of linear networks, of AND-OR networks and of votes; measured and frozen. A vote of five that is
# won by five is not changed by one or two voters who stay away, so that what looks at such small
# sets has nothing to say there: two undefined ratings are a tie, a half. Of an additive score
# monotonicity is the same whatever the order; on none of the three kinds does it know the truth.
LEAST = {
    faithfulness_correlation: (1.0, 0.95, 0.5),
    faithfulness_estimate: (1.0, 0.94, 0.5),
    sensitivity_n: (1.0, 1.0, 1.0),
    surrogate_r2: (1.0, 0.92, 1.0),
    removal_infidelity: (1.0, 0.89, 1.0),
    completeness_gap: (1.0, 1.0, 1.0),
    non_sensitivity: (1.0, 0.64, 1.0),
    contribution_fidelity: (1.0, 1.0, 1.0),
    monotonicity: (0.5, 0.5, 0.5),
}


@pytest.mark.parametrize(("metric", "least"), LEAST.items(), ids=[m.__name__ for m in LEAST])
def test_the_truth_is_put_above_chance(metric, least):
    found = [
        verdict(lambda said, trial=case[2]: metric(trial, said), *case[3:]) for case in cases()
    ]
    rates = [rate(found[kind::3]) for kind in range(3)]
    print(metric.__name__, rate(found), rates)
    assert all(one >= bound for one, bound in zip(rates, least, strict=True)), rates


def test_the_truth_is_put_above_chance_by_the_logic():
    found, right = [], []
    for _, terms, _, truth, chance in cases():
        metric = partial(logic_fidelity, Game(terms, terms.names), terms=[terms])
        found.append(verdict(metric, truth, chance))
        right.append(metric(truth).mean)
    print("logic_fidelity", rate(found), [rate(found[kind::3]) for kind in range(3)])
    assert right == pytest.approx([1.0] * 200, abs=1e-12)
    assert rate(found) == 1.0


def test_the_truth_is_put_above_chance_by_monotonicity_correlation():
    data = torch.randint(2, (30, N), generator=torch.Generator().manual_seed(1)).double()
    x = torch.ones(1, N, dtype=torch.float64)

    def metric(network):
        return lambda said: monotonicity_correlation(
            logit(network, 0), x, attribution=said, players=features(N), data=data
        )

    found = [verdict(metric(case[0]), *case[3:]) for case in cases()]
    rates = [rate(found[kind::3]) for kind in range(3)]
    print("monotonicity_correlation", rate(found), rates)
    assert all(one >= bound for one, bound in zip(rates, (0.98, 0.8, 0.5), strict=True)), rates


def test_the_slope_is_put_above_chance_by_infidelity():
    generator = torch.Generator().manual_seed(12)
    found = []
    for _ in range(200):
        score = logit(relu_network(N, generator, unused=(0, 3)), 0)
        x = torch.randn(1, N, generator=generator, dtype=torch.float64)
        slope = value_and_gradient(score, x)[1]
        chance = torch.randn(1, N, generator=generator, dtype=torch.float64)
        chance *= slope.abs().sum() / chance.abs().sum()
        found.append(
            verdict(
                lambda said, score=score, x=x: infidelity(score, x, attribution=said, samples=50),
                Attribution(slope),
                Attribution(chance),
            )
        )
    print("infidelity", rate(found))
    assert rate(found) >= 0.95
