"""What a folder of a result refuses, and what is left when writing is cut short."""

import copy
import json
import math
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save as save_tensors

from unmask.results import (
    Attribution,
    Dependence,
    Hierarchy,
    Interactions,
    Measurement,
)
from unmask.store import load, save

TERMS = Interactions(
    torch.tensor([[True, False], [True, True]]),
    torch.tensor([False, True]),
    torch.tensor([1.0, -2.0]),
    0.5,
    ("a", "b"),
    0.25,
    4,
)

CURVES = Dependence(torch.zeros(2, 1), torch.zeros(2), torch.zeros(4, 2))
TREE = Hierarchy(torch.ones(1, 2).bool(), torch.zeros(1), torch.zeros(1).long(), ("a", "b"))


def _broken(result, **changes):
    """Past the checks of shapes that run under test."""
    broken = copy.copy(result)
    for name, value in changes.items():
        object.__setattr__(broken, name, value)
    return broken


def test_a_broken_result_is_not_written(tmp_path):
    for broken, words in [
        (_broken(TERMS, names=("a",)), "2 players where the rest counts 1"),
        (_broken(TERMS, effects=torch.zeros(3)), "3 terms where the rest counts 2"),
        (_broken(TERMS, is_or=torch.zeros(2)), "float32, which is not Boolean"),
        (_broken(Attribution(torch.zeros(2, 2)), gap=torch.zeros(3)), "3 batch"),
        (_broken(Measurement(), curves={"c": torch.zeros(2, 2)}), "not a row of numbers"),
        (_broken(Measurement(), panels={"p": ("a", "b")}), "shows 'a', which is no curve"),
        (_broken(Attribution(torch.zeros(2, 2)), errors=torch.zeros(3, 2)), "3 batch"),
        (_broken(CURVES, curves=torch.zeros(4, 3)), "3 points where the rest counts 2"),
        (_broken(CURVES, average=None), "it has no average"),
        (_broken(TREE, names=("a",)), "2 players where the rest counts 1"),
        (_broken(TREE, step=torch.zeros(1)), "float32, which is not whole"),
        (Attribution(torch.zeros(2, 2).to_sparse()), "sparse"),
    ]:
        with pytest.raises(ValueError, match=words):
            save(broken, tmp_path / "x")
    with pytest.raises(TypeError, match=r"takes a result, but got list|Expected type"):
        save([1], tmp_path / "x")  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "x").exists()


def test_a_folder_of_other_things_is_not_swept_away(tmp_path):
    (tmp_path / "photo.jpg").write_text("dear")
    with pytest.raises(ValueError, match=r"other things.*photo\.jpg.*does not exist yet"):
        save(TERMS, tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        save(TERMS, tmp_path / "photo.jpg")
    assert (tmp_path / "photo.jpg").read_text() == "dear"


@pytest.mark.parametrize("file", ["result.json", "tensors.safetensors"])
@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_truncated_file_is_named(tmp_path, file, share):
    save(TERMS, tmp_path / "t")
    whole = (tmp_path / "t" / file).read_bytes()
    (tmp_path / "t" / file).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=rf"{file}.*(again|has written)"):
        load(tmp_path / "t")


@pytest.mark.parametrize("file", ["result.json", "tensors.safetensors"])
def test_a_missing_file_is_named(tmp_path, file):
    save(TERMS, tmp_path / "t")
    (tmp_path / "t" / file).unlink()
    with pytest.raises(ValueError, match=file):
        load(tmp_path / "t")


