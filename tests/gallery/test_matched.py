import pytest
import torch

from unmask import Game
from unmask.gallery.matched import Matched, matched
from unmask.gallery.trainings import clean_history, gaps, mean_orders, mean_with_bounds, steps
from unmask.interactions import Snapshot, and_or
from unmask.lattice import coalitions
from unmask.zoo import breast_cancer


def pair():
    draws = torch.Generator().manual_seed(0)
    table = torch.randn(32, generator=draws).double()
    game = Game(lambda masks: table, tuple("abcde"), lambda: table)
    return Matched(game, and_or(game))


def test_all_terms_give_the_network_and_no_terms_its_mean():
    one = pair()
    masks = coalitions(5)
    assert torch.allclose(one.logic(), one.terms(masks), atol=1e-12)
    assert torch.allclose(one.logic(), one.game.table(), atol=1e-9)
    assert torch.allclose(one.logic(0), one.game.table().mean().expand(32), atol=1e-9)
    assert one.error() < 1e-9
    assert one.fewest(1.0) <= len(one.terms.effects)


def test_the_fewest_terms_are_the_first_that_do():
    one = pair()
    v = one.game.table()

    def fidelity(count):
        return float(1 - (one.logic(count) - v).square().sum() / (v - v.mean()).square().sum())

    count = one.fewest(0.9)
    assert fidelity(count) >= 0.9
    assert all(fidelity(fewer) < 0.9 for fewer in range(count))


def test_a_network_of_the_zoo_is_matched_on_the_class_that_it_names():
    shown = breast_cancer()
    (one,) = matched(shown, [3])
    with torch.no_grad():
        p = shown.model(shown.inputs[3][None]).softmax(1).max()
    assert float(one.game.table()[-1]) == pytest.approx(float((p / (1 - p)).log()), rel=1e-4)
    assert one.error() < 1e-6


def test_bounds_of_a_mean_hold_it_as_often_as_they_should():
    draws = torch.Generator().manual_seed(0)
    held = 0
    for trial in range(200):
        mean, low, high = mean_with_bounds(torch.randn(40, generator=draws), seed=trial)
        assert low < mean < high
        held += low < 0 < high
    assert 0.88 <= held / 200 <= 0.99  # 0.95 but for the draws and the size


def test_what_is_read_off_a_history():
    def explained(pair):
        game = Game(lambda s: s.sum(1) + pair * s.all(1).double(), ("a", "b"))
        return (and_or(game),)

    history = [
        Snapshot(0, explained(0.0), torch.tensor([1.0, 3.0]), torch.tensor([2.0])),
        Snapshot(8, explained(2.0), torch.tensor([0.0, 0.0]), torch.tensor([5.0])),
    ]
    assert steps(history).tolist() == [0, 8]
    assert gaps(history).tolist() == [0, 5]
    assert mean_orders(history)[:, 0].tolist() == pytest.approx([1.0, 1.5], abs=1e-6)


@pytest.mark.slow
def test_a_history_of_clean_samples_has_clean_losses():
    from unmask.zoo import courses

    taken = courses.breast_cancer()
    history = clean_history(taken, 0)
    assert [len(one.terms) for one in history] == [taken.followed] * len(history)
    assert all(len(one.train_losses) == int((~taken.flipped).sum()) for one in history)
    assert history[-1].train_losses.mean() < history[0].train_losses.mean() / 10
