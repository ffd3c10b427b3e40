"""Inputs: every kind of file, and every kind of broken one."""

import io
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from run.tiny import perceptron, rows, write_csv, write_picture
from unmask.run import Opened, Source, read_inputs
from unmask.run.inputs.material import Material, chosen, named

NAMES = ("age", "height", "weight", "dose")


def opened(**changes):
    """A model that takes anything."""
    settings = {"model": nn.Identity(), "digest": "", "classes": ("well", "ill", "dead")} | changes
    return Opened(**settings)


def read(path, label=None, size=None, **changes):
    return read_inputs(Source(file=str(path), label=label, size=size), opened(**changes))


def test_a_csv_gives_its_columns_and_truths(tmp_path):
    x = rows(3)
    write_csv(tmp_path / "t.csv", x, NAMES, {"state": ["0", "2", "unknown"]})
    found = read(tmp_path / "t.csv", "state")
    assert found.columns == NAMES
    assert found.truths == ["well", "dead", "unknown"]
    assert found.titles == ["row 0", "row 1", "row 2"]
    torch.testing.assert_close(torch.stack(list(found.inputs)), x)


def test_csv_of_other_countries_and_without_header(tmp_path):
    (tmp_path / "t.csv").write_text("\ufeffa;b\n1;2\n3;4\n", "utf-8")
    assert read(tmp_path / "t.csv").columns == ("a", "b")
    (tmp_path / "t.csv").write_text("1,2\n3,4\n")
    found = read(tmp_path / "t.csv")
    assert found.columns == ("column 1", "column 2")
    assert torch.stack(list(found.inputs)).tolist() == [[1, 2], [3, 4]]
    (tmp_path / "t.tsv").write_text("a,1\tb\n1\t2\n")
    assert read(tmp_path / "t.tsv").columns == ("a,1", "b")
    (tmp_path / "t.csv").write_text('"a, b",c\n"1",True\n')
    found = read(tmp_path / "t.csv")
    assert found.columns == ("a, b", "c")
    assert found.inputs[0].tolist() == [1, 1]


def test_a_missing_cell_is_nan_and_does_not_spoil_the_mean(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n,4\n5,NA\n")
    found = read(tmp_path / "t.csv")
    assert found.inputs[1].isnan().tolist() == [True, False]
    assert found.mean.tolist() == [3, 3]


def test_parquet_reads_as_csv_does(tmp_path):
    import pandas

    x = rows(3).double()
    table = pandas.DataFrame(x.numpy(), columns=list(NAMES))
    table["state"] = [1, 0, 1]
    table.loc[1, "dose"] = None
    table.to_parquet(tmp_path / "t.parquet")
    found = read(tmp_path / "t.parquet", "state")
    assert found.columns == NAMES
    assert found.truths == ["ill", "well", "ill"]
    assert found.inputs[1][3].isnan()
    torch.testing.assert_close(found.inputs[0], x[0].float())


@pytest.mark.parametrize(
    ("text", "label", "said"),
    [
        ("a,b\n1,red\n", None, "The column 'b' of .* is not numeric: row 0 holds 'red'"),
        ("a,b\n1,2\n", "c", "has no column 'c'"),
        ("a,b\n1\n", None, "Row 0 of .* has 1 cells, but the header has 2"),
        ("a,a\n1,2\n", None, "two columns called 'a'"),
        ("", None, "is empty"),
        ("a,b\n", None, "no rows to explain"),
        ("a\n1\n", "a", "0 columns of inputs"),
    ],
)
def test_broken_tables_say_what_is_wrong(tmp_path, text, label, said):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=said):
        read(tmp_path / "t.csv", label)


def test_a_table_of_the_wrong_width_is_refused_before_the_model_sees_it(tmp_path):
    write_csv(tmp_path / "t.csv", rows(2), NAMES, {})
    with pytest.raises(ValueError, match=r"The model takes 3 columns, but .* has 4"):
        read(tmp_path / "t.csv", shape=(3,))


