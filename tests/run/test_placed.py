"""A model on another device and in another precision: the keys `device` and `precision`."""

import copy
import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn

from run.runs import NAMES, files_of, plan_for
from run.tiny import perceptron, rows, write_onnx
from unmask.run import Choice, execute, follow, plan_text, read_run
from unmask.run.models.opened import Opened
from unmask.run.models.placed import placed, there
from unmask.run.plan_file import parsed
from unmask.zoo import digits

BUILT = """
import torch
from torch import nn
from run.tiny import perceptron

def built():
    return perceptron()
"""
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """A plan of four inputs for a network that a function builds."""
    (tmp_path / "unmask_test_built.py").write_text(BUILT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    methods = {"and_or": {}, "gradient": {}, "shapley_exact": {}}
    return plan_for(tmp_path, rows(4), model="unmask_test_built:built", methods=methods)


@pytest.mark.parametrize(("name", "bits"), [("bfloat16", 8), ("float16", 11)])
def test_the_layers_compute_in_the_precision_and_the_score_does_not(plan, tmp_path, name, bits):
    execute(replace(plan, precision=name), tmp_path / "out")
    model, dtype = perceptron(), getattr(torch, name)
    first, _, last = model
    x = torch.stack([one.entry.x for one in read_run(tmp_path / "out").explained])
    with torch.no_grad():  # the same by hand: products in the narrow type, tanh as it comes
        hidden = torch.tanh(nn.functional.linear(x.to(dtype), *_in(first, dtype)))
        logits = nn.functional.linear(hidden.to(dtype), *_in(last, dtype)).float()
        plain = model(x)
    error = (logits - plain).abs().max()
    assert 0 < error < 20 * 2.0**-bits * plain.abs().max()  # a few roundings of the largest
    for i, one in enumerate(read_run(tmp_path / "out").explained):
        table, target = one.entry.table, one.entry.target
        assert table.dtype == torch.float32
        others = logits[i][torch.arange(3) != target].logsumexp(0)
        assert float(table[-1]) == pytest.approx(float(logits[i, target] - others), abs=1e-5)
        assert one.results["and_or"].effects.dtype == torch.float64
        assert one.results["gradient"].values.dtype == torch.float32


def _in(layer, dtype):
    return layer.weight.to(dtype), layer.bias.to(dtype)


def test_what_was_opened_stays_as_it_is(plan):
    model = digits().model
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    opened = Opened(model, "digest")
    before = model(x)
    made = placed(opened, replace(plan, precision="bfloat16"))
    assert made.model(x).dtype == torch.bfloat16
    assert torch.equal(model(x), before)
    assert "forward" not in vars(model)
    assert [name for name, _ in made.model.named_modules()] == [n for n, _ in model.named_modules()]
    assert placed(made, replace(plan, precision="bfloat16")) is made
    assert placed(opened, plan) is opened


def test_a_copy_of_a_model_in_mixed_precision_runs_its_own_weights(plan):
    made = placed(Opened(perceptron(), ""), replace(plan, precision="bfloat16")).model
    x = rows(3)
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert torch.equal(other(x), made(x))
        with torch.no_grad():
            other[2].weight.zero_()
            other[2].bias.fill_(1)
        assert torch.equal(other(x), torch.ones(3, 3, dtype=torch.bfloat16))
    assert not torch.equal(made(x), torch.ones(3, 3, dtype=torch.bfloat16))


def test_autocast_ends_when_the_model_raises(plan):
    class Breaks(nn.Module):
        def forward(self, x):
            raise RuntimeError("broken")

    made = placed(Opened(Breaks(), ""), replace(plan, precision="bfloat16")).model
    with pytest.raises(RuntimeError, match="broken"):
        made(rows(1))
    assert not torch.is_autocast_enabled("cpu")


def test_shared_weights_stay_shared_on_another_device(plan):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
            self.other.weight = self.one.weight
            self.register_buffer("scale", torch.ones(1))

    opened = Opened(Tied(), "")
    made = placed(opened, replace(plan, device="meta"))
    assert made.model.one.weight is made.model.other.weight
    assert {one.device.type for one in made.model.state_dict().values()} == {"meta"}
    assert {one.device.type for one in opened.model.state_dict().values()} == {"cpu"}
    assert type(made.model.one.weight) is nn.Parameter


def test_the_device_that_it_lies_on_changes_nothing(plan, tmp_path):
    execute(plan, tmp_path / "plain")
    execute(replace(plan, device="cpu"), tmp_path / "named")
    one, other = files_of(tmp_path / "plain"), files_of(tmp_path / "named")
    assert set(one) == set(other)
    differ = {name for name in one if one[name] != other[name]}
    assert differ <= {"plan.toml", "run.json"}


def test_a_run_that_goes_on_in_mixed_precision_ends_as_one_that_never_stopped(plan, tmp_path):
    import shutil

    wanted = replace(plan, precision="bfloat16", device="cpu")
    execute(wanted, tmp_path / "whole")
    execute(wanted, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "inputs" / "00001" / "gradient")
    shutil.rmtree(tmp_path / "cut" / "inputs" / "00002")
    execute(wanted, tmp_path / "cut")
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")


def test_checkpoints_are_followed_in_the_precision(plan, tmp_path):
    from safetensors.torch import save_file

    files = []
    for step in (0, 10):
        files.append(str(tmp_path / f"step_{step}.safetensors"))
        save_file(perceptron().state_dict(), files[-1])
    wanted = replace(
        plan, methods={"and_or": {}}, checkpoints=tuple(files), score=Choice("logit", {"target": 0})
    )
    follow(wanted, tmp_path / "plain")
    follow(replace(wanted, precision="bfloat16"), tmp_path / "mixed")
    from unmask.run import Record

    plain, mixed = (
        Record.read(tmp_path / name).history()[0].terms[0](torch.ones(1, 4).bool())[0]
        for name in ("plain", "mixed")
    )
    assert 0 < abs(float(plain - mixed)) < 0.05 * abs(float(plain))


def test_the_keys_are_read_and_written(plan):
    wanted = replace(plan, device="cuda:1", precision="float16")
    assert parsed(plan_text(wanted)) == wanted
    assert "device" not in plan_text(plan)
    assert "precision" not in plan_text(plan)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("device = 3", r"'device' is 3\. Give the name of a device .*cuda"),
        ('device = "CUDA 0"', r"'device' is \"CUDA 0\"\. Give the name"),
        ('precision = "int8"', r"'precision' is \"int8\"\. Give \"bfloat16\" or \"float16\""),
        ("precision = 16", r"'precision' is 16\. Give"),
    ],
)
def test_keys_that_mean_nothing_are_refused(plan, line, message):
    with pytest.raises(ValueError, match=message):
        parsed(f"{line}\n{plan_text(plan)}")


