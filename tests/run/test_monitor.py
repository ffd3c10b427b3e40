"""The monitor of a training: it finds what there is, and disturbs nothing."""

import copy
import math
import random
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from unmask import Score, features, log_odds, masked, words
from unmask.interactions import and_or_games
from unmask.run import InteractionMonitor, Record, log_spaced
from unmask.run.training.progress import bars
from unmask.run.training.undisturbed import undisturbed
from unmask.zoo import digits
from unmask.zoo.training import fresh
from watched import DATA, LABELS, PLAYERS, make, train, watch


def everything(model):
    tensors = dict(model.state_dict()) | {
        f"{name}.grad": p.grad for name, p in model.named_parameters() if p.grad is not None
    }
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    return tensors, torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()


def same(one, other):
    assert one[0].keys() == other[0].keys()
    for name in one[0]:
        assert torch.equal(one[0][name], other[0][name]), name
    assert torch.equal(one[1], other[1])
    assert one[2] == other[2]
    if "beartype" not in sys.modules:  # which draws from Python's own
        assert one[3] == other[3]


def test_a_training_goes_on_as_if_it_were_not_watched(tmp_path):
    alone = train(make())
    before = everything(alone)
    watched = train(model := make(), watch(model, folder=tmp_path / "run"))
    same(before, everything(watched))
    assert all(module.training for module in watched.modules())


