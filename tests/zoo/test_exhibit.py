"""What holds for every exhibit."""

import importlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from unmask import masked, zoo
from unmask.views import ImageView, TableView, TextView

FREE = ("breast_cancer", "diabetes", "digits")
GIVEN = ("cifar10", "squeezenet", "stories")
TRAINED = ("mnist", "adult", "houses", "sst2")


def exhibit(name):
    if name not in FREE and not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")
    return getattr(zoo, name)()


every = pytest.mark.parametrize(
    "name", [*FREE, *GIVEN, *(pytest.param(name, marks=pytest.mark.slow) for name in TRAINED)]
)


@every
def test_players_baseline_and_view_fit_every_input(name):
    case = exhibit(name)
    assert case.name == name
    assert not any(module.training for module in case.model.modules())
    assert case.labels is None or len(case.labels) == len(case.inputs)
    for i, x in enumerate(case.inputs):
        players, baseline, view = case.players(i), case.baseline(i), case.view(i)
        assert players.owner.shape == x.shape == baseline.shape
        assert x.dtype == baseline.dtype
        assert 3 <= len(players.names) <= 12
        assert len(set(players.names)) == len(players.names)
        if isinstance(view, TextView):
            assert len(view.pieces) == len(x)
        elif isinstance(view, TableView):
            assert len(view.present) == len(view.absent) == len(players.names)
        else:
            assert isinstance(view, ImageView)
            assert view.pixels.shape == (*x.shape[1:], 3)


@every
def test_right_and_wrong_answers_are_among_the_inputs(name):
    case = exhibit(name)
    with torch.inference_mode():
        output = [case.model(x[None]) for x in case.inputs]
    assert all(row.shape[-1] == len(case.classes) for row in output)
    if case.labels is None:
        assert name in ("stories", "houses", "diabetes")  # which name no class
        return
    found = [int(row.argmax(1)) for row in output]
    right = sum(a == b for a, b in zip(found, case.labels, strict=True))
    assert len(case.inputs) / 2 < right < len(case.inputs)
    assert set(case.labels) <= set(range(len(case.classes)))


@every
def test_masking_begins_at_the_input_and_ends_at_the_baseline(name):
    case = exhibit(name)
    x, players = case.inputs[1], case.players(1)
    score = case.score(case.model, 1)
    game = masked(score, x, players, case.baseline(1))
    n = len(players.names)
    hidden = torch.where(players.owner < 0, x, case.baseline(1))
    with torch.inference_mode():
        expected = [score(hidden[None]).item(), score(x[None]).item()]
    both = torch.tensor([[False] * n, [True] * n])
    assert game(both).tolist() == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert abs(expected[0] - expected[1]) > 0.01


@every
def test_an_exhibit_is_made_once(name):
    assert exhibit(name) is exhibit(name)


@pytest.mark.parametrize("name", FREE)
def test_two_trainings_give_the_same_and_leave_global_randomness(name):
    make = getattr(zoo, name).__wrapped__
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = make()
    assert torch.get_rng_state().equal(torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        second = make()
    for one, other in zip(
        first.model.state_dict().values(), second.model.state_dict().values(), strict=True
    ):
        assert one.equal(other)
    assert all(one.equal(other) for one, other in zip(first.inputs, second.inputs, strict=True))


@pytest.mark.parametrize("name", [*GIVEN, *TRAINED])
def test_without_real_data_the_error_says_what_to_set(name, monkeypatch, tmp_path):
    make = getattr(zoo, name).__wrapped__
    monkeypatch.delenv("UNMASK_DATA", raising=False)
    with pytest.raises(ValueError, match=r"UNMASK_DATA is not set\. Set UNMASK_DATA to the folder"):
        make()
    monkeypatch.setenv("UNMASK_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"nowhere' is none\. Set it to the folder"):
        make()
    monkeypatch.setenv("UNMASK_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=rf"{tmp_path}.* is no file\. Put it there"):
        make()


@pytest.mark.slow
def test_the_free_exhibits_need_no_more_than_the_core():
    code = """
import os, sys
os.environ.pop("UNMASK_DATA", None)
for name in ("safetensors", "PIL", "pandas", "matplotlib", "transformers", "torchvision"):
    sys.modules[name] = None
from unmask import zoo
assert "sklearn" not in sys.modules
zoo.breast_cancer(), zoo.digits()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_its_package_given_weights_ask_for_it(monkeypatch, real_data):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    data = importlib.import_module("unmask.zoo.data")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'unmask\[app\]'"):
        data.weights("weights/resnet20_cifar10.safetensors")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'unmask\[app\]'"):
        next(data.photos())
