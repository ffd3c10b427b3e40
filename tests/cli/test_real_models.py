"""Real networks from the command line to a page. Needs UNMASK_DATA."""

import io
import os
import zipfile
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from unmask import zoo
from unmask.cli.main import app
from unmask.lattice import coalitions
from unmask.run import read_run

DATA = os.environ.get("UNMASK_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="UNMASK_DATA is not set")


def test_the_story_model_on_a_prompt(tmp_path):
    from unmask.zoo.data import story_tokenizer

    text = "Once upon a time, there was a little girl named"
    out = str(tmp_path / "out")
    words = ["explain", "unmask.zoo:stories", "--text", text, "--out", out]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    explained = read_run(out).explained[0]
    entry = explained.entry
    exhibit, tokenizer = zoo.stories(), story_tokenizer()
    with torch.no_grad():
        z = exhibit.model(tokenizer.encode(text)[None])[0, -1].double()
    assert entry.prediction == repr(tokenizer.tokens[int(z.argmax())])
    p = z.softmax(0)[entry.target]
    assert float(entry.table[-1]) == pytest.approx(float(torch.log(p / (1 - p))), abs=1e-3)
    assert entry.players.names == (
        *("Once", "upon", "a", "time", ",", "there", "was", "a (2)", "little", "girl", "named"),
    )
    terms = explained.results["and_or"]
    error = (terms(coalitions(11)) - entry.table.double()).abs().max()
    assert float(error) < 1e-8


@pytest.mark.slow
def test_squeezenet_on_a_photo(tmp_path):
    from PIL import Image

    with zipfile.ZipFile(Path(DATA or "", "imagenet_like/photos.zip")) as archive:
        name = next(name for name in archive.namelist() if "chelsea" in name)
        photo = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
    photo.save(tmp_path / "cat.png")
    out = str(tmp_path / "out")
    words = ["explain", "unmask.zoo:squeezenet", str(tmp_path / "cat.png"), "--grid", "2x3"]
    done = CliRunner().invoke(app, [*words, "--out", out])
    assert done.exit_code == 0, done.output
    explained = read_run(out).explained[0]
    assert "cat" in explained.entry.prediction or "Egyptian" in explained.entry.prediction
    assert explained.entry.x.shape == (3, 227, 227)
    assert len(explained.entry.table) == 64
    assert {"gradient", "integrated_gradients", "shapley_exact"} <= set(explained.results)
    assert (tmp_path / "out" / "page.html").stat().st_size < 2_000_000
