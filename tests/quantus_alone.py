"""Quantus without torchvision, of which zennit wants the names of some networks, if it is there."""

import warnings
from types import ModuleType

import pytest

from zennit_alone import alone


def quantus() -> ModuleType:
    """The package; the test is skipped where it is absent."""
    with alone(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("quantus")
