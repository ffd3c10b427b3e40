"""What holds for every method of the catalogue, with arguments filled by name."""

import dataclasses
import doctest
import math
import random
import sys
from collections.abc import Mapping
from types import UnionType
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supplies import supplies
from unmask import catalogue, features, log_odds, masked
from unmask.evaluation import Kind, on_trial
from unmask.interactions import Snapshot
from unmask.results import Attribution, Interactions

ENTRIES = catalogue.methods()
OF_SCORES = {name: e for name, e in ENTRIES.items() if {"score", "x"} <= set(e.needs)}
IN_BATCHES = {name: e for name, e in ENTRIES.items() if "batch_size" in (*e.needs, *e.options)}
GPU = "cuda"
ALWAYS = ("generator",)  # asked for wherever there is chance

each_method = pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
each_of_scores = pytest.mark.parametrize("entry", OF_SCORES.values(), ids=OF_SCORES)


def call(entry, options=None, **made):
    """The method on small supplies: what it needs, and a generator where it takes one."""
    given = supplies(entry=entry, **made)
    wanted = {name: given[name] for name in (*entry.needs, *ALWAYS)}
    return catalogue.fill(entry, wanted, options)


def parts(result):
    """What a result holds, by name, numbers and tensors alone."""
    if isinstance(result, nn.Module):
        return dict(result.state_dict())
    found = {}
    for field in dataclasses.fields(result):
        value = getattr(result, field.name)
        if isinstance(value, Mapping):
            found |= {f"{field.name}.{key}": one for key, one in value.items()}
        elif isinstance(value, Tensor | int | float | str | tuple) or value is None:
            found[field.name] = value
    return found


def same(one, other, tolerance=0.0):
    """Whether two results hold the same."""
    one, other = parts(one), parts(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, Tensor):
            assert value.dtype == other[name].dtype, name
            assert value.shape == other[name].shape, name
            if value.is_floating_point():
                assert torch.allclose(value, other[name], rtol=tolerance, atol=tolerance), name
            else:
                assert torch.equal(value, other[name]), name
        elif isinstance(value, float):
            assert value == pytest.approx(other[name], rel=tolerance, abs=tolerance), name
        else:
            assert value == other[name], name


def state(model):
    """Everything of a model that a method could leave its mark on."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "values": {name: value.clone() for name, value in model.state_dict().items()},
        "identities": [id(value) for value in (*model.parameters(), *model.buffers())],
        "wants": [p.requires_grad for p in model.parameters()],
        "gradients": [p.grad for p in model.parameters()],
        "training": [module.training for module in model.modules()],
        "hooks": [len(getattr(module, hook)) for module in model.modules() for hook in hooks],
        "attributes": [sorted(vars(module)) for module in model.modules()],
    }


def chance():
    """The global random state. Checking types at run time draws from Python's own."""
    drawn = [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()]
    return drawn if "beartype" in sys.modules else [*drawn, random.getstate()]


