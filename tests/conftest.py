"""What all tests share.

TensorFlow and torch crash when one process imports both. A test that imports TensorFlow in the test process is
marked ``tensorflow``; ``pytest -m tensorflow`` runs those alone, and any other selection skips them visibly.
Everything else may import torch, inside the test and not at the top of its module.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("-m") == "tensorflow":
        return
    skip = pytest.mark.skip(reason="TensorFlow needs a process of its own: pytest -m tensorflow")
    for item in items:
        if item.get_closest_marker("tensorflow"):
            item.add_marker(skip)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse a pytest with which pytest-xdist spreads a group's tests: each process would make what they share."""
    if session.config.getoption("loadgroup", False):
        apart = [item for item in session.items if item.get_closest_marker("xdist_group") and "@" not in item.nodeid]
        if apart:
            raise pytest.UsageError(
                f"pytest {pytest.__version__} keeps no groups of tests together: take one below 9.2"
            )


# What engines set for their process, which a worker's ends with.
_OF_ENGINES = ("KERAS_BACKEND", "KERAS_TORCH_DEVICE", "CUBLAS_WORKSPACE_CONFIG", "TF_CPP_MIN_LOG_LEVEL")
_AT_FIRST = {name: os.environ.get(name) for name in _OF_ENGINES}


@pytest.fixture(autouse=True)
def nothing_left_in_the_process() -> Iterator[None]:
    """Take back what an engine sets for its process: other tests start processes, and compare small numbers."""
    yield
    for name, value in _AT_FIRST.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images, where the environment names one."""
    folder = os.environ.get("TUMORBOARD_TEST_DATA")
    if not folder:
        pytest.skip("TUMORBOARD_TEST_DATA does not name a folder of real images")
    return Path(folder)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep prepared data of tests away from the user's cache; one cache per session, so that it is reused."""
    cache = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("TUMORBOARD_CACHE", str(cache))
