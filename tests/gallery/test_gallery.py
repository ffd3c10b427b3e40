import os

import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from unmask.cli.main import app
from unmask.gallery import PLATES, Finding, Plate, hang

each_plate = pytest.mark.parametrize("name", PLATES)


@each_plate
def test_a_plate_without_any_data_agrees_with_its_source(name):
    plate = PLATES[name](quick=True)
    assert plate.name == name
    assert plate.findings
    for found in plate.findings:
        assert found.holds, found
    assert plate.picture.axes


@pytest.mark.slow
@each_plate
def test_a_plate_on_real_data_agrees_with_its_source(name):
    if not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")
    for found in PLATES[name]().findings:
        assert found.holds, found


def test_a_disagreement_is_shown_as_one(tmp_path):
    plate = Plate(
        "odd",
        "A < B & C",
        "Nowhere",
        "Nothing.",
        (Finding("It rises < 1.", "It falls > 2.", False), Finding("It is.", "It is.", True)),
        Figure(),
    )
    page = hang([plate], tmp_path / "new" / "folder")
    text = page.read_text()
    assert "A &lt; B &amp; C" in text
    assert "It rises &lt; 1." in text
    assert "It falls &gt; 2." in text
    assert text.count("differs</td>") == text.count("agrees</td>") == 1
    assert text.count("<svg") == 1
    assert "http" not in text.replace("http://www.w3.org", "")  # nothing is fetched
    assert (page.parent / "odd.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (page.parent / "odd.svg").read_text()


def test_the_command_hangs_what_it_is_asked_for(tmp_path):
    done = CliRunner().invoke(app, ["gallery", "dependence_1", "--quick", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "dependence_1: 2 of 2 findings agree" in done.output
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"index.html", "dependence_1.png", "dependence_1.svg"}


def test_an_unknown_plate_is_named_with_its_neighbours(tmp_path):
    done = CliRunner().invoke(app, ["gallery", "survey_figure_9", "--out", str(tmp_path / "x")])
    assert done.exit_code != 0
    assert "no plate 'survey_figure_9'" in done.output.replace("\n", " ")
    assert not (tmp_path / "x").exists()