def test_layers_that_are_kept_frozen_stay_so_and_an_exception_changes_nothing():
    model = make()
    model.body[1].eval()
    model.body[0].weight.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    wants = [p.requires_grad for p in model.parameters()]
    state = everything(model)

    def broken(model, target):
        def read(output, rows):
            raise RuntimeError("no number here")

        return Score(model, read)

    with pytest.raises(RuntimeError, match="no number here"):
        watch(model, score=broken).step(0)
    watch(model).step(0)
    assert [module.training for module in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == wants
    same(state, everything(model))
    assert torch.is_grad_enabled()
    assert all(not module._forward_hooks for module in model.modules())


def test_gradients_that_wait_for_the_optimiser_are_kept():
    model = make()
    functional.cross_entropy(model(DATA), LABELS).backward()
    kept = [p.grad.clone() for p in model.parameters()]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        watch(model).step(0)
        assert torch.is_autocast_enabled("cpu")
    assert all(torch.equal(a, p.grad) for a, p in zip(kept, model.parameters(), strict=True))


def test_inside_nothing_is_random_mixed_or_followed():
    model = make()
    with torch.autocast("cpu", dtype=torch.bfloat16), undisturbed(model):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
        assert model(DATA[:3]).dtype == torch.float32
    assert model.training


def test_what_is_found_is_what_and_or_finds(tmp_path):
    model = make()
    monitor = watch(model, folder=tmp_path / "run")
    found = monitor.step(0)
    still = copy.deepcopy(model).eval()
    games = [
        masked(log_odds(still, int(LABELS[i])), DATA[i], PLAYERS, torch.zeros(4)) for i in range(5)
    ]
    for one, other in zip(found.terms, and_or_games(games, precision=1e-2), strict=True):
        assert torch.equal(one.members, other.members)
        assert torch.equal(one.effects, other.effects)
        assert one.empty == other.empty
    kept = Record.read(tmp_path / "run").history()
    assert [snapshot.step for snapshot in kept] == [0]
    assert torch.equal(kept[0].terms[2].effects, found.terms[2].effects)
    assert monitor.history == (found,)


def test_the_cost_is_told_in_advance_and_kept():
    rows = []

    class Counted(nn.Linear):
        def forward(self, x):
            rows.append(len(x))
            return super().forward(x)

    said = []
    model = Counted(4, 2)
    monitor = watch(model, say=said.append, schedule=(0, 1, 3))
    assert said == ["5 samples at 3 steps: 3 x 85 = 255 forward passes."]
    for step in range(6):
        monitor.step(step)
    assert sum(rows) == monitor.cost == 255
    with pytest.raises(ValueError, match="cost 255 forward passes, but the budget is 254"):
        watch(model, schedule=(0, 1, 3), budget=254)
    watch(model, schedule=(0, 1, 3), budget=255)


def test_steps_that_are_passed_over_are_made_up_for():
    monitor = watch(make(), schedule=(0, 5, 6, 10))
    looked = [step for step in (0, 1, 4, 8, 9, 11, 30) if monitor.step(step) is not None]
    assert looked == [0, 8, 11]
    assert monitor.step(3) is None


def test_a_step_whose_numbers_are_not_finite_is_reported_and_skipped(tmp_path):
    said = []
    model = make()
    monitor = watch(model, say=said.append, folder=tmp_path / "run")
    monitor.step(0)
    kept = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        model.body[0].weight.fill_(math.nan)
    assert monitor.step(2) is None
    model.load_state_dict(kept)
    assert monitor.step(5) is not None
    assert any(
        "step      2  skipped: the network gives numbers that are not finite" in s for s in said
    )
    record = Record.read(tmp_path / "run")
    assert record.steps() == (0, 2, 5)
    assert "on 5 of 5 samples" in record.kept(2).skipped
    assert [snapshot.step for snapshot in record.history()] == [0, 5]


def test_a_record_that_cannot_be_written_does_not_end_the_training(tmp_path):
    said = []
    monitor = watch(model := make(), say=said.append, folder=tmp_path / "run")
    (tmp_path / "run" / "steps").write_text("a file where a folder belongs")
    train(model, monitor, finish=False)
    assert sum("The record could not be written" in line for line in said) == 4
    assert len(monitor.history) == 4


def test_losses_are_kept_and_told(tmp_path):
    said = []

    def losses(model):
        assert not model.training
        rows = functional.cross_entropy(model(DATA), LABELS, reduction="none")
        return rows[:40], rows[40:]

    monitor = watch(make(), say=said.append, losses=losses, folder=tmp_path / "run")
    found = monitor.step(0)
    assert found.train_losses.shape == (40,)
    assert found.test_losses.shape == (24,)
    assert f"train {float(found.train_losses.mean()):.3f}  test" in said[-1]
    kept = Record.read(tmp_path / "run").history()[0]
    assert torch.equal(kept.test_losses, found.test_losses)


def test_texts_of_different_lengths_and_numbers_of_half_precision():
    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = nn.Embedding(20, 8), nn.Linear(8, 3)

        def forward(self, ids):
            return self.head(torch.tanh(self.embedding(ids)).mean(1))

    model = fresh(Bag, 0).to(torch.bfloat16)
    texts = [torch.tensor([3, 4, 5]), torch.tensor([6, 7, 8, 9, 10]), torch.tensor([1, 2, 3])]
    players = [words([0, 1, 2, None, None][: len(text)]) for text in texts]
    nothing = [torch.zeros_like(text) for text in texts]
    monitor = InteractionMonitor(model, texts, [0, 1, 2], players, nothing, say=lambda _: None)
    assert monitor.cost == len(monitor.schedule) * (3 * 8 + 3)
    found = monitor.step(0)
    for text, terms, target in zip(texts, found.terms, (0, 1, 2), strict=True):
        score = log_odds(model, target)
        assert terms(torch.ones(1, 3).bool()).item() == pytest.approx(
            float(score(text[None]).detach()), abs=1e-6
        )
    with pytest.raises(ValueError, match="samples of equally many players, but these have 3, 5"):
        InteractionMonitor(model, texts, [0, 1, 2], [words(range(len(t))) for t in texts], nothing)


def test_on_a_real_network():
    exhibit = digits()
    inputs, labels = torch.stack(exhibit.inputs), torch.tensor(exhibit.labels)
    players = type(exhibit.players(0))(exhibit.players(0).owner % 6, tuple("abcdef"))
    model = fresh(type(exhibit.model), 0).train()
    monitor = InteractionMonitor(
        model, inputs[:6], labels[:6], players, torch.zeros(1, 8, 8), schedule=(0, 4, 16, 30),
        say=lambda _: None,
    )  # fmt: skip
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    monitor.step(0)
    for step in range(1, 31):
        optimiser.zero_grad()
        functional.cross_entropy(model(inputs), labels).backward()
        optimiser.step()
        monitor.step(step)
    strength = [float(s.terms[0].effects.abs().sum()) for s in monitor.history]
    assert strength[-1] > 2 * strength[0]
    assert monitor.finish() is None  # four checkpoints are too few to tell phases
    assert monitor.seconds > 0


def test_bad_input_is_refused_in_words(tmp_path):
    model = make()
    if "beartype" not in sys.modules:  # which says so first, in other words
        with pytest.raises(TypeError, match=r"What is trained is an nn\.Module, but the model is"):
            watch(lambda x: x)
    with pytest.raises(ValueError, match="There are 5 samples, but 4 targets"):
        InteractionMonitor(model, DATA[:5], LABELS[:4], PLAYERS, torch.zeros(4))
    with pytest.raises(ValueError, match="There are 0 samples, but one is needed at least"):
        InteractionMonitor(model, DATA[:0], LABELS[:0], PLAYERS, torch.zeros(4))
    with pytest.raises(ValueError, match=r"positions of shape \(3,\), but it has shape \(4,\)"):
        InteractionMonitor(model, DATA[:5], LABELS[:5], features(3), torch.zeros(4))
    with pytest.raises(ValueError, match="Sample 0 has 21 players, but at most 16 can be"):
        InteractionMonitor(model, torch.ones(1, 21), [0], features(21), torch.zeros(21))
    with pytest.raises(ValueError, match="names steps from 0 on, but got"):
        watch(model, schedule=())
    with pytest.raises(ValueError, match="precision is the gap at which to stop"):
        watch(model, precision=-1.0)
    with pytest.raises(ValueError, match="tau is a share of the strongest term"):
        watch(model, tau=2.0)
    with pytest.raises(ValueError, match="A batch of 0 inputs is too small"):
        watch(model, batch_size=0)
    watch(model, folder=tmp_path / "run")
    with pytest.raises(ValueError, match="the record of another training: they differ in samples"):
        InteractionMonitor(
            *(model, DATA[5:10], LABELS[:5], PLAYERS, torch.zeros(4)), folder=tmp_path / "run"
        )
    with pytest.raises(ValueError, match="A schedule goes from step 0 over a first step"):
        log_spaced(1)


def test_bars_and_schedules():
    assert bars(torch.tensor([0.0, 1.0, 0.5])) == "▁█▅"
    assert bars(torch.zeros(3)) == "▁▁▁"
    steps = log_spaced(5000, 24)
    assert (steps[0], steps[1], steps[-1]) == (0, 1, 5000)
    later = [math.log1p(step) for step in log_spaced(10**6, 20, first=100)[1:]]
    gaps = [b - a for a, b in pairwise(later)]
    assert max(gaps) == pytest.approx(min(gaps), rel=2e-2)  # steps are whole numbers
