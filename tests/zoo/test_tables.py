import csv
import gzip
import os
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_breast_cancer

from unmask import zoo
from unmask.score import predicted
from unmask.zoo.census import FACTS, encoded


def accuracy(exhibit):
    found = predicted(exhibit.model, torch.stack(exhibit.inputs))
    return (found == torch.tensor(exhibit.labels)).float().mean().item()


def test_breast_cancer_is_told_from_samples_not_seen():
    assert accuracy(zoo.breast_cancer()) >= 0.95


def test_breast_cancer_shows_the_samples_in_their_own_units():
    exhibit = zoo.breast_cancer()
    table = load_breast_cancer()
    assert exhibit.players(0).names[:2] == ("radius", "texture")
    met = set()
    for i, x in enumerate(exhibit.inputs):
        mean, error, worst = [], [], []
        for text in exhibit.view(i).present:
            first, last = text.split(", worst ")
            middle = first.split(" ± ")
            for column, number in zip((mean, error, worst), (*middle, last), strict=True):
                column.append(float(number.replace(",", "")))
        told = torch.tensor([*mean, *error, *worst], dtype=torch.float64)
        rows = torch.tensor(table.data)
        away = ((rows - told).abs() / (rows.abs() + 1e-3)).amax(1)
        row = int(away.argmin())
        assert away[row] < 0.06  # two digits of a standard error
        assert table.target[row] == exhibit.labels[i]
        met.add(row)
        for player in range(10):
            assert exhibit.players(i).owner[player::10].tolist() == [player] * 3
        assert x.shape == (30,)
    assert len(met) == 169
    # Standardised by the other 400 alone, whose mean is the baseline, at zero.
    others = torch.tensor([row for i, row in enumerate(table.data.tolist()) if i not in met])
    rows = torch.tensor(table.data[sorted(met)])
    expected = ((rows - others.mean(0)) / others.std(0)).float()
    found = torch.stack(exhibit.inputs)
    assert torch.allclose(found.sort(0).values, expected.sort(0).values, atol=1e-4)
    assert exhibit.baseline(0).tolist() == [0.0] * 30
    radius = exhibit.view(0).absent[0].split(" ± ")[0]
    assert float(radius) == pytest.approx(others[:, 0].mean().item(), rel=0.005)


def person(**facts):
    usual = dict.fromkeys(FACTS, "x") | {
        "age": "40",
        "education_num": "10",
        "capital_gain": "0",
        "capital_loss": "0",
        "hours_per_week": "38",
    }
    return usual | facts


def test_facts_become_columns_with_one_player_each():
    rows = [
        person(age="20", sex="Male", capital_gain="99"),
        person(age="40", sex="Female", workclass=""),
        person(age="60", sex="Female"),
    ]
    census = encoded(rows)
    by_name = {column: census.inputs[:, i].tolist() for i, column in enumerate(census.columns)}
    assert by_name["age", None] == pytest.approx([-1, 0, 1])
    assert by_name["sex", "Male"] == [1, 0, 0]
    assert by_name["sex", "Female"] == [0, 1, 1]
    assert by_name["workclass", "unknown"] == [0, 1, 0]
    assert by_name["capital_gain", None] == pytest.approx([2 / 3**0.5, -1 / 3**0.5, -1 / 3**0.5])
    assert by_name["capital_loss", None] == [0, 0, 0]
    owners = {
        census.players.names[int(owner)]: {
            name
            for (name, _), o in zip(census.columns, census.players.owner, strict=True)
            if o == owner
        }
        for owner in census.players.owner
    }
    assert owners["education"] == {"education", "education_num"}
    assert all(owners[fact.replace("_", " ")] == {fact} for fact in FACTS if fact != "education")
    baseline = dict(zip(census.columns, census.baseline.tolist(), strict=True))
    assert baseline["age", None] == pytest.approx(0)
    assert baseline["sex", "Female"] == pytest.approx(2 / 3)


def test_facts_read_as_a_person_would_say_them():
    rows = [person(age="20", capital_gain="99"), person(sex="Male"), person(workclass="")]
    census = encoded(rows)
    told = dict(zip(census.players.names, census.told(rows[0]), strict=True))
    assert told["age"] == "20 years"
    assert told["capital gain"] == "$99"
    assert told["hours per week"] == "38 hours"
    assert (
        dict(zip(census.players.names, census.told(rows[2]), strict=True))["workclass"] == "unknown"
    )
    absent = dict(zip(census.players.names, census.absent, strict=True))
    assert absent["age"] == "33.3 years"
    assert absent["sex"] == "mixture, 67% x"
    assert absent["capital gain"] == "$4"  # 100^(1/3) - 1


def test_a_value_never_met_has_no_column():
    census = encoded([person(), person(age="41")])
    strange = census.encode([person(sex="unheard of")])[0]
    plain = census.encode([person()])[0]
    at = census.columns.index(("sex", "x"))
    assert strange[at] == 0
    assert plain[at] == 1
    assert strange.isfinite().all()


@pytest.mark.slow
def test_adult_against_the_file(real_data):
    file = Path(os.environ["UNMASK_DATA"], "tabular/adult.csv.gz")
    with gzip.open(file, "rt", newline="") as text:
        rows = [row for row in csv.DictReader(text) if row["split"] == "test"]
    exhibit = zoo.adult()
    assert accuracy(exhibit) >= 0.84
    for i in (0, 7, 120):
        told = dict(zip(exhibit.players(i).names, exhibit.view(i).present, strict=True))
        assert told["age"] == f"{rows[i]['age']} years"
        assert told["occupation"] == (rows[i]["occupation"] or "unknown")
        assert exhibit.labels[i] == (rows[i]["income"] == ">50K")
