import dataclasses

import pytest
import torch

from unmask.views import ImageView, TableView, TextView


@pytest.mark.parametrize(
    "view",
    [
        ImageView(torch.zeros(2, 3, 3, dtype=torch.uint8)),
        TextView(("a ", "cat")),
        TableView(("41 years",), ("mean age",)),
    ],
)
def test_views_are_values(view):
    field = dataclasses.fields(view)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(view, field, None)
