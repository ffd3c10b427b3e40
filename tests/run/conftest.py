"""The counting model, importable."""

import sys

import pytest

from run.runs import COUNTED


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """The counting model; its log."""
    (tmp_path / "unmask_test_counted.py").write_text(COUNTED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("UNMASK_TEST_LOG", str(tmp_path / "log"))
    monkeypatch.delitem(sys.modules, "unmask_test_counted", raising=False)
    return tmp_path / "log"
