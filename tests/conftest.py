"""Fixtures that tests of several packages use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# how long one example takes says more about what else the machine does than about the code
settings.register_profile("taskloom", deadline=None)
settings.load_profile("taskloom")


@pytest.fixture(scope="session")
def shared_data(repository: Path) -> Path:
    """Folder with public data sets, one subfolder each; the tests that need it are skipped where it is absent.

    The environment variable TASKLOOM_DATA names it; otherwise ``shared/data`` beside the repository is looked at.
    """
    named = os.environ.get("TASKLOOM_DATA")
    folder = Path(named) if named else repository.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no folder of data sets: set TASKLOOM_DATA to one (or put it at ../shared/data)")
    return folder
