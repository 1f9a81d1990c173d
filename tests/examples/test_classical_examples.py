"""The scripts on classical estimators show what they say."""

from __future__ import annotations

import runpy
from pathlib import Path

import matplotlib as mpl
import pytest


def test_school_without_data(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TASKLOOM_DATA", raising=False)
    scores = runpy.run_path(str(repository / "examples" / "school.py"))["scores"]
    assert "the schools are generated" in capsys.readouterr().out
    assert max(scores, key=scores.get) == "held to the mean"
    assert all(score > scores["each school alone"] for name, score in scores.items() if name != "each school alone")


@pytest.mark.slow
def test_school(
    repository: Path, shared_data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKLOOM_DATA", str(shared_data))
    scores = runpy.run_path(str(repository / "examples" / "school.py"))["scores"]
    assert "139 schools, 15362 pupils" in capsys.readouterr().out
    assert scores["held to the mean"] > 0.34
    assert scores["each school alone"] < 0.29


@pytest.mark.slow
def test_the_lines_cross(repository: Path) -> None:
    mpl.use("Agg")
    names = runpy.run_path(str(repository / "examples" / "dirty_crossing.py"))
    errors, fractions = names["errors"], names["fractions"]
    worse = errors["l1/linf"] > errors["lasso"]
    assert worse[fractions < 0.5].all()
    assert not worse[fractions > 0.75].any()
    best = [min(one) for one in zip(errors["lasso"], errors["l1/linf"], strict=True)]
    assert (errors["dirty"] < 1.4 * best).all()
