"""What holds for every test, those in the docstrings of src included."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

# One thread per process: xdist already fills the cores, and sums are then made in one order.
# Before anything imports numpy or torch.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ[variable] = "1"
os.environ.setdefault("COLUMNS", "120")  # the width of tables that rich prints


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run tests marked slow or multinode")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    for item in items:
        if not config.getoption("--slow"):
            for name in ("slow", "multinode"):
                if item.get_closest_marker(name):
                    item.add_marker(pytest.mark.skip(reason=f"{name}: run with --slow"))
        if item.get_closest_marker("browser") and chromium is None:
            item.add_marker(pytest.mark.skip(reason="browser: no Chromium on this machine (Debian: chromium)"))
        if item.get_closest_marker("gpu"):
            import torch

            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="gpu: no CUDA device on this machine"))


@pytest.fixture(autouse=True)
def _clean_place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docstring examples run in an empty folder, so that what they write does not stay."""
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.chdir(request.getfixturevalue("tmp_path"))


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread() -> None:
    """As OMP_NUM_THREADS=1, for a torch that some plugin imported before this file was read."""
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return Path(__file__).parent
