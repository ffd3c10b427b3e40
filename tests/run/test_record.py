"""The record of a training: what goes in comes out, and nothing else is taken for it."""

import json

import pytest
import torch

from unmask import Game
from unmask.interactions import Snapshot, and_or
from unmask.run import About, Record, read_run
from unmask.store.places import Place

NAMES = (("a", "b", "c"), ("d", "e", "f"))
ABOUT = About(("one", "two"), NAMES, (0, 1), "log-odds", {"precision": 0.01})


def terms(seed, names):
    values = torch.randn(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return and_or(Game(lambda s: values[(s * torch.tensor([1, 2, 4])).sum(1)], names))


def snapshot(step):
    losses = torch.rand(5, generator=torch.Generator().manual_seed(step))
    found = tuple(terms(step + i, names) for i, names in enumerate(NAMES))
    return Snapshot(step, found, losses, None)


def test_what_is_written_is_read_bit_for_bit(tmp_path):
    record = Record.open(tmp_path / "run", ABOUT)
    record.write(snapshot(130), ["something was noticed"], source="abc", predicted=(3, 1))
    record.write(snapshot(0))
    record.skip(40, "it had diverged")
    again = Record.read(tmp_path / "run")
    assert again.about == ABOUT
    assert again.steps() == (0, 40, 130)
    assert again.kept(40).skipped == "it had diverged"
    assert again.kept(130).notes == ("something was noticed",)
    assert again.kept(130).source == "abc"
    assert again.kept(130).predicted == (3, 1)
    assert again.kept(0).predicted == ()
    history = again.history()
    assert [one.step for one in history] == [0, 130]
    for found, step in zip(history, (0, 130), strict=True):
        expected = snapshot(step)
        assert torch.equal(found.train_losses, expected.train_losses.double())
        assert found.test_losses is None
        for one, other in zip(found.terms, expected.terms, strict=True):
            for name in ("members", "is_or", "effects"):
                assert torch.equal(getattr(one, name), getattr(other, name))
            for name in ("empty", "names", "gap", "evaluations"):
                assert getattr(one, name) == getattr(other, name)


def test_the_table_holds_the_terms_of_all_steps(tmp_path):
    import pandas

    record = Record.open(tmp_path / "run", ABOUT)
    for step in (0, 130):
        record.write(snapshot(step))
    record.skip(40, "it had diverged")
    table = pandas.read_parquet(record.assemble())
    assert table.columns.tolist() == [
        "input",
        "step",
        "order",
        "members",
        "logic",
        "effect",
        "method",
    ]
    rows = table[(table.step == 130) & (table.input == 1)]
    expected = snapshot(130).terms[1]
    assert rows.effect.tolist() == expected.effects.tolist()
    assert rows.order.tolist() == expected.order.tolist()
    assert [tuple(names) for names in rows.members] == [
        tuple(name for name, there in zip("def", row, strict=True) if there)
        for row in expected.members.tolist()
    ]
    assert (rows.logic == "OR").tolist() == expected.is_or.tolist()


def test_a_record_goes_on_with_the_same_samples_only(tmp_path):
    Record.open(tmp_path / "run", ABOUT).write(snapshot(0))
    assert Record.open(tmp_path / "run", ABOUT).steps() == (0,)
    other = About(ABOUT.titles, NAMES, (0, 1), "log-odds", {"precision": 0.02})
    with pytest.raises(ValueError, match=r"differ in precision \(0\.01 before, 0\.02 now\)"):
        Record.open(tmp_path / "run", other)
    with pytest.raises(ValueError, match="differ in titles, targets"):
        Record.open(tmp_path / "run", About(("x", "y"), NAMES, (1, 1), "log-odds", ABOUT.settings))


def test_terms_of_other_players_are_refused(tmp_path):
    record = Record.open(tmp_path / "run", ABOUT)
    wrong = Snapshot(0, (terms(0, NAMES[1]), terms(1, NAMES[0])))
    with pytest.raises(ValueError, match="2 samples with players of their own"):
        record.write(wrong)
    assert record.steps() == ()


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match=r"is no record of a training.*'letter\.txt'"):
        Record.open(tmp_path, ABOUT)
    with pytest.raises(ValueError, match=r"holds no record of a training"):
        Record.read(tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tensors.safetensors", b"\x08\0\0\0\0\0\0\0{}"),
        ("tensors.safetensors", b'\x10\0\0\0\0\0\0\0{"a":{}}        '),
        ("snapshot.json", b"{}"),
        ("snapshot.json", b"not json"),
    ],
)
def test_a_broken_step_is_named(tmp_path, file, content):
    record = Record.open(tmp_path / "run", ABOUT)
    record.write(snapshot(0))
    (tmp_path / "run" / "steps" / "00000000" / file).write_bytes(content)
    with pytest.raises(ValueError, match=r"00000000' holds no sound part.*Delete it and repeat"):
        record.history()


def test_what_reads_runs_says_who_reads_a_training(tmp_path):
    Record.open(tmp_path / "run", ABOUT)
    with pytest.raises(ValueError, match=r"the record of a training.*`unmask dynamics`"):
        read_run(tmp_path / "run")


def test_a_broken_beginning_is_named(tmp_path):
    Record.open(tmp_path / "run", ABOUT)
    file = tmp_path / "run" / "training.json"
    words = json.loads(file.read_text()) | {"version": 7}
    file.write_text(json.dumps(words))
    with pytest.raises(ValueError, match=r"holds no sound part"):
        Record.read(tmp_path / "run")


def test_what_a_killed_process_left_half_written_is_swept(tmp_path):
    record = Record.open(tmp_path / "run", ABOUT)
    record.write(snapshot(0))
    draft = tmp_path / "run" / "steps" / ".0123456789ab.part"
    draft.mkdir()
    assert Record.open(tmp_path / "run", ABOUT).steps() == (0,)
    assert not draft.exists()


def test_the_table_lies_where_it_is_put_and_moves(tmp_path):
    import pandas

    whole = Record.open(tmp_path / "whole", ABOUT)
    elsewhere = Record.open(tmp_path / "run", ABOUT, Place(str(tmp_path / "beside")))
    for record in (whole, elsewhere):
        for step in (0, 130):
            record.write(snapshot(step))
    expected = pandas.read_parquet(whole.assemble())
    assert elsewhere.assemble() == tmp_path / "beside" / "terms"
    assert not (tmp_path / "run" / "terms").exists()
    assert pandas.read_parquet(tmp_path / "beside" / "terms").equals(expected)
    assert Record.open(tmp_path / "run", ABOUT).assemble() == tmp_path / "run" / "terms"
    assert pandas.read_parquet(tmp_path / "run" / "terms").equals(expected)


def test_rows_that_were_lost_come_back_and_those_of_no_step_go(tmp_path):
    import pandas

    record = Record.open(tmp_path / "run", ABOUT)
    for step in (0, 130):
        record.write(snapshot(step))
    expected = pandas.read_parquet(record.assemble())
    terms = tmp_path / "run" / "terms"
    (terms / "part-00000130.parquet").rename(terms / "part-00000007.parquet")  # killed amid a step
    (tmp_path / "run" / "interactions.parquet").write_bytes(b"of an earlier version")
    assert pandas.read_parquet(record.assemble()).equals(expected)
    assert not (tmp_path / "run" / "interactions.parquet").exists()
