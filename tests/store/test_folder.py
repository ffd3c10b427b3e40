"""Results come back from their folders bit for bit, and nothing else comes out of one."""

import copy
import json
import math
import pickle
import subprocess
import sys
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from unmask.results import (
    Attribution,
    Examples,
    Interactions,
    Measurement,
    Surrogate,
    Synthesis,
)
from unmask.store import KeptModel, load, save

REAL = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
sizes = st.integers(0, 4)
numbers = st.floats(allow_nan=True, allow_infinity=True)
texts = st.text(st.characters(), max_size=12)  # any character, half surrogate pairs too
quick = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def tensors(draw, shape, dtypes=REAL):
    """Any bits at all, so also infinity, minus zero and every NaN."""
    dtype = draw(st.sampled_from(dtypes))
    seed = draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, generator=generator).bool()
    width = torch.empty(0, dtype=dtype).element_size()
    raw = torch.randint(0, 256, (*shape, width), generator=generator, dtype=torch.uint8)
    return raw.view(dtype)[..., 0] if raw.numel() else torch.zeros(shape, dtype=dtype)


# The results themselves are made in the test: the checks of types draw from the random module,
# which Hypothesis forbids inside a strategy.
@st.composite
def interactions(draw):
    players, terms = draw(st.integers(0, 40)), draw(sizes)
    return Interactions, {
        "members": draw(tensors((terms, players), [torch.bool])),
        "is_or": draw(tensors((terms,), [torch.bool])),
        "effects": draw(tensors((terms,))),
        "empty": draw(numbers),
        "names": tuple(draw(st.lists(texts, min_size=players, max_size=players))),
        "gap": draw(st.none() | numbers),
        "evaluations": draw(st.none() | st.integers(0, 2**70)),
    }


@st.composite
def attributions(draw):
    shape = draw(st.lists(sizes, min_size=1, max_size=4))
    return Attribution, {
        "values": draw(tensors(shape)),
        "gap": draw(st.none() | tensors((shape[0],))),
        "names": draw(st.none() | st.lists(texts, max_size=3).map(tuple)),
        "evaluations": draw(st.none() | st.integers(0)),
    }


@st.composite
def examples(draw):
    batch, cases = draw(sizes), draw(sizes)
    return Examples, {
        "index": draw(st.none() | tensors((batch, cases), [torch.int64, torch.int32])),
        "weight": draw(st.none() | tensors((batch, cases))),
        "inputs": draw(st.none() | tensors((batch, 2, 3), [*REAL, torch.uint8, torch.bool])),
    }


@st.composite
def syntheses(draw):
    batch = draw(sizes)
    return Synthesis, {
        "inputs": draw(tensors((batch, 3))),
        "score": draw(tensors((batch,))),
        "trace": draw(tensors((batch, draw(sizes)))),
    }


@st.composite
def measurements(draw):
    named = st.text(max_size=8)
    return Measurement, {
        "numbers": draw(st.dictionaries(texts, numbers, max_size=3)),
        "curves": draw(st.dictionaries(named, tensors((draw(sizes),)), max_size=3)),
    }


def _bits(value: Tensor) -> list[int]:
    if value.dtype == torch.bool:
        return value.flatten().tolist()
    return value.contiguous().flatten().view(torch.uint8).tolist() if value.numel() else []


def _same(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and _bits(a) == _bits(b)
    if isinstance(a, dict) and isinstance(b, dict):
        return [*a] == [*b] and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, float) and isinstance(b, float):
        return repr(a) == repr(b)
    return type(a) is type(b) and a == b


@quick
@given(interactions() | attributions() | examples() | syntheses() | measurements())
def test_every_result_comes_back_bit_for_bit(tmp_path, made):
    kind, parts = made
    result = kind(**parts)
    save(result, tmp_path / "result")
    back = load(tmp_path / "result")
    assert type(back) is type(result)
    for field in fields(result):
        assert _same(getattr(result, field.name), getattr(back, field.name)), field.name


def test_tensors_that_are_views_of_each_other_come_back(tmp_path):
    base = torch.arange(6.0)
    result = Measurement({}, {"even": base[::2], "again": base[::2], "all": base.expand(1, 6)[0]})
    save(result, tmp_path / "m")
    back = load(tmp_path / "m")
    assert isinstance(back, Measurement)
    assert back.curves["even"].tolist() == [0, 2, 4]
    assert back.curves["again"].tolist() == [0, 2, 4]
    assert back.curves["all"].tolist() == [0, 1, 2, 3, 4, 5]


def test_gradients_and_negative_views_are_plain_numbers_in_the_file(tmp_path):
    values = torch.ones(1, 2, requires_grad=True) * 3
    save(Attribution(values), tmp_path / "a")
    back = load(tmp_path / "a")
    assert isinstance(back, Attribution)
    assert back.values.tolist() == [[3, 3]]
    assert not back.values.requires_grad


def test_many_terms_and_many_players(tmp_path):
    generator = torch.Generator().manual_seed(0)
    terms = Interactions(
        torch.rand(20_000, 600, generator=generator) > 0.99,
        torch.rand(20_000, generator=generator) > 0.5,
        torch.randn(20_000, generator=generator),
        0.5,
        tuple(f"player {i}" for i in range(600)),
    )
    save(terms, tmp_path / "terms")
    back = load(tmp_path / "terms")
    assert isinstance(back, Interactions)
    assert torch.equal(back.members, terms.members)
    masks = torch.rand(5, 600, generator=generator) > 0.5
    assert torch.equal(back(masks), terms(masks))


def test_of_a_module_the_state_is_kept_and_fits_a_new_one(tmp_path):
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    save(Surrogate(module, 0.75, "a text\nof two lines"), tmp_path / "s")
    back = load(tmp_path / "s")
    assert isinstance(back, Surrogate)
    assert (back.fidelity, back.text) == (0.75, "a text\nof two lines")
    assert isinstance(back.model, KeptModel)
    assert back.model.kind == "torch.nn.modules.container.Sequential"
    anew = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    anew.load_state_dict(dict(back.model.state or {}))
    assert torch.equal(anew[0].weight, module[0].weight)

    save(back, tmp_path / "again")
    again = load(tmp_path / "again")
    assert isinstance(again, Surrogate)
    assert isinstance(again.model, KeptModel)
    assert [*(again.model.state or {})] == [*module.state_dict()]


class Estimator:
    """Says when it is pickled or unpickled."""

    def __reduce__(self):
        raise AssertionError("pickled")


def test_of_an_estimator_nothing_but_its_kind_is_kept(tmp_path):
    save(Surrogate(Estimator(), 1.0, "rules"), tmp_path / "s")
    back = load(tmp_path / "s")
    assert isinstance(back, Surrogate)
    assert isinstance(back.model, KeptModel)
    assert back.model.kind.endswith("Estimator")
    assert back.model.state is None
    save(Surrogate(None, 1.0), tmp_path / "none")
    assert load(tmp_path / "none") == Surrogate(None, 1.0)


TERMS = Interactions(
    torch.tensor([[True, False], [True, True]]),
    torch.tensor([False, True]),
    torch.tensor([1.0, -2.0]),
    0.5,
    ("a", "b"),
    0.25,
    4,
)


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
