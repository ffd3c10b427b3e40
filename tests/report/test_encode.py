import base64
from dataclasses import replace

import numpy as np
import pytest
import torch

from report.pages import (
    blob_case,
    image_case,
    moved,
    planted_terms,
    standing_in,
    table_case,
    text_case,
)
from unmask.lattice import coalitions
from unmask.players import channels, features
from unmask.report.encode import encoded, encoded_terms, everywhere
from unmask.results import Attribution, Interactions, Measurement
from unmask.views import TableView


def read(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def standing_off(terms: Interactions, term: int) -> float:
    """The most that one term differs from its mean, on any mask."""
    one = Interactions(
        terms.members[[term]], terms.is_or[[term]], terms.effects[[term]], 0.0, terms.names
    )
    added = one(coalitions(len(terms.names)))
    return float((added - added.mean()).abs().max())


def value(terms: Interactions, present: set[int]) -> float:
    """The logic by its definition, term by term."""
    total = terms.empty
    for row, is_or, effect in zip(terms.members, terms.is_or, terms.effects, strict=True):
        members = set(row.nonzero()[:, 0].tolist())
        if (present & members) if is_or else (members <= present):
            total += float(effect)
    return total


def test_the_logic_everywhere_is_the_definition_on_every_mask():
    terms = planted_terms([f"p{i}" for i in range(6)], 30, seed=5)
    expected = [value(terms, {i for i in range(6) if mask >> i & 1}) for mask in range(64)]
    np.testing.assert_allclose(everywhere(terms), expected, atol=1e-12)


def test_with_many_players_some_masks_stand_for_all():
    terms = planted_terms([f"p{i}" for i in range(40)], 50, seed=5)
    values = everywhere(terms)
    assert float(values[0]) == pytest.approx(value(terms, set()))
    assert float(values[1]) == pytest.approx(value(terms, set(range(40))))


def test_masks_are_words_of_32_bits_with_the_first_player_lowest():
    names = tuple(f"p{i}" for i in range(40))
    members = torch.zeros(2, 40, dtype=torch.bool)
    members[0, [0, 31, 33]] = True
    members[1, [5, 39]] = True
    terms = Interactions(
        members, torch.tensor([False, True]), torch.tensor([1.0, -2.0]), 0.0, names
    )
    view = TableView(names, names)
    case = replace(
        table_case(), players=features(names), view=view, terms=terms, table=None, attributions={}
    )
    row = encoded_terms(case, 100)
    assert row["words"] == 2
    assert read(row["masks"], "<u4").tolist() == [1 << 5, 1 << 7, 1 | 1 << 31, 1 << 1]
    assert read(row["or"], "u1").tolist() == [1, 0]
    assert read(row["effects"], "<f8").tolist() == [-2.0, 1.0]


def test_what_is_left_out_is_added_up():
    case = table_case(count=40)
    order = moved(case.terms).argsort(descending=True)
    row = encoded_terms(case, 25)
    assert row["count"] == 40
    assert len(read(row["effects"], "<f8")) == 25
    assert row["rest_mean"] == pytest.approx(standing_in(case.terms, order[25:]), rel=1e-9)
    off = [standing_off(case.terms, i) for i in order[25:].tolist()]
    assert row["rest_error"] == pytest.approx(sum(off), rel=1e-9)
    assert row["curve"]["stops"][-1] == 25


def test_dust_of_rounding_is_left_out_and_small_terms_are_not():
    case = table_case(count=40)
    dusty = case.terms.effects.clone()
    order = dusty.abs().argsort()
    dusty[order[:10]] = 1e-16
    dusty[order[10]] = 1e-7
    row = encoded_terms(replace(case, terms=replace(case.terms, effects=dusty)), 100)
    assert row["count"] == 30
    assert 0 < row["rest_error"] <= 1e-15


def test_no_terms_at_all():
    case = table_case()
    none = replace(
        case.terms,
        members=case.terms.members[:0],
        is_or=case.terms.is_or[:0],
        effects=case.terms.effects[:0],
    )
    row = encoded_terms(replace(case, terms=none), 100)
    assert row["count"] == 0
    assert row["rest_error"] == 0


def test_the_table_stays_out_beyond_twelve_players_but_its_ends_do_not():
    assert len(read(encoded(blob_case(96))["table"], "<f8")) == 4096
    names = tuple(f"p{i}" for i in range(13))
    terms = planted_terms(names, 20, seed=1)
    table = everywhere(terms) + 1
    case = replace(
        table_case(), players=features(names), view=TableView(names, names), terms=terms,
        table=table, attributions={},
    )  # fmt: skip
    row = encoded(case)
    assert row["table"] is None
    assert row["corners"] == [float(table[0]), float(table[-1])]
    assert row["range"] == [float(table.min()) - 1, float(table.max())]


def test_attributions_of_positions_are_added_up_by_player():
    case = image_case(9)
    values = torch.arange(81.0).reshape(1, 1, 9, 9)
    row = encoded(replace(case, attributions={"mine": Attribution(values)}))["attributions"][0]
    expected = [
        sum(9 * y + x for y in range(a, a + 3) for x in range(b, b + 3))
        for a in (0, 3, 6)
        for b in (0, 3, 6)
    ]
    assert read(row["values"], "<f8").tolist() == expected
    assert row["heat"].startswith("data:image/png")


def test_attributions_of_columns_in_groups_are_added_up_by_group():
    players = features(["a", "b", "c"], {"g": ["c", "a"]})
    names = players.names
    terms = planted_terms(names, 3, seed=0)
    case = replace(
        table_case(), players=players, view=TableView(names, names), terms=terms, table=None,
        attributions={"mine": Attribution(torch.tensor([[1.0, 2.0, 4.0]]))},
    )  # fmt: skip
    assert names == ("g", "b")
    row = encoded(case)["attributions"][0]
    assert read(row["values"], "<f8").tolist() == [5.0, 2.0]


def test_attributions_of_tokens_colour_the_pieces_also_of_those_never_hidden():
    case = text_case()
    values = torch.arange(16.0)[None]
    row = encoded(replace(case, attributions={"mine": Attribution(values)}))["attributions"][0]
    assert read(row["pieces"], "<f8").tolist() == list(range(16))
    assert read(row["values"], "<f8").tolist() == [1, 5, 11, 17, 10, 11, 12, 13, 14]


def test_channels_as_players_have_no_region_on_the_picture():
    players = channels((3, 8, 8))
    terms = planted_terms(players.names, 5, seed=0)
    case = replace(image_case(8), players=players, terms=terms, table=None, attributions={})
    assert encoded(case)["view"]["outlines"] == []


@pytest.mark.parametrize("kept", [35, 60, 200])
def test_the_slider_stops_at_the_points_of_the_curve(kept):
    case = table_case(count=60)
    counts = torch.tensor([0.0, 1, 2, 5, 12, 30, 60])
    matching = Measurement({}, {"terms": counts, "fidelity": counts / 60})
    row = encoded_terms(replace(case, matching=matching), kept)["curve"]
    last = min(kept, 60)
    assert row["stops"] == [0, 1, 2, 5, 12, 30, last]
    assert row["fidelity"] == pytest.approx([stop / 60 for stop in row["stops"]])


def test_a_curve_of_thousands_of_points_is_thinned_to_a_slider():
    case = table_case()
    counts = torch.arange(8001).double()
    effects = torch.linspace(1, 2, 8000).double()
    terms = replace(
        case.terms, members=torch.ones(8000, 10).bool(),
        is_or=torch.zeros(8000).bool(), effects=effects,
    )  # fmt: skip
    many = replace(
        case, terms=terms, matching=Measurement({}, {"terms": counts, "fidelity": counts / 8000})
    )
    row = encoded_terms(many, 7000)["curve"]
    assert row["stops"][:61] == list(range(61))
    assert row["stops"][-1] == 7000
    assert 100 < len(row["stops"]) < 250
    assert row["fidelity"] == pytest.approx([stop / 8000 for stop in row["stops"]])
