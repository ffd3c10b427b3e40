"""What takes long to train is trained once per run of the tests, not taken from a user's cache."""

import os

import pytest


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNMASK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def real_data():
    if not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")
