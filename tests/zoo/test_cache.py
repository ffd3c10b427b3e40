import os

import pytest
import torch

from unmask.zoo import cache
from unmask.zoo.mlp import MLP
from unmask.zoo.training import Recipe, trained

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


@pytest.fixture
def trainings(monkeypatch, tmp_path):
    """How often a network was trained, with an empty cache."""
    pytest.importorskip("safetensors")
    count = []

    def counted(*arguments):
        count.append(1)
        return trained(*arguments)

    monkeypatch.setattr(cache, "trained", counted)
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path / "kept"))
    return count


def small(recipe=None, width=4, inputs=X, labels=Y):
    model = cache.trained_once(
        "small", lambda: MLP((3, width, 2)), inputs, labels, recipe or Recipe(2)
    )
    return torch.cat([p.flatten() for p in model.parameters()])


def files():
    return sorted(cache.cache_folder().iterdir())


def test_the_second_time_weights_come_from_the_file(trainings):
    first, second = small(), small()
    assert first.equal(second)
    assert len(trainings) == 1
    assert [file.suffix for file in files()] == [".safetensors"]


def test_another_recipe_network_or_data_is_another_file(trainings):
    small()
    small(Recipe(3))
    small(width=5)
    small(inputs=X + 1e-6)
    small(labels=1 - Y)
    assert len(trainings) == len(files()) == 5


def flipped(content):
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


@pytest.mark.parametrize(
    "damage",
    [lambda c: b"", lambda c: c[:-8], lambda c: c[:20], lambda c: b"x" * 200, flipped],
    ids=["empty", "truncated", "header only", "foreign", "one bit"],
)
def test_a_damaged_file_is_trained_and_written_again(trainings, damage):
    first = small()
    (file,) = files()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert small().equal(first)
    assert len(trainings) == 2
    assert file.read_bytes() == whole
    small()
    assert len(trainings) == 2


def test_weights_of_another_network_under_this_name_are_not_taken(trainings):
    first = small()
    (file,) = files()
    small(width=6)
    (other,) = set(files()) - {file}
    file.write_bytes(other.read_bytes())
    assert small().equal(first)
    assert len(trainings) == 3


def test_a_folder_in_the_place_of_the_file_costs_only_time(trainings):
    first = small()
    (file,) = files()
    file.unlink()
    file.mkdir()
    assert small().equal(first)
    assert files() == [file]


def test_a_cache_that_cannot_be_written_costs_only_time(trainings, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path / "file"))
    small()
    small()
    assert len(trainings) == 2


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_what_is_interrupted_leaves_nothing_behind(trainings, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    if isinstance(error, OSError):
        small()
    else:
        with pytest.raises(KeyboardInterrupt):
            small()
    assert files() == []


def test_without_safetensors_it_trains_each_time(trainings, monkeypatch):
    monkeypatch.setattr(cache, "find_spec", lambda name: None)
    assert small().equal(small())
    assert len(trainings) == 2


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path))
    assert cache.cache_folder() == tmp_path
    monkeypatch.delenv("UNMASK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "unmask"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / ".cache" / "unmask"
