"""Results as tables."""

import numpy as np
import pandas as pd
import pytest
import torch

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
from unmask.store import KeptModel, frame, save

TERMS = Interactions(
    torch.tensor([[True, False, False], [True, False, True], [False, True, True]]),
    torch.tensor([False, True, False]),
    torch.tensor([1.0, -2.0, 0.1]),
    0.5,
    ("wing", "tail", "wing"),  # names need not differ
)


def test_interactions_have_a_row_per_term():
    table = frame(TERMS)
    assert [*table.columns] == ["order", "members", "logic", "effect"]
    assert table["order"].tolist() == [1, 2, 2]
    assert table["members"].tolist() == [("wing",), ("wing", "wing"), ("tail", "wing")]
    assert table["logic"].tolist() == ["AND", "OR", "AND"]
    np.testing.assert_array_equal(table["effect"], np.float32([1.0, -2.0, 0.1]))


def test_the_file_of_terms_says_the_same_to_other_programs(tmp_path):
    save(TERMS, tmp_path / "t")
    table = pd.read_parquet(tmp_path / "t" / "terms.parquet")
    assert [*table.columns] == ["order", "members", "logic", "effect"]
    assert table["order"].tolist() == [1, 2, 2]
    assert [tuple(members) for members in table["members"]] == frame(TERMS)["members"].tolist()
    assert table["logic"].tolist() == ["AND", "OR", "AND"]
    assert table["effect"].tolist() == TERMS.effects.double().tolist()


def test_no_terms_are_an_empty_table(tmp_path):
    none = Interactions(
        torch.zeros(0, 2, dtype=torch.bool),
        torch.zeros(0, dtype=torch.bool),
        torch.zeros(0),
        0.0,
        ("a", "b"),
    )
    assert len(frame(none)) == 0
    save(none, tmp_path / "t")
    assert len(pd.read_parquet(tmp_path / "t" / "terms.parquet")) == 0


def test_the_empty_term_is_a_row_too():
    terms = Interactions(
        torch.tensor([[False, False], [True, True]]),
        torch.tensor([False, False]),
        torch.ones(2),
        0.0,
        ("a", "b"),
    )
    assert frame(terms)["members"].tolist() == [(), ("a", "b")]


def test_an_attribution_of_a_table_has_a_column_per_name():
    table = frame(Attribution(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), names=("a", "b")))
    assert [*table.columns] == ["a", "b"]
    assert table["b"].tolist() == [2, 4]
    assert frame(Attribution(torch.ones(1, 3).bfloat16())).shape == (1, 3)


def test_an_attribution_of_more_axes_has_a_row_per_value():
    values = torch.arange(12.0).view(2, 3, 2)
    table = frame(Attribution(values, names=("x", "y")))
    assert [*table.columns] == ["input", "axis 1", "axis 2", "value"]
    for _, row in table.iterrows():
        place = (row["input"], row["axis 1"], {"x": 0, "y": 1}[row["axis 2"]])
        assert values[place] == row["value"]
    assert len(table) == 12


def test_names_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="1 names for values of shape"):
        frame(Attribution(torch.ones(2, 2), names=("a",)))


def test_examples_have_a_row_per_case():
    table = frame(Examples(torch.tensor([[7, 5], [1, 0]]), torch.tensor([[0.5, 0.25], [1.0, 0.0]])))
    assert table.to_numpy().tolist() == [
        [0, 0, 7, 0.5],
        [0, 1, 5, 0.25],
        [1, 0, 1, 1.0],
        [1, 1, 0, 0.0],
    ]
    assert frame(Examples(inputs=torch.ones(2, 4))).shape == (2, 4)
    assert len(frame(Examples())) == 0


def test_a_synthesis_has_a_row_per_step():
    table = frame(
        Synthesis(torch.zeros(2, 3), torch.tensor([5.0, 6.0]), torch.tensor([[1.0, 5], [2, 6]]))
    )
    assert table["trace"].tolist() == [1, 5, 2, 6]
    assert table["score"].tolist() == [5, 5, 6, 6]


def test_a_dependence_has_a_row_per_point_and_a_column_per_curve():
    points, curves = torch.tensor([[0.0, 5.0], [1.0, 5.0]]), torch.tensor([[1.0, 2], [3, 5]])
    table = frame(Dependence(points, curves.mean(0), curves, points, ("age", "income")))
    assert [*table.columns] == ["age", "income", "average", "row 0", "row 1"]
    assert table.to_numpy().tolist() == [[0, 5, 2, 1, 3], [1, 5, 3.5, 2, 5]]
    bare = frame(Dependence(points[:, :1], curves[0]))
    assert [*bare.columns] == ["column 0", "average"]


def test_a_hierarchy_has_a_row_per_set():
    members = torch.tensor([[True, False], [False, True], [True, True]])
    steps = torch.tensor([0, 0, 1])
    table = frame(Hierarchy(members, torch.tensor([1.0, -1.0, 3.0]), steps, ("not", "good")))
    assert table["members"].tolist() == [("not",), ("good",), ("not", "good")]
    assert table["step"].tolist() == [0, 0, 1]
    assert table["score"].tolist() == [1, -1, 3]


def test_a_surrogate_is_one_row():
    table = frame(Surrogate(KeptModel("some.Tree", None), 0.5, "if a then b"))
    assert table.to_numpy().tolist() == [["some.Tree", 0.5, "if a then b"]]


def test_a_measurement_has_a_row_per_number_and_point():
    result = Measurement({"loss": 2.0}, {"x": torch.tensor([1.0, 2]), "y": torch.tensor([3.0, 4])})
    table = frame(result)
    assert table["name"].tolist() == ["loss", "x", "x", "y", "y"]
    assert table["value"].tolist() == [2, 1, 2, 3, 4]
    assert table["point"].isna().tolist() == [True, False, False, False, False]
    curves = table.dropna().pivot(index="point", columns="name", values="value")
    assert curves["y"].tolist() == [3, 4]


def test_what_is_no_result_is_refused():
    with pytest.raises(TypeError, match="takes a result or a run, but got int"):
        frame(3)
