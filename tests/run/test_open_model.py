"""Models: opened from functions, programs and files; never unpickled."""

import io
import pickle
import subprocess
import sys
import zipfile

import pytest
import torch
from torch import nn

from run.tiny import perceptron, rows, write_exported, write_onnx
from unmask.run import open_model
from unmask.run.models.batches import in_fitting_batches


@pytest.mark.parametrize("dynamic", [True, False])
def test_an_exported_program_takes_any_number_of_rows(tmp_path, dynamic):
    model, x = perceptron(), rows(11)
    write_exported(tmp_path / "m.pt2", model, rows(4), dynamic=dynamic)
    opened = open_model(str(tmp_path / "m.pt2"))
    for count in (1, 3, 4, 5, 8, 11):
        torch.testing.assert_close(opened.model(x[:count]), model(x[:count]))
    assert opened.shape == (4,)
    assert opened.differentiable
    said = " ".join(opened.notes)
    assert ("exported for batches of 4" in said) is not dynamic


def test_gradients_pass_through_an_exported_program(tmp_path):
    model, x = perceptron(), rows(3)
    write_exported(tmp_path / "m.pt2", model, rows(4), dynamic=False)
    opened = open_model(str(tmp_path / "m.pt2"))
    slopes = []
    for one in (model, opened.model):
        point = x.clone().requires_grad_()
        slopes.append(torch.autograd.grad(one(point)[:, 1].sum(), point)[0])
    torch.testing.assert_close(*slopes)


def test_a_program_of_two_inputs_is_refused(tmp_path):
    class Two(nn.Module):
        def forward(self, x, y):
            return x + y

    program = torch.export.export(Two(), (rows(2), rows(2)))
    torch.export.save(program, tmp_path / "m.pt2")
    with pytest.raises(ValueError, match="takes 2 arguments"):
        open_model(str(tmp_path / "m.pt2"))


@pytest.mark.parametrize("kept", [0, 100, -30])
def test_a_truncated_program_is_refused(tmp_path, kept):
    write_exported(tmp_path / "m.pt2", perceptron(), rows(4), dynamic=True)
    data = (tmp_path / "m.pt2").read_bytes()
    (tmp_path / "m.pt2").write_bytes(data[:kept])
    with pytest.raises(ValueError, match=r"m\.pt2"):
        open_model(str(tmp_path / "m.pt2"))


