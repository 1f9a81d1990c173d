"""The scripts on balancing run, print no banners, and train every task."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

SCRIPTS = ["own_loop", "lightning_module", "fabric_loop", "accelerate_loop"]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore:.*LeafSpec.*")
@pytest.mark.parametrize("script", SCRIPTS)
def test_script(script: str, repository: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    names = runpy.run_path(str(repository / "examples" / f"{script}.py"))
    results = names["results"]
    assert len(results) == 2
    for losses in results.values():
        for before, after in losses.values():
            assert after < 0.5 * before
    captured = capsys.readouterr()
    printed = captured.out + captured.err
    for banner in ("GPU available", "Tip", "Using ", "`Trainer"):
        assert banner not in printed
    assert len(captured.out.splitlines()) <= 6
    for name, losses in results.items():
        assert name in captured.out
        assert all(task in captured.out for task in losses)
