"""A training on the command line: a plan with checkpoints, its page, and what may be wrong."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from run.tiny import rows, write_csv
from typed import typed

NAMES = ("age", "height", "weight", "dose")
NETWORK = """
from torch import nn

def network():
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
"""
PLAN = """
model = "unmask_test_trained:network"
inputs = { file = "t.csv", label = "y" }
checkpoints = ["step_*.safetensors"]
score = { log_odds = { target = "truth" } }
players = "features"
baseline = "mean"

[methods.and_or]
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A plan over seven checkpoints whose weights grow."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "unmask_test_trained.py").write_text(NETWORK)
    (tmp_path / "plan.toml").write_text(PLAN)
    write_csv(tmp_path / "t.csv", rows(4), NAMES, {"y": ["0", "1", "2", "0"]})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).state_dict()
    for step in (0, 1, 4, 16, 64, 256, 1024):
        grown = {name: (1 + step) ** 0.3 * value for name, value in weights.items()}
        save_file(grown, tmp_path / f"step_{step}.safetensors")
    return tmp_path


def test_a_plan_with_checkpoints_is_followed_to_a_page(here):
    done = typed("run", "plan.toml")
    assert done.exit_code == 0, done.output
    page = (here / "plan" / "page.html").read_text("utf-8")
    assert '"steps":[0,1,4,16,64,256,1024]' in page
    assert str(here / "plan" / "page.html") in done.output
    assert typed("run", "plan/plan.toml").exit_code == 0  # the same run, by the plan within it
    assert not (here / "plan" / "plan").exists()
    (here / "plan" / "page.html").unlink()
    again = typed("dynamics", "plan", "--out", "other.html", "--title", "How it learned")
    assert again.exit_code == 0
    assert "How it learned" in (here / "other.html").read_text("utf-8")
    assert not (here / "plan" / "page.html").exists()


def test_a_diverged_checkpoint_is_told_and_the_rest_is_done(here):
    broken = {name: value * torch.nan for name, value in weights_in(here).items()}
    save_file(broken, here / "step_4096.safetensors")
    done = typed("run", "plan.toml")
    assert done.exit_code == 1
    assert "Step 4096 was skipped: the network had diverged: '0.bias' holds nan." in done.output
    assert (here / "plan" / "page.html").exists()


def weights_in(here):
    from safetensors.torch import load_file

    return load_file(here / "step_0.safetensors")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("dynamics", "gone"), "holds no record of a training"),
        (("dynamics", "t.csv"), "holds no record of a training"),
        (("report", "plan"), "Make it with `unmask dynamics`."),
        (("run", "gone.toml"), "There is no plan at 'gone.toml'"),
    ],
)
def test_a_wrong_path_is_one_line(here, words, told):
    typed("run", "plan.toml")
    done = typed(*words)
    assert done.exit_code == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_class_that_is_none_is_named(here):
    write_csv(here / "t.csv", rows(4), NAMES, {"y": ["0", "1", "2", "7"]})
    done = typed("run", "plan.toml", "--out", "new")
    assert done.exit_code == 2
    assert "the label of this input is '7', which names none of the 3 classes" in done.stderr


def test_an_input_that_is_no_number_is_named(here):
    broken = rows(4)
    broken[2, 1] = torch.nan
    write_csv(here / "t.csv", broken, NAMES, {"y": ["0", "1", "2", "0"]})
    done = typed("run", "plan.toml", "--out", "new")
    assert done.exit_code == 2
    assert "nan" in done.stderr.lower()
    assert done.stderr.count("\n") == 1
