"""What a person types, and what comes back: words, exit codes, a page."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from run.tiny import perceptron, rows, write_classifier, write_csv, write_exported, write_onnx
from typed import typed
from unmask import __version__
from unmask.cli.main import main
from unmask.run import read_run

NAMES = ("age", "height", "weight", "dose")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current directory with a program, an ONNX file and a table."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    write_exported(tmp_path / "m.pt2", perceptron(), rows(4), dynamic=True)
    write_onnx(tmp_path / "m.onnx", perceptron(), "batch")
    write_csv(tmp_path / "t.csv", rows(3), NAMES, {"y": ["0", "1", "2"]})
    return tmp_path


@pytest.mark.parametrize("command", ["demo", "explain", "run", "report", "methods", "show", "cite"])
def test_every_command_has_help_with_an_example(command):
    done = typed(command, "--help")
    assert done.exit_code == 0
    assert f"Example: unmask {command}" in done.output
    assert command in typed("--help").output


def test_version():
    assert typed("--version").output == f"{__version__}\n"


def test_explain_from_a_program_to_a_page(here):
    done = typed("explain", "m.pt2", "t.csv", "--label", "y", "--out", "out")
    assert done.exit_code == 0, done.output
    for part in ("log-odds of the class", "the 4 columns", "mean of the 3 rows", "row 2"):
        assert part in done.output
    assert str(here / "out" / "page.html") in done.output.replace("\n", "")
    page = (here / "out" / "page.html").read_text("utf-8")
    assert "height" in page
    assert len(read_run("out").explained) == 3
    again = typed("run", "out/plan.toml")
    assert again.exit_code == 0
    assert "row 2" in again.output


def test_explain_one_row_says_its_strongest_terms(here):
    done = typed("explain", "m.onnx", "t.csv", "--label", "y", "--row", "1")
    assert done.exit_code == 0, done.output
    assert "gradient methods are left out" in done.output
    assert "The strongest terms:" in done.output
    found = read_run("runs/m-t").explained
    assert [one.entry.number for one in found] == [1]
    terms = found[0].results["and_or"]
    share = 0.5 ** terms.members.sum(1).double()  # of the masks that hold all of a term
    moved = terms.effects.abs() * (share - share**2).sqrt()
    effects = terms.effects[moved.argsort(descending=True, stable=True)[:5]].tolist()
    shown = re.findall(r"^\s*([+-][\d.e-]+)  \S", done.output, re.MULTILINE)
    assert [float(part) for part in shown] == pytest.approx(effects, rel=1e-2)


def test_explain_again_goes_on_and_another_plan_gets_another_folder(here):
    for _ in range(2):
        assert typed("explain", "m.pt2", "t.csv", "--label", "y", "--row", "1").exit_code == 0
    assert typed("explain", "m.pt2", "t.csv", "--label", "y", "--row", "2").exit_code == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["m-t", "m-t-2"]


def test_explain_a_text(here):
    (here / "bert").mkdir()
    write_classifier(here / "bert")
    done = typed("explain", "bert", "--text", "the film was [bold]not[/bold] <b>good")
    assert done.exit_code == 0, done.output
    assert "[bold]" in done.output
    assert "a hidden word is the mask token '[MASK]'" in done.output


def test_inputs_that_fail_give_exit_code_one_and_the_others_a_page(here):
    x = rows(3)
    x[1, 0] = torch.nan
    write_csv(here / "t.csv", x, NAMES, {"y": ["0", "1", "2"]})
    done = typed("explain", "m.pt2", "t.csv", "--label", "y", "--out", "out")
    assert done.exit_code == 1
    assert "Not explained: row 1 (input 1): The input must be finite" in done.output
    assert (here / "out" / "page.html").exists()
    words = json.loads((here / "out" / "run.json").read_text())
    assert [failure["number"] for failure in words["failures"]] == [1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["explain", "nothing_here:net", "t.csv"], "does not import"),
        (["explain", "m.pth", "t.csv"], "is a pickle"),
        (["explain", "m.pt2", "tt.csv"], "There are no inputs at"),
        (["explain", "m.pt2", "t.csv"], "The model takes 4 columns"),
        (["explain", "m.pt2", "t.csv", "--label", "z"], "has no column 'z'"),
        (["explain", "m.pt2", "t.csv", "--label", "y", "--row", "3"], "There is no input 3"),
        (["explain", "m.pt2", "t.csv", "--label", "y", "--grid", "3by4"], "--grid is '3by4'"),
        (["explain", "m.pt2", "t.csv", "--text", "x"], "Both a file"),
        (["explain", "m.pt2", "--text", "x"], "takes no texts"),
        (["explain", "m.pt2", "t.csv", "--label", "y", "--players", "word"], "are unknown"),
        (["run", "none.toml"], "There is no plan at"),
        (["run", "m.pt2"], "is no text that could be a plan"),
        (["report", "none"], "There is no run at"),
        (["report", "."], "is no run folder"),
        (["show", "and_ro"], "no method 'and_ro'"),
        (["cite", "and_ro"], "no method 'and_ro'"),
        (["methods", "--family", "salience"], "The nearest name is 'saliency'"),
        (["methods", "qwertz"], "No method has the words"),
    ],
)
def test_a_mistake_gives_one_line_and_exit_code_two(here, words, said):
    done = typed(*words)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("unmask: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_folder_with_other_files_is_left_alone(here):
    before = sorted(here.iterdir())
    done = typed("explain", "m.pt2", "t.csv", "--label", "y", "--out", ".")
    assert done.exit_code == 2
    assert "is no run, but holds other files" in done.stderr
    assert sorted(here.iterdir()) == before


def test_names_of_the_user_cannot_steer_the_terminal(here):
    names = ("\x1b[31mred", "[bold]", "<script>", "dose")
    write_csv(here / "t.csv", rows(1), names, {"y": ["\x1b]0;title\x07"]})
    done = typed("explain", "m.pt2", "t.csv", "--label", "y")
    assert done.exit_code == 0
    assert "\x1b" not in done.output
    assert "<script>" in done.output
    done = typed("explain", "m.pt2", "t.csv", "--label", "\x1b[31m")
    assert done.exit_code == 2
    assert "\x1b" not in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["explian"], "No such command 'explian'. Did you mean 'explain', 'plan'? See"),
        (["explain"], "Missing argument 'model'. See `unmask explain --help`."),
        (["explain", "m", "--rwo", "1"], "No such option: --rwo"),
        (["explain", "m", "--row", "x"], "Invalid value for '--row'"),
    ],
)
def test_wrong_usage_gives_one_line_and_exit_code_two(here, capsys, words, said):
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"unmask: {said}")
    assert err.count("\n") == 1


def test_no_words_at_all_show_the_help(capsys):
    with pytest.raises(SystemExit):
        main([])
    assert "explain" in capsys.readouterr().out


def test_a_wish_that_cannot_be_fulfilled_makes_no_folder(here):
    for wish in (["--target", "3"], ["--target", "nobody"], ["--grid", "2x2"]):
        done = typed("explain", "m.pt2", "t.csv", "--label", "y", *wish)
        assert done.exit_code == 2
        assert done.stderr.count("\n") == 1
    assert not Path("runs").exists()


def test_an_error_of_the_system_says_what_to_do(here):
    done = typed("explain", "m.pt2", "t.csv", "--label", "y", "--out", "/proc/nowhere")
    assert done.exit_code == 2
    assert done.stderr.startswith("unmask: Nothing can be written in '/proc/nowhere': ")
    assert done.stderr.endswith(". Check the path.\n")


def test_a_run_whose_terms_all_failed_has_no_page_and_exit_code_one(here, monkeypatch):
    def broken(*given, **options):
        raise RuntimeError("no terms today")

    assert typed("explain", "m.pt2", "t.csv", "--label", "y", "--out", "out").exit_code == 0
    monkeypatch.setattr("unmask.run.explainer.catalogue.fill", broken)
    monkeypatch.setattr("unmask.run.explainer.and_or_tables", broken)
    done = typed("run", "out/plan.toml", "--out", "again")
    assert done.exit_code == 1
    assert "no terms today" in done.output
    assert "Page:" not in done.output
    assert done.stderr == ""


def test_debug_shows_the_traceback_wherever_it_stands(here):
    for words in (["--debug", "report", "none"], ["report", "none", "--debug"]):
        with pytest.raises(ValueError, match="There is no run at"):
            main(words)
    with pytest.raises(SystemExit) as left:
        main(["report", "none"])
    assert left.value.code == 2


def test_something_unexpected_is_one_line_too(here, monkeypatch):
    def broken(name):
        raise RuntimeError("no\nidea")

    monkeypatch.setattr("unmask.catalogue.entry", broken)
    done = typed("show", "and_or")
    assert done.exit_code == 1
    assert done.stderr == (
        "unmask: Something unexpected went wrong: RuntimeError: no idea. "
        "Repeat the command with --debug to see where.\n"
    )


def test_a_full_disk_is_exit_code_one(here):
    code = (
        "import resource\nfrom unmask.cli.main import main\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (100, {-1}))\n"
        "main(['explain', 'm.pt2', 't.csv', '--label', 'y', '--out', 'out'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "could not be written" in done.stderr
    assert done.stderr.count("\n") == 1


def test_show_says_formula_signature_and_paper():
    done = typed("show", "integrated_gradients")
    assert "from unmask.methods.saliency import integrated_gradients" in done.output
    assert "$$" in done.output
    assert "Args:" in done.output
    assert "Paper: Sundararajan, Mukund and" in done.output
    assert "integrated_gradients(score, x, *, baseline, " in done.output.replace("\n", " ")


def test_show_writes_defaults_without_addresses():
    assert "(score, x, *, rules=Rules(...), " in typed("show", "lrp").output
    assert "share=shapley_exact" in typed("show", "shapley_feature_importance").output
    assert " at 0x" not in typed("show", "lrp").output


def test_methods_are_filtered_by_word_and_family():
    everything = typed("methods").output
    assert "and_or" in everything
    assert "gradient" in everything
    some = typed("methods", "gradient", "--family", "saliency").output
    assert "integrated_gradients" in some
    assert "and_or" not in some


def test_cite_prints_bibtex_alone():
    done = typed("cite", "integrated_gradients")
    assert done.output.startswith("@")
    assert "sundararajan2017axiomatic" in done.output


def test_the_page_of_a_run_can_be_written_again(here):
    assert typed("explain", "m.pt2", "t.csv", "--label", "y", "--out", "out").exit_code == 0
    done = typed("report", "out", "--out", "elsewhere.html")
    assert done.exit_code == 0
    assert (here / "elsewhere.html").read_bytes() == (here / "out" / "page.html").read_bytes()
    shutil.rmtree(here / "out" / "inputs" / "00001" / "entry")
    assert typed("report", "out").exit_code == 2


def test_a_run_without_terms_has_results_and_no_page(here):
    assert typed("explain", "m.pt2", "t.csv", "--label", "y", "--out", "out").exit_code == 0
    text = (here / "out" / "plan.toml").read_text()
    head = text.partition("[methods.and_or]")[0]
    (here / "other.toml").write_text(head + "[methods.shapley_exact]\n")
    done = typed("run", "other.toml")
    assert done.exit_code == 0, done.output
    assert (here / "other" / "run.json").exists()
    assert "Page:" not in done.output
    assert typed("report", "other").exit_code == 2


SLOW = """
import os, time
from torch import nn