def test_what_is_no_result_is_refused(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        load(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is no result"):
        load(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    for text in [
        "[]", "{}", "null", "[" * 100_000, '{"a": 1', "\xff", '{"format": "unmask result"}',
        '{"format": "unmask result", "version": 2, "type": "Interactions"}',
        '{"format": "unmask result", "version": 1, "type": "os.system"}',
        '{"format": "unmask result", "version": 1, "type": ["Interactions"]}',
        '{"n": ' + "9" * 5000 + "}",
    ]:  # fmt: skip
        (tmp_path / "folder" / "result.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match=r"result\.json"):
            load(tmp_path / "folder")


def _changed(folder, **changes):
    words = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**words, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"names": "ab"},
        {"names": ["a"]},
        {"names": ["a", 1]},
        {"names": None},
        {"empty": "os"},
        {"empty": None},
        {"empty": True},
        {"gap": [1]},
        {"evaluations": 1.5},
        {"type": "Attribution"},
        {"type": "Measurement"},
        {"type": "Surrogate"},
        {"type": "Surrogate", "fidelity": 1.0, "text": "", "model": {"kind": 1}},
        {"type": "Measurement", "numbers": {"a": "b"}, "curves": []},
        {"type": "Measurement", "numbers": {}, "curves": ["effects"]},
        {"type": "Measurement", "numbers": {}, "curves": None},
        {"type": "Measurement", "numbers": {}, "curves": []},
    ],
)
def test_words_that_do_not_fit_the_tensors_are_refused(tmp_path, changes):
    save(TERMS, tmp_path / "t")
    _changed(tmp_path / "t", **changes)
    with pytest.raises(ValueError, match=r"does not hold a sound .* what made it"):
        load(tmp_path / "t")


@pytest.mark.parametrize(
    ("panels", "words"),
    [
        ({"p": ["x", "z"]}, "shows 'z', which is no curve"),
        ({"p": ["x", "long"]}, "differ in length"),
        ({"p": ["x"]}, "names 1 of the two"),
        ({"p": "xy"}, "not lists of curves"),
        ({"p": [1, 2]}, "not lists of curves"),
        (["x", "y"], "not lists of curves"),
        (None, "not lists of curves"),
    ],
)
def test_panels_of_other_curves_are_refused(tmp_path, panels, words):
    curves = {"x": torch.zeros(2), "y": torch.zeros(2), "long": torch.zeros(3)}
    save(Measurement({}, curves), tmp_path / "m")
    _changed(tmp_path / "m", panels=panels)
    with pytest.raises(ValueError, match=f"does not hold a sound Measurement: .*{words}.* Copy"):
        load(tmp_path / "m")


def test_tensors_that_do_not_fit_are_refused(tmp_path):
    save(TERMS, tmp_path / "t")
    good = {"members": TERMS.members, "is_or": TERMS.is_or, "effects": TERMS.effects}
    for change in [
        {"members": torch.zeros(2, 3, dtype=torch.bool)},
        {"members": torch.zeros(2, dtype=torch.bool)},
        {"effects": torch.zeros(2, dtype=torch.long)},
        {"effects": torch.zeros(())},
        {"other": torch.zeros(2)},
    ]:
        (tmp_path / "t" / "tensors.safetensors").write_bytes(save_tensors({**good, **change}))
        with pytest.raises(ValueError, match="does not hold a sound Interactions"):
            load(tmp_path / "t")


class Bomb:
    def __reduce__(self):
        return (eval, ("1/0",))


@pytest.mark.parametrize("file", ["result.json", "tensors.safetensors"])
def test_a_pickle_is_not_run(tmp_path, file):
    save(TERMS, tmp_path / "t")
    (tmp_path / "t" / file).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=file):  # and no ZeroDivisionError
        load(tmp_path / "t")


@pytest.mark.parametrize("part", ["save_tensors", "write_terms", "_encoded"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_while_saving_leaves_the_old_result(tmp_path, monkeypatch, part, error):
    save(TERMS, tmp_path / "t")

    def broken(*_):
        raise error

    monkeypatch.setattr(f"unmask.store.folder.{part}", broken)
    with pytest.raises(error):
        save(replace(TERMS, empty=7.0), tmp_path / "t")
    back = load(tmp_path / "t")
    assert isinstance(back, Interactions)
    assert back.empty == 0.5
    assert [entry.name for entry in tmp_path.iterdir()] == ["t"]


def test_a_file_that_hits_a_limit_half_way_leaves_the_old_result(tmp_path):
    """The system itself stops the writing after some bytes, in whichever of the files."""
    pytest.importorskip("resource")
    save(TERMS, tmp_path / "t")
    program = f"""
import resource, torch
from unmask.results import Interactions
from unmask.store import save
many = torch.rand(5000, 2) > 0.5
terms = Interactions(many, many[:, 0], torch.randn(5000), 7.0, ("a", "b"))
for limit in (100, 1000, 36_500):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
    try:
        save(terms, {str(tmp_path / "t")!r})
    except OSError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.count("could not be written: File too large") == 3
    back = load(tmp_path / "t")
    assert isinstance(back, Interactions)
    assert back.empty == 0.5
    assert [entry.name for entry in tmp_path.iterdir()] == ["t"]


def test_a_result_is_found_where_replacing_it_was_cut_short(tmp_path):
    save(TERMS, tmp_path / "t")
    (tmp_path / "t").rename(tmp_path / ".t.old")
    assert isinstance(load(tmp_path / "t"), Interactions)


def test_the_words_are_strict_json_with_readable_names(tmp_path):
    names = ("Größe", "<script>")
    save(replace(TERMS, names=names, empty=math.inf, gap=math.nan), tmp_path / "t")
    text = (tmp_path / "t" / "result.json").read_text("utf-8")

    def refuse(word):
        raise AssertionError(word)

    words = json.loads(text, parse_constant=refuse)
    assert (words["empty"], words["gap"]) == ("Infinity", "NaN")
    assert "Größe" in text
