"""Values computed independently (closed forms, certified solvers, TorchJD, the papers' equations), case by case."""

from __future__ import annotations

from pathlib import Path

from taskloom.testing.oracles import check_file

FILE = Path(__file__).with_name("data") / "balancing.json"


def test_every_case_passes() -> None:
    outcomes = check_file(FILE)
    assert len(outcomes) == 619
    assert not [str(outcome) for outcome in outcomes if outcome.status != "pass"]
