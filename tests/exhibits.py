"""Networks of the zoo for tests; those that need data are skipped where there is none."""

import os

import pytest

from unmask import zoo

FREE = ("breast_cancer", "diabetes", "digits")
"""They come with scikit-learn."""


def exhibit(name: str) -> zoo.Exhibit:
    """A network of the zoo, or the end of a test that cannot have it."""
    if name not in FREE and not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")
    return getattr(zoo, name)()
