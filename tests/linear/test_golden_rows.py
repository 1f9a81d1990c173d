"""The oracle runs of norms of rows and entries, in one pass over the file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from taskloom.testing.oracles import check_file

GOLDEN = Path(__file__).parents[1] / "regularised" / "golden.npz"
COUNTS = {
    "capped_l1": 1,
    "dirty_l2": 4,
    "dirty_linf": 4,
    "l1l2": 45,
    "l1l2_ridge": 4,
    "l1linf": 45,
    "l1lq_q1.5": 6,
    "l1lq_q3": 6,
    "l1lq_rowq": 6,
    "lasso": 45,
}


def test_golden_values() -> None:
    outcomes = [one for one in check_file(GOLDEN) if one.case.split("/")[3] in COUNTS]
    assert [str(one) for one in outcomes if one.status == "fail"] == []
    passed = Counter(one.case.split("/")[3] for one in outcomes if one.status == "pass")
    assert dict(passed) == COUNTS
