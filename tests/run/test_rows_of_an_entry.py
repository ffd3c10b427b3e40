"""What a run keeps of how its tables were made."""

import json

import pytest
import torch

from unmask import patches
from unmask.run.entry import Entry, load_entry, save_entry
from unmask.views import ImageView

ROWS = {"all, to plan": 13, "up to features.2": 16, "the rest": 4096, "all, to check": 64}


@pytest.fixture(name="entry")
def _entry():
    players = patches((1, 4, 4), (1, 2))
    return Entry(
        number=0, title="one", prediction="3", probability=0.5, truth=None, target=3, score="logit",
        players=players, view=ImageView(torch.zeros(4, 4, 3, dtype=torch.uint8)),
        x=torch.zeros(1, 4, 4), baseline=torch.zeros(1, 4, 4), table=torch.arange(4.0), rows=ROWS,
    )  # fmt: skip


def test_rows_are_kept_in_their_order(entry, tmp_path):
    save_entry(entry, tmp_path / "0")
    assert list(load_entry(tmp_path / "0").rows.items()) == list(ROWS.items())


def test_entries_that_know_no_rows_are_read(entry, tmp_path):
    save_entry(entry, tmp_path / "0")
    place = tmp_path / "0" / "entry.json"
    words = json.loads(place.read_text("utf-8"))
    del words["rows"]
    place.write_text(json.dumps(words), "utf-8")
    assert load_entry(tmp_path / "0").rows == {}