def test_other_encodings_and_truncated_parquet(tmp_path):
    (tmp_path / "t.csv").write_bytes("größe\n1\n".encode("latin-1"))
    with pytest.raises(ValueError, match="is not in UTF-8"):
        read(tmp_path / "t.csv")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ValueError, match="is no Parquet file that can be read"):
        read(tmp_path / "t.parquet")


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors"])
def test_arrays_read_alike(tmp_path, suffix):
    from safetensors.torch import save_file

    x, path = rows(3), tmp_path / f"x.{suffix}"
    label = None if suffix == "npy" else "y"
    if suffix == "npy":
        np.save(path, x.double().numpy())
    elif suffix == "npz":
        np.savez(path, x=x.numpy(), y=np.array([0, 1, 2]))
    else:
        save_file({"x": x, "y": torch.tensor([0, 1, 2])}, path)
    found = read(path, label)
    torch.testing.assert_close(torch.stack(list(found.inputs)), x)
    assert found.truths == ([None] * 3 if label is None else ["well", "ill", "dead"])
    assert found.kind == "table"


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_pickles_and_object_arrays_are_refused_unread(tmp_path):
    mark = str(tmp_path / "exploded")
    np.save(tmp_path / "object.npy", np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "object.npz", x=np.array([Bomb(mark)], dtype=object))
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Bomb(mark)))
    for name in ("object.npy", "object.npz", "pickle.npy"):
        with pytest.raises(ValueError, match="is a pickle or holds an array of Python objects"):
            read(tmp_path / name)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(ValueError, match="is a pickle"):
        read(tmp_path / "x.pkl")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("x.npy", np.array(["a", "b"]), "not numbers"),
        ("x.npy", np.zeros((0, 3)), "at least one input"),
        ("x.npy", np.zeros(3), "at least one input"),
        ("x.npy", np.zeros((2, 3), dtype=complex), "not numbers"),
    ],
)
def test_arrays_that_are_no_inputs(tmp_path, name, array, said):
    np.save(tmp_path / name, array)
    with pytest.raises(ValueError, match=said):
        read(tmp_path / name)


def test_truncated_arrays(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((4, 4)))
    (tmp_path / "x.npy").write_bytes(buffer.getvalue()[:-20])
    np.savez(tmp_path / "whole.npz", x=np.zeros((4, 4)))
    (tmp_path / "x.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-40])
    (tmp_path / "x.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    (tmp_path / "empty.npy").write_bytes(b"")
    for name in ("x.npy", "x.npz", "x.safetensors", "empty.npy"):
        with pytest.raises(ValueError, match="cut short or of another kind"):
            read(tmp_path / name)


def test_a_file_of_several_arrays_needs_an_x(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros((1, 2)), b=np.zeros((1, 2)))
    with pytest.raises(ValueError, match="none is called 'x'"):
        read(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="has no array 'z'"):
        read(tmp_path / "x.npz", "z")


def test_pictures_come_from_zero_to_one_channels_first(tmp_path):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = read(tmp_path / "a.png")
    assert found.titles == ["a.png"]
    assert found.inputs[0].shape == (3, 6, 9)
    for y in range(6):
        for x in range(9):
            for c in range(3):
                assert abs(float(found.inputs[0][c, y, x]) - pixels[y, x, c] / 255) < 1e-6


def test_a_folder_of_pictures_is_brought_to_the_models_size(tmp_path):
    write_picture(tmp_path / "b.jpg", 30, 50)
    write_picture(tmp_path / "a.png", 40, 20)
    (tmp_path / "notes.txt").write_text("no picture")
    found = read(tmp_path, shape=(3, 16, 12))
    assert found.titles == ["a.png", "b.jpg"]
    assert {tuple(x.shape) for x in found.inputs} == {(3, 16, 12)}
    assert read(tmp_path, size=(8, 8)).inputs[0].shape == (3, 8, 8)
    assert read(tmp_path, shape=(1, 16, 12)).inputs[0].shape == (1, 16, 12)
    with pytest.raises(ValueError, match="differ in size"):
        read(tmp_path)


def test_pictures_are_read_when_they_are_asked_for(tmp_path):
    for name, side in (("a.png", 20), ("b.png", 30), ("c.png", 40)):
        write_picture(tmp_path / name, side, side)
    (tmp_path / "b.png").write_bytes(b"no picture")
    found = read(tmp_path, size=(10, 10))
    assert list(found.unreadable) == [1]
    assert len(pickle.dumps(found.inputs)) < 1800  # of the pixels of 3 they would be 3,600 bytes
    assert torch.equal(found.inputs[1], found.inputs[0])  # stands in its place
    whole = torch.stack(list(found.inputs))
    assert torch.equal(torch.stack(list(found.inputs[1:])), whole[1:])
    torch.testing.assert_close(found.mean, whole[[0, 2]].mean(0))
    drawn = [*found.shuffled(torch.Generator().manual_seed(0))]
    assert {float(one.sum()) for one in drawn} == {float(one.sum()) for one in whole[[0, 2]]}
    (tmp_path / "c.png").unlink()
    with pytest.raises(ValueError, match="is no picture that can be read"):
        found.inputs[2]


def test_the_mean_of_many_is_taken_piece_by_piece():
    x = rows(600)
    x[5, 1], x[300, 3] = torch.inf, torch.nan
    found = Material("table", tuple(x), ("",) * 600, (None,) * 600, "", unreadable={0: "broken"})
    columns = x[1:].double().T.tolist()
    expected = [sum(finite := [v for v in c if abs(v) < 1e9]) / len(finite) for c in columns]
    assert found.mean.tolist() == pytest.approx(expected, abs=1e-6)
    drawn = torch.stack([*found.shuffled(torch.Generator().manual_seed(0))])
    sound = [i for i in range(1, 600) if i not in (5, 300)]
    assert sorted(drawn[:, 0].tolist()) == sorted(x[sound, 0].tolist())
    assert drawn[:, 0].tolist() != x[sound, 0].tolist()


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ((torch.zeros(2), torch.zeros(3)), r"no mean: their shapes are \(2,\), \(3,\)"),
        ((torch.zeros(2).long(),), r"hold torch.int64. Use another baseline"),
    ],
)
def test_what_has_no_mean(inputs, said):
    n = len(inputs)
    with pytest.raises(ValueError, match=said):
        _ = Material("given", inputs, ("",) * n, (None,) * n, "").mean


