"""Results come back from their folders bit for bit, and nothing else comes out of one."""

import json
from dataclasses import fields

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unmask.results import (
    Attribution,
    Dependence,
    Examples,
    Hierarchy,
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
        "residual": draw(st.none() | numbers),
        "residual_near_full": draw(st.none() | numbers),
    }


@st.composite
def attributions(draw):
    shape = draw(st.lists(sizes, min_size=1, max_size=4))
    return Attribution, {
        "values": draw(tensors(shape)),
        "gap": draw(st.none() | tensors((shape[0],))),
        "names": draw(st.none() | st.lists(texts, max_size=3).map(tuple)),
        "evaluations": draw(st.none() | st.integers(0)),
        "errors": draw(st.none() | tensors(shape)),
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
    curves = draw(st.dictionaries(named, tensors((draw(sizes),)), max_size=3))
    panel = st.lists(st.sampled_from([*curves] or [""]), min_size=2, max_size=4).map(tuple)
    return Measurement, {
        "numbers": draw(st.dictionaries(texts, numbers, max_size=3)),
        "curves": curves,
        "panels": draw(st.dictionaries(texts, panel, max_size=2)) if curves else {},
    }


@st.composite
def dependences(draw):
    points, columns, rows = draw(sizes), draw(st.integers(1, 2)), draw(sizes)
    names = st.lists(texts, min_size=columns, max_size=columns).map(tuple)
    return Dependence, {
        "points": draw(tensors((points, columns))),
        "average": draw(tensors((points,))),
        "curves": draw(st.none() | tensors((rows, points))),
        "observed": draw(st.none() | tensors((draw(sizes), columns))),
        "names": draw(st.none() | names),
    }


@st.composite
def hierarchies(draw):
    players, nodes = draw(st.integers(0, 40)), draw(sizes)
    return Hierarchy, {
        "members": draw(tensors((nodes, players), [torch.bool])),
        "score": draw(tensors((nodes,))),
        "step": draw(tensors((nodes,), [torch.int64, torch.int32])),
        "names": tuple(draw(st.lists(texts, min_size=players, max_size=players))),
        "evaluations": draw(st.none() | st.integers(0, 2**70)),
    }


RESULTS = (
    interactions()
    | attributions()
    | examples()
    | syntheses()
    | measurements()
    | dependences()
    | hierarchies()
)


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
@given(RESULTS)
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


def test_a_folder_from_before_there_were_panels_is_read(tmp_path):
    curves = {"x": torch.tensor([1.0, 2.0]), "y": torch.tensor([3.0, 4.0])}
    save(Measurement({}, curves, {"both": ("x", "y")}), tmp_path / "m")
    file = tmp_path / "m" / "result.json"
    words = json.loads(file.read_text())
    assert words.pop("panels") == {"both": ["x", "y"]}
    file.write_text(json.dumps(words))
    back = load(tmp_path / "m")
    assert isinstance(back, Measurement)
    assert dict(back.panels) == {}
    assert back.curves["y"].tolist() == [3, 4]


def test_a_folder_from_before_there_were_residuals_is_read(tmp_path):
    terms = Interactions(
        torch.ones(1, 1).bool(), torch.zeros(1).bool(), torch.ones(1), 0.0, ("a",), 0.5, 2, 0.1, 0.2
    )
    place = save(terms, tmp_path / "t")
    words = json.loads((place / "result.json").read_text())
    assert (words.pop("residual"), words.pop("residual_near_full")) == (0.1, 0.2)
    (place / "result.json").write_text(json.dumps(words))
    back = load(place)
    assert isinstance(back, Interactions)
    assert (back.residual, back.residual_near_full) == (None, None)
    assert (back.gap, back.evaluations) == (0.5, 2)
    (place / "result.json").write_text(json.dumps({**words, "residual": "little"}))
    with pytest.raises(ValueError, match=r"sound Interactions: its residual is not a number"):
        load(place)


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
