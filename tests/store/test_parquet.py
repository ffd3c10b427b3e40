"""Plain columns as Parquet."""

import pandas
import pytest

from unmask.store.parquet import read_columns, write_columns


def test_columns_come_back_and_other_programs_read_them(tmp_path):
    columns = {
        "number": [1, 2, 3],
        "text": ["a", "", "\u00e9"],
        "value": [0.5, float("inf"), -1e-300],
        "members": [["a", "b"], [], ["c"]],
    }
    write_columns(columns, tmp_path / "t.parquet")
    assert read_columns(tmp_path / "t.parquet") == columns
    table = pandas.read_parquet(tmp_path / "t.parquet")
    assert table["value"].tolist() == columns["value"]
    assert [list(cell) for cell in table["members"]] == columns["members"]


def test_empty_columns_and_half_letters(tmp_path):
    write_columns({"a": [], "b": []}, tmp_path / "t.parquet")
    assert read_columns(tmp_path / "t.parquet") == {"a": [], "b": []}
    write_columns({"a": ["x\ud800"], "b": [["\udfff"]]}, tmp_path / "t.parquet")
    assert read_columns(tmp_path / "t.parquet") == {"a": ["x?"], "b": [["?"]]}


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no table at all"])
def test_what_is_no_parquet_says_so(tmp_path, content):
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=r"t\.parquet is no Parquet file that can be read"):
        read_columns(tmp_path / "t.parquet")
