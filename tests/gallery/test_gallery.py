import os

import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from unmask.cli.main import app
from unmask.gallery import PLATES, Finding, Plate, hang

TRAINED = {f"interactions_figure_{i}" for i in (1, 2, 6, 7, 8, 10)} | {"sanity_checks"}
"""Plates that train networks while one waits, unless the cache has them, or run many methods."""

DIFFERS_QUICK = {
    ("interactions_figure_1", 3),  # the gap opens a little after the switch, by a factor of 2 to 3
    ("interactions_figure_6", 1),  # 400 rows: the second phase is too small to be proved
    ("interactions_figure_7", 1),  # few inputs do not tell noise of high orders from a difference
    ("interactions_figure_8", 0),  # wrong labels do not raise the mean order
    ("interactions_figure_8", 2),
    ("sanity_checks", 1),  # guided Grad-CAM changes with the weights of its channels
    ("interactions_figure_10", 1),  # few checkpoints do not prove that it falls throughout
    ("sanity_checks", 4),  # few images and few random networks
}
"""Findings that are known not to agree, by plate and place. Changed code should change none."""

DIFFERS = {
    ("interactions_figure_3", 3),  # an untrained transformer that takes a mean is nearly additive
    ("interactions_figure_4", 1),  # a ResNet on photos needs a sixth of all terms
    ("interactions_figure_5", 1),
    ("interactions_figure_6", 3),  # the transformer begins with low orders: there is no first phase
    ("interactions_figure_6", 4),  # the first phase of clouds of points is too small to be proved
    ("interactions_figure_7", 1),  # few inputs do not tell noise of high orders from a difference
    ("interactions_figure_8", 0),  # the difference is smaller than its bounds
    ("interactions_figure_8", 2),
    ("interactions_figure_10", 0),  # one seed of three is as well described without noise
    ("interactions_figure_10", 1),
    ("sanity_checks", 1),  # guided Grad-CAM changes with the weights of its channels
    ("sanity_checks", 3),  # on photos, which have no background of zeros, it does not
    ("sanity_checks", 4),  # contextual decomposition and flipping sets
}
"""The same of the plates on real data."""

each_plate = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in TRAINED)) for name in PLATES],
)


def differences(plate):
    return {(plate.name, i) for i, found in enumerate(plate.findings) if not found.holds}


@each_plate
def test_a_plate_without_any_data_agrees_with_its_source(name):
    plate = PLATES[name](quick=True)
    assert plate.name == name
    assert plate.findings
    assert differences(plate) == {one for one in DIFFERS_QUICK if one[0] == name}, plate.findings
    assert plate.picture.axes
    assert all(found.claim.endswith(".") for found in plate.findings)
    assert all(found.measured.endswith(".") for found in plate.findings)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long if name in TRAINED else pytest.mark.slow)
        for name in PLATES
    ],
)
def test_a_plate_on_real_data_agrees_with_its_source(name):
    if not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")
    plate = PLATES[name]()
    assert differences(plate) == {one for one in DIFFERS if one[0] == name}, plate.findings


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
