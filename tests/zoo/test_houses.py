import csv
import gzip
import os
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_diabetes

from unmask import zoo


def explained(exhibit, value):
    """R2 on rows that were not trained on."""
    with torch.inference_mode():
        output = exhibit.model(torch.stack(exhibit.inputs))[:, 0]
    return 1 - float((output - value).square().mean() / value.var(correction=0))


def test_diabetes_is_estimated_as_well_as_a_line_does():
    target = torch.tensor(load_diabetes().target).float()
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(0))
    assert explained(zoo.diabetes(), (target / target.std())[order][:200]) > 0.35


@pytest.mark.slow
def test_houses_are_estimated(real_data):
    file = Path(os.environ["UNMASK_DATA"], "tabular/california_housing.csv.gz")
    with gzip.open(file, "rt") as content:
        rows = list(csv.DictReader(content))
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
    value = torch.tensor([float(rows[i]["median_house_value"]) / 1e5 for i in order[:200]])
    case = zoo.houses()
    assert explained(case, value) > 0.7
    first = rows[order[0]]
    assert case.view(0).present[0] == f"{float(first['median_income']):,.4g}"
    rooms = float(first["total_rooms"]) / float(first["households"])
    assert case.view(0).present[2] == f"{rooms:,.4g}"
