from functools import partial
from itertools import combinations

import pytest
import torch
from scipy.stats import spearmanr

from unmask import Attribution, logit, predicted, zoo
from unmask.evaluation import run_to_run
from unmask.methods.saliency import gradient, smoothgrad

SELF = logit(lambda x: x, 0)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def noisy(seed, share):
    """The input, and noise that is the same at each call."""
    noise = torch.randn(6, generator=seeded(seed)).double()
    return lambda score, x: Attribution(x + share * noise)


@pytest.mark.parametrize("batch_size", [None, 2])
def test_it_is_the_mean_rank_correlation_of_all_pairs(batch_size):
    x = torch.randn(5, 6, generator=seeded(9)).double().round(decimals=1)
    runs = [noisy(seed, 0.5) for seed in range(4)]
    found = run_to_run(SELF, x, runs=runs, batch_size=batch_size)
    for i in range(5):
        made = [run(SELF, x).values[i].numpy() for run in runs]
        pairs = [spearmanr(a, b).statistic for a, b in combinations(made, 2)]
        assert float(found.values[i]) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    assert found.higher_is_better


def test_without_chance_it_is_one_and_of_chance_alone_about_zero():
    x = torch.randn(3, 6, generator=seeded(9))
    assert run_to_run(SELF, x, runs=[noisy(0, 1.0)] * 3).mean == pytest.approx(1, abs=1e-9)
    wide = torch.zeros(1, 1000)
    runs = [
        lambda score, x, seed=seed: Attribution(torch.randn(1, 1000, generator=seeded(seed)))
        for seed in range(10)
    ]
    assert abs(run_to_run(SELF, wide, runs=runs).mean) < 4 / (45 * 1000) ** 0.5


def test_a_run_that_says_the_same_of_all_parts_is_undefined():
    flat = [noisy(0, 1.0), lambda score, x: Attribution(torch.ones_like(x))]
    assert run_to_run(SELF, torch.ones(2, 6), runs=flat).undefined == 2


def test_broken_questions_are_refused():
    with pytest.raises(ValueError, match="there are 1"):
        run_to_run(SELF, torch.ones(2, 6), runs=[noisy(0, 1.0)])
    wide = [noisy(0, 1.0), lambda score, x: Attribution(x[:, :2])]
    with pytest.raises(ValueError, match="2 values per input and another 6"):
        run_to_run(SELF, torch.ones(2, 6), runs=wide)
    with pytest.raises(ValueError, match="must be finite"):
        run_to_run(SELF, torch.ones(2, 6) * torch.nan, runs=wide)


@pytest.mark.parametrize("name", ["breast_cancer", "digits"])
def test_more_draws_are_surer_on_real_networks(name):
    found = getattr(zoo, name)()
    x = torch.stack(found.inputs[:8])
    score = logit(found.model, predicted(found.model, x))

    def runs(samples):
        return [
            lambda score, x, i=i: smoothgrad(score, x, samples=samples, generator=seeded(i))
            for i in range(4)
        ]

    few, many = (run_to_run(score, x, runs=runs(samples)) for samples in (4, 64))
    assert few.mean < many.mean < 1
    assert run_to_run(score, x, runs=[gradient, gradient]).mean == pytest.approx(1, abs=1e-9)
    forgetful = [partial(smoothgrad, samples=4)] * 2  # no generator: the same draws every time
    assert run_to_run(score, x, runs=forgetful).mean == pytest.approx(1, abs=1e-9)
