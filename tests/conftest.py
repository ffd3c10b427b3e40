"""Settings for all tests."""

import pytest
import torch
from hypothesis import HealthCheck, settings

# First calls are slow (imports, caches of BLAS), so no deadline; and the gate should give the same
# answer twice. To search further: --hypothesis-profile=search.
settings.register_profile(
    "gate",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", deadline=None, max_examples=500, print_blob=True)
settings.load_profile("gate")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test marked gpu is skipped, not failed, where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="there is no CUDA device here"))