class Slow(nn.Module):
    def forward(self, x):
        time.sleep(float(os.environ.get("UNMASK_TEST_PAUSE", "0")))
        return x[:, :3] * 1.0

def slow():
    return Slow()
"""


@pytest.mark.slow
def test_an_interrupt_gives_exit_code_130_and_the_run_goes_on_later(here):
    (here / "unmask_test_slow.py").write_text(SLOW)
    command = [sys.executable, "-m", "unmask.cli", "explain", "unmask_test_slow:slow", "t.csv"]
    command += ["--label", "y", "--out", "out"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "UNMASK_TEST_PAUSE": "0.2"},
    )
    deadline = time.monotonic() + 120
    while not (here / "out" / "inputs").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "goes on from here" in said
    assert "Traceback" not in said
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert len(read_run("out").explained) == 3


def test_help_loads_nothing_beyond_the_package_itself():
    code = (
        "import sys, unmask\nbefore = set(sys.modules)\n"
        "sys.argv = ['unmask', '--help']\n"
        "try:\n    import unmask.cli.__main__\nexcept SystemExit:\n    pass\n"
        "heavy = {'transformers', 'onnxruntime', 'matplotlib', 'pandas', 'pyarrow', 'sklearn'}\n"
        "print('loaded:', sorted(heavy & (set(sys.modules) - before)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("loaded: []\n")


@pytest.mark.slow
def test_the_demo_shows_two_networks_right_and_wrong(here):
    done = typed("demo", "--out", "demo")
    assert done.exit_code == 0, done.output
    assert "✗" in done.output
    lines = re.findall(r"^ (?:breast cancer|digits) \d.*$", done.output, re.MULTILINE)
    assert len(lines) == 12
    for line in lines:
        terms, gap, error = line.split()[-3:]
        assert 0 < int(terms) <= 2**13
        assert float(gap) <= 1e-2
        assert float(error) < 1e-6
    page = done.output.rstrip().rpartition("Page: ")[2].replace("\n", "")
    assert Path(page).stat().st_size < 2_000_000