@no_gpu
def test_a_device_that_is_not_here_is_refused_before_anything_is_done(plan, tmp_path):
    with pytest.raises(
        ValueError, match=r"names the device 'cuda', and there is none here .*Leave"
    ):
        execute(replace(plan, device="cuda"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_device_that_nobody_knows_is_refused(plan, tmp_path):
    with pytest.raises(ValueError, match=r"names the device 'abacus', and there is none here"):
        execute(replace(plan, device="abacus"), tmp_path / "out")


def test_a_precision_that_python_asks_for_and_nobody_knows_is_refused(plan):
    with pytest.raises(ValueError, match=r"precision is 'int8'\. Give 'bfloat16' or 'float16'"):
        placed(Opened(perceptron(), ""), replace(plan, precision="int8"))


def test_models_that_cannot_be_moved_are_refused(plan, tmp_path):
    from unmask.run import open_model

    write_onnx(tmp_path / "m.onnx", perceptron(), "batch")
    opened = open_model(str(tmp_path / "m.onnx"))
    with pytest.raises(ValueError, match=r"names a device or a precision, but the model .*Leave"):
        placed(opened, replace(plan, precision="bfloat16"))
    program = open_model(str(tmp_path / "m.pt2"))
    with pytest.raises(ValueError, match=r"exported for the one that it lay on\. Leave out"):
        placed(program, replace(plan, device="meta"))


def test_results_go_where_the_model_is(plan):
    from unmask.results import Interactions

    terms = Interactions(torch.ones(1, 4).bool(), torch.zeros(1).bool(), torch.ones(1), 0.0, NAMES)
    opened = placed(Opened(perceptron(), ""), replace(plan, device="meta"))
    moved = there(terms, opened)
    assert {moved.members.device.type, moved.effects.device.type} == {"meta"}
    assert moved.names == NAMES
    assert there(terms, Opened(perceptron(), "")) is terms


@pytest.mark.gpu
def test_a_run_on_a_gpu_says_what_one_on_the_processor_says(plan, tmp_path):
    execute(plan, tmp_path / "cpu")
    execute(replace(plan, device="cuda"), tmp_path / "gpu")
    one_by_one = (read_run(tmp_path / name).explained for name in ("cpu", "gpu"))
    for one, other in zip(*one_by_one, strict=True):
        assert (one.entry.table - other.entry.table).abs().max() < 1e-4
        for name in ("gradient", "shapley_exact"):
            difference = one.results[name].values - other.results[name].values
            assert difference.abs().max() < 1e-4


@pytest.mark.gpu
def test_a_run_on_a_gpu_goes_on_where_it_stopped(plan, tmp_path):
    import shutil

    wanted = replace(plan, device="cuda", precision="bfloat16")
    wanted = replace(wanted, methods={**plan.methods, "universal_matching": {}, "sparsity": {}})
    assert execute(wanted, tmp_path / "out").failures == ()
    for name in ("universal_matching", "gradient"):
        shutil.rmtree(tmp_path / "out" / "inputs" / "00001" / name)
    outcome = execute(wanted, tmp_path / "out")
    assert (outcome.failures, outcome.computed) == ((), 2)
