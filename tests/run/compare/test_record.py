"""The folder of a comparison: kept, read back, gone on with, refused."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from run.compare.explained import INPUTS, PLANTED, backwards, line, network, run, truth
from unmask import features, logit
from unmask.results import Attribution
from unmask.run.compare import compare, read_comparison
from unmask.store import load
from unmask.store.parquet import read_columns


def test_a_folder_keeps_all_and_gives_it_back(tmp_path):
    planted, found = run(), run(folder=tmp_path / "c")
    again = read_comparison(tmp_path / "c")
    assert again.order == found.order == planted.order
    assert again.verdicts == found.verdicts == planted.verdicts
    assert again.places == found.places
    assert again.cost == found.cost
    assert again.metrics == found.metrics
    assert torch.equal(again.subject.x, found.subject.x)
    for name in found.ratings:
        for metric in found.metrics:
            one, other = found.ratings[name][metric], again.ratings[name][metric]
            assert torch.equal(one.values.nan_to_num(7), other.values.nan_to_num(7))
            assert one.higher_is_better == found.metrics[metric].higher_is_better
    kept = load(tmp_path / "c" / "methods" / "truth" / "deletion" / "result")
    assert torch.equal(kept.values, found.ratings["truth"]["deletion"].values)
    table = read_columns(tmp_path / "c" / "ratings.parquet")
    assert len(table["value"]) == 5 * len(found.metrics) * INPUTS
    assert set(table) == {"method", "metric", "criterion", "input", "value"}


def test_an_odd_explanation_costs_one_method_and_not_the_comparison(tmp_path):
    def odd(name, part):
        """An Attribution as one may be made where no types are checked."""

        def explain(score, x):
            made = Attribution(x)
            object.__setattr__(made, name, part(x))
            return made

        return explain

    methods = {
        "whole": odd("values", lambda x: x.sign().long()),
        "gapless": odd("gap", lambda x: torch.zeros(3)),
        "counted": odd("evaluations", lambda x: torch.tensor(5)),
    }
    found = run({"truth": truth, **methods}, folder=tmp_path / "c")
    assert found.recommended == ("truth",)
    assert torch.equal(found.attributions["whole"].values, line()[1].sign())
    assert {one.method for one in found.failures} == {"gapless", "counted"}
    assert "no sound Attribution: its gap count 3 batch" in found.failures[0].reason
    assert read_comparison(tmp_path / "c").failures == found.failures


class Killed(Exception):
    """Stands for the end of the process."""


def test_a_killed_comparison_goes_on_with_nothing_twice_and_the_same_bits(tmp_path):
    calls = []

    def counted(score, x):
        calls.append(len(x))
        return truth(score, x)

    methods = {"counted": counted, "backwards": backwards}
    run(methods, folder=tmp_path / "whole")
    total = len(calls)
    calls.clear()

    def stop(step):
        if step.title == "backwards":
            raise Killed

    with pytest.raises(Killed):
        run(methods, folder=tmp_path / "c", listen=stop)
    assert len(calls) == total
    with pytest.raises(ValueError, match="is not finished: backwards lacks its explanation"):
        read_comparison(tmp_path / "c")
    run(methods, folder=tmp_path / "c")
    assert len(calls) == total
    files = [part for part in sorted((tmp_path / "whole").rglob("*")) if part.is_file()]
    for file in files:
        other = tmp_path / "c" / file.relative_to(tmp_path / "whole")
        assert other.read_bytes() == file.read_bytes(), file
    assert len(files) == len([part for part in (tmp_path / "c").rglob("*") if part.is_file()])


def test_another_comparison_does_not_go_on_in_the_folder(tmp_path):
    run(folder=tmp_path / "c")
    score, x = line()
    common = {"baseline": torch.zeros(5), "players": features(5), "methods": PLANTED}
    with pytest.raises(ValueError, match=r"another comparison: they differ in seed \(0 before, 1"):
        compare(score, x, folder=tmp_path / "c", seed=1, **common)
    with pytest.raises(ValueError, match="they differ in inputs"):
        compare(score, x + 1, folder=tmp_path / "c", **common)
    model = network()
    with torch.no_grad():
        next(model.parameters()).add_(1)
    with pytest.raises(ValueError, match="they differ in model"):
        compare(logit(model, 0), x, folder=tmp_path / "c", **common)
    other = replace(score, read=lambda output, rows: -output[:, 0])
    with pytest.raises(ValueError, match="a comparison of other scores"):
        compare(other, x, folder=tmp_path / "c", **common)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds other files such as 'notes.txt'"):
        compare(score, x, folder=tmp_path / "d", **common)


def test_what_was_cut_short_is_told(tmp_path):
    run(folder=tmp_path / "c")
    place = tmp_path / "c" / "methods" / "truth" / "deletion"
    (place / "failures.json").unlink()
    with pytest.raises(ValueError, match="no sound part of a comparison"):
        read_comparison(tmp_path / "c")
    shutil.rmtree(place)
    run(folder=tmp_path / "c")  # it is found again
    assert read_comparison(tmp_path / "c").order[0] == "truth"
    header = tmp_path / "c" / "comparison.json"
    words = json.loads(header.read_text())
    header.write_text(json.dumps(words | {"format": "else"}))
    with pytest.raises(ValueError, match="no sound part of a comparison"):
        read_comparison(tmp_path / "c")
    with pytest.raises(ValueError, match="holds no comparison"):
        read_comparison(tmp_path)
