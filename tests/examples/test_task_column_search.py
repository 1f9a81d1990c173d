"""The search over penalties runs, and coupled schools beat schools alone and schools that are all the same."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest


def test_the_search(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = runpy.run_path(str(repository / "examples" / "task_column_search.py"))
    printed = capsys.readouterr().out
    explained = {name.strip(): float(value) for name, value in re.findall(r"(.+) explained .*: ([\d.]+)", printed)}
    assert list(explained) == ["search", "leave-one-out", "each alone", "same slopes"]
    assert min(explained["search"], explained["leave-one-out"]) > max(explained["each alone"], explained["same slopes"])
    assert set(names["errors"]) == {f"school {number:02d}" for number in range(40)}
    assert names["worst"] in printed
