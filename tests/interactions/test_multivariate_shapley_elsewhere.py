import os
from itertools import combinations

import pytest
import torch

from strategies import tabled
from unmask import masked
from unmask.interactions import best_partition, multivariate_shapley


def random_table(n, seed):
    return torch.randn(2**n, generator=torch.Generator().manual_seed(seed)).double()


def numbers(game, *names, **options):
    found = multivariate_shapley(game, **options).numbers
    return [found[name] for name in names]


@pytest.mark.oracle
def test_of_a_pair_it_is_the_index_of_shapiq_and_of_a_set_the_generalised_value():
    exact = pytest.importorskip("shapiq.game_theory.exact")
    game = tabled(random_table(6, 5))

    def value(masks):
        return game(torch.tensor(masks).bool()).numpy()

    computer = exact.ExactComputer(value, n_players=6)
    pairs, sets = computer("SII", order=2), computer("SGV", order=4)
    for members in combinations(range(6), 2):
        found = numbers(game, "interaction", members=members)
        assert found == [pytest.approx(pairs[members], abs=1e-9)]
    for members in combinations(range(6), 4):
        for present in (False, True):
            found = numbers(game, "together", members=members, present=present)
            assert found == [pytest.approx(sets[members], abs=1e-9)]


def test_networks_on_a_table_and_on_images():
    from unmask import zoo

    for exhibit in (zoo.breast_cancer(), zoo.digits()):
        game = masked(
            exhibit.score(exhibit.model, exhibit.labels[0]),
            exhibit.inputs[0],
            exhibit.players(0),
            exhibit.baseline(0),
        )
        table = game.table().double()
        found = multivariate_shapley(game, members=[0, 1, 4], samples=10**4).numbers
        assert found["error"] == 0
        n = len(game.names)
        outside = [i for i in range(n) if i not in (0, 1, 4)]
        # By size of the context: as good as all orders of arrival, but that there are 10!.
        wanted = 0.0
        for k in range(len(outside) + 1):
            for some in combinations(outside, k):
                s = sum(2**i for i in some)
                gain = table[s + 0b10011] - table[s + 1] - table[s + 2] - table[s + 16]
                count = len(list(combinations(range(len(outside)), k))) * (len(outside) + 1)
                wanted += float(gain + 2 * table[s]) / count
        assert found["interaction"] == pytest.approx(wanted, abs=1e-6)
        assert found["smallest"] <= min(0, found["interaction"]) + 1e-9
        assert found["largest"] >= max(0, found["interaction"]) - 1e-9


@pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")
def test_words_of_a_sentence():
    from unmask import zoo

    exhibit = zoo.sst2()
    game = masked(
        exhibit.score(exhibit.model, 1),
        exhibit.inputs[0],
        exhibit.players(0),
        exhibit.baseline(0),
    )
    exact = multivariate_shapley(game, adjacent=True).numbers
    assert exact["error"] == 0
    assert exact["largest"] >= max(0, exact["interaction"])
    tree = best_partition(game, adjacent=True)
    made = tree.members[(tree.step == 1)]
    assert float(tree.score[tree.step == 1].sum()) == pytest.approx(exact["largest"], abs=1e-6)
    for row in made.tolist():
        places = [i for i, there in enumerate(row) if there]
        assert places == list(range(places[0], places[-1] + 1))