def test_pictures_that_are_none(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="is no picture that can be read"):
        read(tmp_path / "a.png")
    write_picture(tmp_path / "b.png", 30, 30)
    (tmp_path / "c.png").write_bytes((tmp_path / "b.png").read_bytes()[:500])
    with pytest.raises(ValueError, match="is no picture that can be read"):
        read(tmp_path / "c.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no pictures"):
        read(tmp_path / "empty")


def test_texts_need_a_tokenizer(tmp_path):
    (tmp_path / "t.txt").write_text("one\n\ntwo\n")
    with pytest.raises(ValueError, match="takes no texts"):
        read(tmp_path / "t.txt")
    (tmp_path / "t.txt").write_text("\n\n")
    with pytest.raises(ValueError, match="holds no text"):
        read(tmp_path / "t.txt")


def test_what_is_not_there_or_of_no_kind(tmp_path):
    (tmp_path / "table.csv").write_text("a\n1\n")
    with pytest.raises(ValueError, match=r"no inputs at .*The nearest name is .*table\.csv"):
        read(tmp_path / "tabel.csv")
    (tmp_path / "x.doc").write_text("")
    with pytest.raises(ValueError, match=r"Inputs of the kind '\.doc'"):
        read(tmp_path / "x.doc")
    with pytest.raises(ValueError, match="There are no inputs"):
        read_inputs(Source(), opened(model=perceptron()))


def test_rows_are_counted_from_zero(tmp_path):
    (tmp_path / "t.csv").write_text("a\n1\n2\n")
    found = read(tmp_path / "t.csv")
    assert chosen(found, None) == (0, 1)
    assert chosen(found, (1, 1, 0)) == (1, 0)
    with pytest.raises(ValueError, match=r"There is no input 2: 2 were read\. Count from 0 to 1"):
        chosen(found, (2,))


def test_labels_read_as_classes_where_they_are_numbers_of_classes():
    classes = ("cat", "dog")
    for label, read_as in [
        ("1", "dog"),
        ("0.0", "cat"),
        ("2", "2"),
        ("-1", "-1"),
        ("x", "x"),
        ("inf", "inf"),
    ]:
        assert named(label, classes) == read_as


def test_numbers_are_not_cut_to_the_ids_of_tokens(tmp_path):
    write_csv(tmp_path / "t.csv", torch.tensor([[1.0, 2.5]]), ("a", "b"), {})
    np.save(tmp_path / "x.npy", np.array([[1.0, 2.5]]))
    for name in ("t.csv", "x.npy"):
        with pytest.raises(ValueError, match=r"takes whole numbers.* holds 2\.5\. Give"):
            read(tmp_path / name, dtype=torch.int64)
    np.save(tmp_path / "x.npy", np.array([[1.0, 2.0]]))
    found = read(tmp_path / "x.npy", dtype=torch.int64).inputs[0]
    assert found.dtype == torch.int64
    assert found.tolist() == [1, 2]


def test_a_column_without_a_name_is_numbered(tmp_path):
    (tmp_path / "t.csv").write_text(",b, \n1,2,3\n")
    assert read(tmp_path / "t.csv").columns == ("column 1", "b", "column 3")


def test_a_cell_may_hold_any_kind_of_line_break(tmp_path):
    (tmp_path / "t.csv").write_text('a,y\n1,"one\u2028two\x0cthree"\n', "utf-8")
    assert read(tmp_path / "t.csv", "y").truths == ["one\u2028two\x0cthree"]


def test_a_label_or_size_that_would_say_nothing_is_refused(tmp_path):
    write_picture(tmp_path / "p.png", 8, 8)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="has no column 'y': only tables"):
        read(tmp_path / "p.png", "y")
    with pytest.raises(ValueError, match="holds no pictures, so it has no size"):
        read(tmp_path / "t.csv", size=(8, 8))
