"""What the comparison of balancing methods on data makes of results: differences, corrections, tables, files."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import taskloom as tl
from taskloom.fit.training import Schedule

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


def short_schedule(n_tasks: int, *, measures: bool) -> Schedule:
    return Schedule(max_epochs=2, patience=1, measure_every=int(measures))


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tl.Results:
    for plan in ("apart", "together"):
        monkeypatch.setattr(f"taskloom.study.plans.{plan}.schedule_for", short_schedule)
    monkeypatch.syspath_prepend(str(SCRIPTS))
    candidates = import_module("balancing_on_data").candidates(("imtl_l", "rlw"))
    return tl.compare(
        tl.data.problems.related_regression(2, n_rows=60, n_features=3).data,
        candidates=candidates,
        seeds=2,
        budget=1,
        workers=1,
        progress=False,
        out=tmp_path / "run",
        title="Tiny",
    )


def test_differences_are_paired_corrected_and_written(results: tl.Results, tmp_path: Path) -> None:
    part: Any = import_module("balancing_summary")
    found = part.summary(results)
    rows = {row["candidate"]: row for row in found["candidates"]}
    for reference, other in part.AGAINST.items():
        assert reference not in rows[other]
        for name in ("hard_sharing_imtl_l", "hard_sharing_rlw"):
            difference = rows[name][reference]
            assert difference["low"] <= difference["mean"] <= difference["high"]
            assert difference["t_p"] <= difference["holm_p"] <= 1
            words = ("better", "worse", "no difference found")
            assert difference["found"].removesuffix(", not after correction") in words
        assert "holm_p" not in rows["hard_sharing_again"].get(reference, {})  # a twin is no method

    part.store(tmp_path / "found", "tiny", found, results)
    part.store(tmp_path / "found", "other", found, results)
    part.store(tmp_path / "found", "tiny", found, results)
    assert list(json.loads((tmp_path / "found.json").read_text())["sets"]) == ["tiny", "other"]
    assert (tmp_path / "found.md").read_text().count("# Tiny") == 2
    digest = part.digest({"tiny": found})
    assert digest.count("- Tiny") == len(part.AGAINST)
    assert "   * - Tiny\n     - plain sum\n     - 2\n" in digest