@each_method
@pytest.mark.parametrize("training", [False, True])
def test_no_trace_is_left(entry, training):
    given = supplies(entry=entry)
    model = given["model"].train(training)
    for p in list(model.parameters())[:1]:
        p.requires_grad_(False)
    tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
    copies = {name: value.clone() for name, value in tensors.items()}
    before, drawn = state(model), chance()
    catalogue.fill(entry, {name: given[name] for name in (*entry.needs, *ALWAYS)})
    after = state(model)
    for name, value in before.pop("values").items():
        assert torch.equal(value, after["values"][name]), name
    after.pop("values")
    assert before == after
    assert chance() == drawn
    for name, value in tensors.items():
        assert torch.equal(value, copies[name]), name
        assert value.grad is None
        assert not value.requires_grad
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def moved_to(device, value):
    """Tensors, and results that hold them, on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(moved_to(device, one) for one in value)
    if isinstance(value, Attribution | Interactions | Kind | Snapshot):
        held = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **{k: moved_to(device, v) for k, v in held.items()})
    return value


@pytest.mark.gpu
@each_method
def test_everything_stays_on_the_device_of_the_input(entry):
    device = GPU
    given = supplies(entry=entry)
    given["model"].to(device)  # the score's model too, which is the same
    moved = {k: moved_to(device, v) for k, v in given.items()}
    for kind in moved["kinds"]:
        kind.score.model.to(device)
    row = torch.linspace(-1, 2, 4, device=device)
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).to(device).eval()
    moved["game"] = masked(log_odds(network, 1), row, features(4), torch.zeros_like(row))
    moved["trial"] = on_trial(
        log_odds(network, 1), torch.randn(2, 4, device=device), features(4), torch.zeros_like(row)
    )
    moved["games"] = (moved["game"], masked(log_odds(network, 0), row, features(4), row * 0))
    wanted = {name: moved[name] for name in (*entry.needs, *ALWAYS)}
    for name, value in parts(catalogue.fill(entry, wanted)).items():
        if isinstance(value, Tensor):
            assert value.isfinite().all(), name
            assert value.device.type == device, name


@each_method
def test_a_model_that_works_in_place_writes_on_nothing_that_was_given(entry):
    given = supplies(entry=entry)

    def begin(_, inputs):
        inputs[0].add_(1)

    given["model"].register_forward_pre_hook(begin)
    tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
    copies = {name: value.clone() for name, value in tensors.items()}
    catalogue.fill(entry, {name: given[name] for name in (*entry.needs, *ALWAYS)})
    for name, value in tensors.items():
        assert torch.equal(value, copies[name]), name


@each_method
def test_the_same_generator_gives_the_same_answer(entry):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = call(entry)
        torch.manual_seed(2)
        second = call(entry)
    same(first, second)


@each_method
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_callers_modes_change_nothing(entry, mode):
    expected = call(entry)
    given = supplies(entry=entry)
    with mode():
        found = catalogue.fill(entry, {name: given[name] for name in (*entry.needs, *ALWAYS)})
    same(found, expected, 1e-6)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


@each_method
def test_results_are_finite_and_keep_no_graph(entry):
    for name, value in parts(call(entry)).items():
        if isinstance(value, Tensor):
            assert value.isfinite().all(), name
            assert not value.requires_grad, name
        elif isinstance(value, float):
            assert math.isfinite(value), name


@each_method
def test_the_result_is_of_the_annotated_type(entry):
    types = get_args(entry.result) if isinstance(entry.result, UnionType) else (entry.result,)
    assert isinstance(call(entry), types)


@each_of_scores
def test_a_batch_of_two_is_two_batches_of_one(entry):
    given = supplies(dtype=torch.float64, entry=entry)
    wanted = {name: given[name] for name in entry.needs}
    together = catalogue.fill(entry, wanted)
    for i in range(2):
        one: dict[str, object] = {"x": given["x"][i : i + 1]}
        if "attribution" in entry.needs:
            one["attribution"] = Attribution(given["attribution"].values[i : i + 1])
        alone = catalogue.fill(entry, wanted | one)
        for name, value in parts(alone).items():
            whole = parts(together)[name]
            if isinstance(value, Tensor) and len(value) == 1:
                assert torch.allclose(value, whole[i : i + 1], atol=1e-9), name


@each_of_scores
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_attributions_keep_the_type_of_the_input(entry, dtype):
    result = call(entry, dtype=dtype)
    if isinstance(result, Attribution):
        assert result.values.dtype == dtype
        assert result.values.isfinite().all()


@pytest.mark.parametrize("entry", IN_BATCHES.values(), ids=IN_BATCHES)
@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_batches_never_change_a_result(entry, batch_size):
    expected = call(entry, dtype=torch.float64)
    same(call(entry, {"batch_size": batch_size}, dtype=torch.float64), expected, 1e-9)


@each_of_scores
def test_broken_inputs_are_refused(entry):
    given = supplies(entry=entry)
    wanted = {name: given[name] for name in entry.needs}
    for broken in (given["x"] * torch.nan, given["x"] / 0, given["x"][:0]):
        with pytest.raises(ValueError, match=r"\. [A-Z]"):  # what is wrong; what to do
            catalogue.fill(entry, wanted | {"x": broken})
    if "baseline" in entry.needs:
        with pytest.raises(ValueError, match=r"\. [A-Z]"):
            catalogue.fill(entry, wanted | {"baseline": given["baseline"] * torch.nan})


@each_method
def test_results_are_kept(entry, tmp_path):
    from unmask.store import load, save

    result = call(entry)
    save(result, tmp_path / "result")
    back = load(tmp_path / "result")
    assert type(back) is type(result)
    same(back, result)


@each_method
def test_results_are_drawn(entry):
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    from unmask.plot import plot

    try:
        figure = plot(call(entry))
        assert isinstance(figure, Figure)
        figure.canvas.draw()
    finally:
        pyplot.close("all")


@each_method
def test_the_examples_of_the_docstring_run(entry):
    module = sys.modules[entry.call.__module__]
    examples = doctest.DocTestParser().get_doctest(
        entry.call.__doc__ or "", dict(vars(module)), entry.name, module.__file__, 0
    )
    assert examples.examples
    told = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples, out=told.append)
    assert not told, "".join(told)
