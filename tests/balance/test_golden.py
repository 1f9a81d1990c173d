"""Values computed independently (closed forms, TorchJD, the papers' equations), case by case."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskloom.testing.oracles import Outcome, check_file

FILE = Path(__file__).with_name("data") / "balancing.json"


@pytest.mark.parametrize("outcome", check_file(FILE), ids=lambda outcome: outcome.case)
def test_case(outcome: Outcome) -> None:
    assert outcome.status == "pass", outcome.reason
