"""Plans: read with care, written so that reading gives the same plan back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unmask.run.check_plan import checked_methods
from unmask.run.plan import Choice, Plan, Source
from unmask.run.plan_file import parsed, read_plan, written

EXAMPLE = """
model   = "my_models:resnet"
inputs  = "inputs.safetensors"
score   = { log_odds = { target = 3 } }
players = { patches = { grid = [3, 4] } }
baseline = "mean"

[methods.and_or]
tolerance = 0.5
[methods.integrated_gradients]
"""

texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
numbers = st.one_of(
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False),
    texts,
)
values = st.recursive(
    numbers,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple), st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=6,
)
options = st.dictionaries(texts, values, max_size=3)
choices = st.builds(Choice, texts, options)
sources = st.builds(
    Source,
    file=st.none() | texts,
    text=st.lists(texts, max_size=3).map(tuple),
    label=st.none() | texts,
    size=st.none() | st.tuples(st.integers(1, 999), st.integers(1, 999)),
)
plans = st.builds(
    Plan,
    model=texts,
    inputs=sources,
    score=choices,
    players=choices,
    baseline=choices,
    methods=st.dictionaries(texts, options, min_size=1, max_size=3),
    rows=st.none() | st.lists(st.integers(0, 99), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 99),
    batch_size=st.none() | st.integers(1, 99),
)


@given(plans)
def test_a_plan_survives_being_written_and_read(plan):
    assert parsed(written(plan)) == plan


def test_the_example_of_the_documents_reads():
    plan = parsed(EXAMPLE)
    assert plan.model == "my_models:resnet"
    assert plan.inputs == Source(file="inputs.safetensors")
    assert plan.score == Choice("log_odds", {"target": 3})
    assert plan.players == Choice("patches", {"grid": (3, 4)})
    assert plan.baseline == Choice("mean")
    assert plan.methods == {"and_or": {"tolerance": 0.5}, "integrated_gradients": {}}
    assert plan.rows is None
    assert plan.seed == 0


def test_floats_come_back_bit_for_bit():
    plan = parsed(EXAMPLE)
    for number in (0.1, 1e-300, math.pi * 1e22, math.inf):
        changed = parsed(written(plan).replace("0.5", repr(number)))
        assert changed.methods["and_or"]["tolerance"] == number


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("baseline =", "baselin =", "The key 'baselin' is unknown. The nearest name is 'baseline'"),
        ("model   =", "# ", "The key 'model' is missing"),
        ('"mean"', "3", "The key 'baseline' is 3. Name one way with its options"),
        ('"mean"', "{ mean = {}, blur = {} }", "Name one way"),
        ("[methods.and_or]\ntolerance = 0.5\n[methods.integrated_gradients]", "[methods]", "empty"),
        ("[methods.and_or]\n", "[methods]\n", "The method 'tolerance' has the value 0.5"),
        ('"inputs.safetensors"', "7", "The key 'inputs' is 7"),
        ('"inputs.safetensors"', '{ fil = "a" }', "The nearest name is 'file'"),
        ('"inputs.safetensors"', '{ file = "a", size = [3] }', r"'size' of inputs is \[3\]"),
        ('baseline = "mean"', 'baseline = "mean"\nrows = [-1]', "counted from 0"),
        ('baseline = "mean"', 'baseline = "mean"\nrows = []', "is an empty list"),
        ('baseline = "mean"', 'baseline = "mean"\nbatch_size = 0', "above 0"),
        ('baseline = "mean"', 'baseline = "mean"\nseed = "x"', "The key 'seed' is 'x'"),
        ('baseline = "mean"', "baseline = mean", "This is not TOML"),
    ],
)
def test_a_broken_plan_says_what_is_wrong(old, new, said, tmp_path):
    assert old in EXAMPLE
    (tmp_path / "plan.toml").write_text(EXAMPLE.replace(old, new))
    with pytest.raises(ValueError, match=said) as raised:
        read_plan(tmp_path / "plan.toml")
    assert "plan.toml" in str(raised.value)


def test_a_plan_that_is_not_there_or_is_no_text(tmp_path):
    with pytest.raises(ValueError, match="There is no plan at"):
        read_plan(tmp_path / "none.toml")
    (tmp_path / "plan.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is no text that could be a plan"):
        read_plan(tmp_path / "plan.toml")
    with pytest.raises(ValueError, match="is no text that could be a plan"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("methods.and_or", "methods.and_ro", "'and_ro' is unknown. The nearest names? .*'and_or'"),
        ("tolerance", "tolerence", "no option 'tolerence'. The nearest name is 'tolerance'"),
        ("log_odds", "logodds", "The score 'logodds' is unknown. The nearest names are 'log_odds'"),
        ("target = 3", "targte = 3", "no option 'targte'. The nearest name is 'target'"),
        ("patches =", "patch =", "The players 'patch' is unknown. The nearest name is 'patches'"),
        ('"mean"', '"maen"', "The baseline 'maen' is unknown. The nearest name is 'mean'"),
        ('"mean"', "{ mean = { of = 1 } }", "'mean' has no option 'of'. It takes none."),
    ],
)
def test_names_that_do_not_exist_are_refused_with_the_nearest(old, new, said):
    assert old in EXAMPLE
    with pytest.raises(ValueError, match=said):
        checked_methods(parsed(EXAMPLE.replace(old, new)))


def test_what_cannot_be_written_is_refused():
    plan = parsed(EXAMPLE)
    broken = Plan(
        plan.model,
        plan.inputs,
        Choice("log_odds", {"target": None}),
        plan.players,
        plan.baseline,
        plan.methods,
    )
    with pytest.raises(TypeError, match="A plan cannot hold None"):
        written(broken)
