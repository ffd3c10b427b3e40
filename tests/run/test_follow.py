"""A network followed through saved checkpoints."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from run.runs import NAMES, files_of
from run.tiny import rows, write_csv
from unmask import features, log_odds, masked
from unmask.interactions import and_or_tables
from unmask.run import Choice, Plan, Record, Source, execute, follow, plan_text
from unmask.run.models.open_model import open_model
from unmask.run.plan_file import parsed
from unmask.run.training.checkpoints import UnfitCheckpoint, find_checkpoints, opened_at

NETWORK = """
import os, time
import torch
from torch import nn

class Slow(nn.Sequential):
    def forward(self, x):
        time.sleep(float(os.environ.get("UNMASK_TEST_PAUSE", "0")))
        with open(os.environ.get("UNMASK_TEST_LOG", os.devnull), "a") as log:
            log.write(f"{len(x)}\\n")
        return super().forward(x)

def network():
    torch.manual_seed(3)
    return Slow(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
"""
STEPS = (0, 10, 100, 1000)


def network(seed=3):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).eval()


def weights_at(step):
    """Weights that grow as in training."""
    generator = torch.Generator().manual_seed(step)
    return {
        name: (1 + step**0.3) * (value + 0.1 * torch.randn(value.shape, generator=generator))
        for name, value in network().state_dict().items()
    }


@pytest.fixture
def plan(tmp_path, monkeypatch):
    (tmp_path / "unmask_test_followed.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "unmask_test_followed", raising=False)
    for step in STEPS:
        save_file(weights_at(step), tmp_path / f"step_{step:06d}.safetensors")
    x = rows(5)
    truths = [str(i % 3) for i in range(len(x))]
    write_csv(tmp_path / "t.csv", x, NAMES, {"y": truths})
    write_csv(tmp_path / "u.csv", x[:4] + 1, NAMES, {"y": truths[:4]})
    return Plan(
        model="unmask_test_followed:network",
        inputs=Source(file="t.csv", label="y"),
        score=Choice("log_odds", {"target": "predicted"}),
        players=Choice("features"),
        baseline=Choice("mean"),
        methods={"and_or": {}},
        checkpoints=tuple(f"step_{step:06d}.safetensors" for step in STEPS),
        held_out=Source(file="u.csv", label="y"),
    )


def filled(weights):
    model = network()
    model.load_state_dict(weights)
    return model


def test_the_terms_are_those_of_each_checkpoint_by_hand(plan, tmp_path):
    followed = follow(plan, tmp_path / "out")
    assert followed.steps == STEPS
    assert followed.skipped == ()
    history = Record.read(tmp_path / "out").history()
    x = rows(5)
    with torch.no_grad():
        targets = filled(weights_at(1000))(x).argmax(1).tolist()  # those of the end
    for snapshot in history:
        model = filled(weights_at(snapshot.step))
        games = [
            masked(log_odds(model, target), row, features(NAMES), x.double().mean(0).float())
            for row, target in zip(x, targets, strict=True)
        ]
        tables = torch.stack([game.table() for game in games])
        expected = and_or_tables(tables, NAMES, precision=1e-2)
        for terms, wanted in zip(snapshot.terms, expected, strict=True):
            assert torch.equal(terms.members, wanted.members)
            assert torch.equal(terms.is_or, wanted.is_or)
            assert terms.effects == pytest.approx(wanted.effects, abs=1e-9)
        labels = torch.arange(5) % 3
        losses = nn.functional.cross_entropy(model(x), labels, reduction="none")
        assert snapshot.train_losses == pytest.approx(losses.detach().double(), abs=1e-6)
        apart = nn.functional.cross_entropy(model(x[:4] + 1), labels[:4], reduction="none")
        assert snapshot.test_losses == pytest.approx(apart.detach().double(), abs=1e-6)


def test_the_class_can_be_that_of_the_label(plan, tmp_path):
    plan = replace(plan, score=Choice("log_odds", {"target": "truth"}))
    follow(plan, tmp_path / "out")
    assert Record.read(tmp_path / "out").about.targets == (0, 1, 2, 0, 1)


def test_a_table_of_all_steps_is_written(plan, tmp_path):
    import pandas

    follow(plan, tmp_path / "out")
    table = pandas.read_parquet(tmp_path / "out" / "terms")
    found = table.groupby(["step", "input"])["effect"].sum()
    history = Record.read(tmp_path / "out").history()
    assert len(found) == len(STEPS) * 5
    for (step, number), total in found.items():
        terms = history[STEPS.index(step)].terms[number]
        assert total == pytest.approx(float(terms.effects.sum()), abs=1e-9)


def test_the_table_may_lie_in_a_store(plan, tmp_path):
    follow(plan, tmp_path / "out")
    follow(replace(plan, store=str(tmp_path / "beside")), tmp_path / "other")
    assert not (tmp_path / "other" / "terms").exists()
    parts = sorted((tmp_path / "out" / "terms").iterdir())
    assert [file.name for file in parts] == [f"part-{step:08d}.parquet" for step in STEPS]
    for file in parts:
        assert (tmp_path / "beside" / "terms" / file.name).read_bytes() == file.read_bytes()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match="No work is done, as nothing could be kept"):
        follow(replace(plan, store=str(tmp_path / "file" / "x")), tmp_path / "third")
    assert not (tmp_path / "third").exists()


def test_weights_of_another_network_and_of_a_diverged_one_are_skipped(plan, tmp_path):
    other = nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 3))
    save_file(other.state_dict(), tmp_path / "step_20.safetensors")
    broken = weights_at(10)
    broken["2.bias"][1] = torch.nan
    save_file(broken, tmp_path / "step_30.safetensors")
    (tmp_path / "step_40.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    lacking = weights_at(10)
    del lacking["2.bias"]
    save_file(lacking, tmp_path / "step_50.safetensors")
    more = tuple(f"step_{i}.safetensors" for i in (20, 30, 40, 50))
    followed = follow(replace(plan, checkpoints=plan.checkpoints + more), tmp_path / "out")
    assert followed.steps == STEPS
    reasons = {one.step: one.skipped for one in followed.skipped}
    assert reasons[20] == (
        "the checkpoint is of another architecture: its '0.bias' has shape (7,), not (8,)"
    )
    assert reasons[30] == "the network had diverged: '2.bias' holds nan"
    assert "does not hold whole tensors" in reasons[40]
    assert reasons[50] == "the checkpoint is of another architecture: it lacks '2.bias'"


def test_a_network_whose_answers_overflow_is_skipped(plan, tmp_path):
    huge = {name: value * 1e38 for name, value in weights_at(10).items()}
    save_file(huge, tmp_path / "step_2000.safetensors")
    more = (*plan.checkpoints, "step_2000.safetensors")
    followed = follow(replace(plan, checkpoints=more), tmp_path / "out")
    assert followed.steps == STEPS
    assert [one.step for one in followed.skipped] == [2000]


def test_weights_from_a_wrapped_network_fit(plan, tmp_path):
    wrapped = {f"module.{name}": value for name, value in weights_at(10).items()}
    save_file(wrapped, tmp_path / "step_000010.safetensors")
    assert follow(plan, tmp_path / "out").steps == STEPS


def test_a_training_that_goes_on_adds_checkpoints(plan, tmp_path):
    follow(replace(plan, checkpoints=plan.checkpoints[:2]), tmp_path / "out")
    targets = Record.read(tmp_path / "out").about.targets
    assert follow(plan, tmp_path / "out").computed == 2
    record = Record.read(tmp_path / "out")
    assert record.steps() == STEPS
    assert record.about.targets == targets


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budget": 319}, r"4 checkpoints of 5 inputs cost 320 forward passes, but the budget"),
        ({"methods": {"sparsity": {}}}, r"names sparsity\. Leave \[methods\.and_or\] alone"),
        ({"checkpoints": ("gone_1.safetensors",)}, r"no checkpoint at 'gone_1.*Give a file"),
        ({"checkpoints": ("t.csv",)}, r"is no safetensors file.*Save weights with"),
        ({"checkpoints": ("last.safetensors",)}, r"does not say its step\. Let it end"),
        ({"checkpoints": ("a1.safetensors", "b1.safetensors")}, r"Two checkpoints are of step 1"),
    ],
)
def test_what_cannot_be_followed_is_refused(plan, tmp_path, changes, words):
    for name in ("last", "a1", "b1"):
        save_file(weights_at(1), tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match=words):
        follow(replace(plan, **changes), tmp_path / "out")


def test_the_budget_may_be_just_enough(plan, tmp_path):
    assert follow(replace(plan, budget=320), tmp_path / "out").steps == STEPS


def test_a_checkpoint_that_changed_is_refused(plan, tmp_path):
    follow(plan, tmp_path / "out")
    save_file(weights_at(11), tmp_path / "step_000010.safetensors")
    with pytest.raises(ValueError, match=r"changed since step 10 was looked at.*--out"):
        follow(plan, tmp_path / "out")


def test_another_plan_is_refused(plan, tmp_path):
    follow(plan, tmp_path / "out")
    with pytest.raises(ValueError, match="another plan: they differ in baseline"):
        follow(replace(plan, baseline=Choice("zero")), tmp_path / "out")


def test_a_plan_with_checkpoints_is_not_executed(plan, tmp_path):
    with pytest.raises(ValueError, match=r"names 4 checkpoints.*Call `follow`"):
        execute(plan, tmp_path / "out")


def test_the_plan_is_read_back(plan):
    plan = replace(plan, budget=10**6)
    assert parsed(plan_text(plan)) == plan


def test_the_step_is_the_last_number_of_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run2" / "checkpoint-500").mkdir(parents=True)
    save_file(weights_at(1), tmp_path / "run2" / "checkpoint-500" / "model.safetensors")
    save_file(weights_at(1), tmp_path / "v2_epoch_07.safetensors")
    found = find_checkpoints(["run2/checkpoint-500", "v2_epoch_07.safetensors"])
    assert [one.step for one in found] == [7, 500]


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("epoch=3-step=500-v1.safetensors", 500),
        ("step500_loss_0.35.safetensors", 500),
        ("v2_epoch_07.safetensors", 7),
        ("checkpoint-40/model.safetensors", 40),
        ("lenet5/step_60/weights.safetensors", 60),
    ],
)
def test_the_step_follows_its_word(name, step, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    save_file(weights_at(1), tmp_path / name)
    assert [one.step for one in find_checkpoints([name])] == [step]


def test_the_number_of_any_folder_is_no_step(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lenet5").mkdir()
    save_file(weights_at(1), tmp_path / "lenet5" / "last.safetensors")
    with pytest.raises(ValueError, match="does not say its step"):
        find_checkpoints(["lenet5/last.safetensors"])


def test_a_pattern_names_many(plan, tmp_path):
    for step in STEPS:
        (tmp_path / "saved" / f"checkpoint-{step}").mkdir(parents=True)
        save_file(weights_at(step), tmp_path / "saved" / f"checkpoint-{step}" / "model.safetensors")
    (tmp_path / "saved" / "checkpoint-best").mkdir()  # without weights
    many = replace(plan, checkpoints=("saved/checkpoint-*",))
    followed = follow(many, tmp_path / "out")
    follow(plan, tmp_path / "whole")
    assert followed.steps == STEPS
    both = [Record.read(tmp_path / name).history() for name in ("out", "whole")]
    for one, other in zip(*both, strict=True):
        assert torch.equal(one.terms[2].effects, other.terms[2].effects)
    with pytest.raises(ValueError, match=r"There is no checkpoint at 'saved/step-\*'"):
        find_checkpoints(["saved/step-*"])


def test_weights_in_parts_are_read_together(plan, tmp_path):
    folder = tmp_path / "checkpoint-1000"
    folder.mkdir()
    weights, where = weights_at(1000), {}
    for part, names in enumerate((["0.weight", "0.bias"], ["2.weight", "2.bias"]), start=1):
        file = f"model-0000{part}-of-00002.safetensors"
        save_file({name: weights[name] for name in names}, folder / file)
        where |= dict.fromkeys(names, file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    parted = replace(plan, checkpoints=(*plan.checkpoints[:3], "checkpoint-1000"))
    assert follow(parted, tmp_path / "out").steps == STEPS
    follow(plan, tmp_path / "whole")
    one, other = (Record.read(tmp_path / name).history()[3] for name in ("out", "whole"))
    assert torch.equal(one.terms[1].effects, other.terms[1].effects)
    with pytest.raises(ValueError, match="holds a part of the weights only"):
        find_checkpoints([str(folder / "model-00001-of-00002.safetensors")])
    (before,) = find_checkpoints(["checkpoint-1000"])
    save_file({"2.weight": weights["2.weight"], "2.bias": weights["2.bias"] + 1}, folder / file)
    (after,) = find_checkpoints(["checkpoint-1000"])
    assert before.digest != after.digest
    (folder / file).unlink()
    with pytest.raises(UnfitCheckpoint, match="does not hold whole tensors"):
        opened_at(open_model(plan.model), find_checkpoints(["checkpoint-1000"])[0])
    index.write_text("{}")
    with pytest.raises(UnfitCheckpoint, match="is no index of weights"):
        opened_at(open_model(plan.model), find_checkpoints(["checkpoint-1000"])[0])


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_was_not(plan, tmp_path):
    follow(plan, tmp_path / "whole")
    (tmp_path / "the.toml").write_text(plan_text(plan))
    log = tmp_path / "log"
    process = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "from unmask.run import follow, read_plan\nfollow(read_plan('the.toml'), 'out')\n",
        ],
        cwd=tmp_path,
        env={**os.environ, "UNMASK_TEST_PAUSE": "0.1", "UNMASK_TEST_LOG": str(log)},
    )
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "out" / "steps" / "00000010").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = Record.read(tmp_path / "out").steps()
    assert 2 <= len(done) < 4
    assert follow(plan, tmp_path / "out").computed == 4 - len(done)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def test_a_lost_step_is_computed_again_and_only_that(plan, tmp_path):
    follow(plan, tmp_path / "out")
    before = files_of(tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "steps" / "00000100")
    assert follow(plan, tmp_path / "out").computed == 1
    assert files_of(tmp_path / "out") == before