class Bomb:
    """Says so when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def _bombed(tmp_path, name):
    """A program in which one part is replaced by a pickle that writes a file."""
    write_exported(tmp_path / "m.pt2", perceptron(), rows(4), dynamic=True)
    mark = tmp_path / "exploded"
    buffer = io.BytesIO()
    torch.save({"a": Bomb(str(mark))}, buffer)
    out = tmp_path / "bomb.pt2"
    with zipfile.ZipFile(tmp_path / "m.pt2") as old, zipfile.ZipFile(out, "w") as new:
        replaced = 0
        for info in old.infolist():
            data = old.read(info)
            if name in info.filename:
                data, replaced = buffer.getvalue(), replaced + 1
            new.writestr(info.filename, data)
        if not replaced:
            root = old.namelist()[0].partition("/")[0]
            new.writestr(f"{root}/data/constants/{name}", pickle.dumps(Bomb(str(mark))))
    return out, mark


@pytest.mark.parametrize("name", ["sample_inputs", "custom_obj_0", "opaque_obj_0"])
def test_a_program_that_holds_a_pickle_runs_nothing(tmp_path, name):
    path, mark = _bombed(tmp_path, name)
    with pytest.raises(ValueError, match=r"bomb\.pt2"):
        open_model(str(path))
    assert not mark.exists()


@pytest.mark.parametrize("batch", ["batch", 4])
def test_an_onnx_file_takes_any_number_of_rows(tmp_path, batch):
    model, x = perceptron(), rows(11)
    write_onnx(tmp_path / "m.onnx", model, batch)
    opened = open_model(str(tmp_path / "m.onnx"))
    for count in (1, 4, 11):
        torch.testing.assert_close(opened.model(x[:count]), model(x[:count]).detach())
    assert opened.shape == (4,)
    assert not opened.differentiable
    assert "gradient methods are left out" in opened.notes[0]
    assert ("exported for batches of 4" in " ".join(opened.notes)) is (batch == 4)


def test_a_foreign_onnx_file_is_refused_in_one_line(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no graph at all")
    with pytest.raises(ValueError, match="is no ONNX model") as raised:
        open_model(str(tmp_path / "m.onnx"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["m.pt", "m.pth", "m.pkl", "m.ckpt", "pytorch_model.bin"])
def test_pickles_are_refused(tmp_path, name):
    with (tmp_path / name).open("wb") as file:
        pickle.dump(Bomb(str(tmp_path / "exploded")), file)
    with pytest.raises(ValueError, match=r"is a pickle.*torch\.export"):
        open_model(str(tmp_path / name))
    assert not (tmp_path / "exploded").exists()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current directory with modules in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_function_gives_its_model_in_evaluation_mode(here):
    (here / "unmask_test_good.py").write_text(
        "from torch import nn\n"
        "def net():\n    return nn.Sequential(nn.Linear(2, 2), nn.Dropout())\n"
    )
    opened = open_model("unmask_test_good:net")
    assert isinstance(opened.model, nn.Module)
    assert not any(part.training for part in opened.model.modules())


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("unmask_test_missing:net", None, "does not import: ModuleNotFoundError"),
        ("unmask_test_broken:net", "import nothing_like_it", "does not import: ModuleNotFound"),
        ("unmask_test_syntax:net", "def net(:", "does not import: SyntaxError"),
        ("unmask_test_other:nett", "def net(): pass", "The nearest name is 'net'"),
        ("unmask_test_number:net", "def net(): return 3", "returned a int"),
        ("unmask_test_raises:net", "def net(): 1 / 0", "raised ZeroDivisionError"),
        ("unmask_test_nocolon", None, "is no model that can be opened"),
        ("folder/that/is/not.onnx", None, "There is no model at"),
    ],
)
def test_a_name_that_opens_nothing_says_why(here, name, source, said):
    if source is not None:
        (here / f"{name.partition(':')[0]}.py").write_text(source)
    with pytest.raises((ValueError, TypeError), match=said) as raised:
        open_model(name)
    assert "\n" not in str(raised.value)


def test_an_exhibit_brings_everything_along():
    opened = open_model("unmask.zoo:breast_cancer")
    assert opened.classes == ("malignant", "benign")
    assert opened.shape == (30,)
    assert opened.exhibit is not None
    assert opened.class_name(1) == "benign"


def test_the_digest_tells_two_models_apart(here):
    (here / "unmask_test_seeds.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def net():\n    torch.manual_seed(1)\n    return nn.Linear(2, 2)\n"
        "def other():\n    torch.manual_seed(2)\n    return nn.Linear(2, 2)\n"
    )
    first = open_model("unmask_test_seeds:net").digest
    assert first == open_model("unmask_test_seeds:net").digest
    assert first != open_model("unmask_test_seeds:other").digest


def test_batches_are_filled_up_and_cut():
    sizes = []

    def call(x):
        sizes.append(len(x))
        return x * 2

    x = rows(7)
    assert torch.equal(in_fitting_batches(call, x, 3, 3), x * 2)
    assert sizes == [3, 3, 3]
    sizes.clear()
    assert torch.equal(in_fitting_batches(call, x[:1], 2, None), x[:1] * 2)
    assert sizes == [2]


def test_opening_imports_no_heavy_guest():
    code = (
        "import sys, unmask.run\n"
        "heavy = {'transformers', 'onnxruntime', 'matplotlib', 'pandas', 'pyarrow', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_module_or_function_that_exits_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "unmask_test_exits.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "unmask_test_leaves.py").write_text("def net():\n    raise SystemExit('bye')\n")
    with pytest.raises(ValueError, match="does not import: SystemExit: 3"):
        open_model("unmask_test_exits:net")
    with pytest.raises(ValueError, match="raised SystemExit: bye"):
        open_model("unmask_test_leaves:net")


@pytest.mark.parametrize("name", ["nets.py:mlp", "./nets:mlp", "./nets.py:mlp"])
def test_a_file_given_for_a_module_is_told_how_to_write_it(name):
    with pytest.raises(ValueError, match=r"Write it with dots: nets:mlp\."):
        open_model(name)


def test_a_program_that_does_not_load_writes_no_log(tmp_path, caplog, capfd):
    torch.save(perceptron().state_dict(), tmp_path / "weights.pt2")
    with pytest.raises(ValueError, match=r"is no program that torch\.export can load") as raised:
        open_model(str(tmp_path / "weights.pt2"))
    assert "warnings above" not in str(raised.value)
    assert caplog.text + capfd.readouterr().err == ""
