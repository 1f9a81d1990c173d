"""Budgets: what is understood, what is refused, and that text and budget are one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskloom.errors import StudyError
from taskloom.study.budget import Budget


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (12, Budget(trials=12)),
        ("12", Budget(trials=12)),
        (" 1 Trial ", Budget(trials=1)),
        ("8trials", Budget(trials=8)),
        ("90s", Budget(seconds=90.0)),
        ("10 min", Budget(seconds=600.0)),
        ("1.5 hours", Budget(seconds=5400.0)),
        (Budget(trials=3), Budget(trials=3)),
    ],
)
def test_what_is_understood(text, expected):
    assert Budget.parse(text) == expected


@pytest.mark.parametrize("text", ["", "much", "10 months", "3.5 trials", "8 8", "10 m m", None, "1e3", "½h"])
def test_what_is_not_understood_is_named(text):
    with pytest.raises(StudyError, match="is not understood; write for example"):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["0", "-3 trials", "0s", "-1h"])
def test_a_budget_is_positive(text):
    with pytest.raises(StudyError, match="must be positive"):
        Budget.parse(text)


def test_a_budget_is_trials_or_time():
    for arguments in ({}, {"trials": 1, "seconds": 1.0}):
        with pytest.raises(StudyError, match="either trials or seconds"):
            Budget(**arguments)
    with pytest.raises(StudyError, match="must be positive"):
        Budget(seconds=float("nan"))


@given(st.one_of(st.builds(Budget, trials=st.integers(1, 10**6)), st.builds(Budget, seconds=st.integers(1, 10**5))))
def test_the_text_of_a_budget_is_read_as_the_same_budget(budget):
    assert Budget.parse(str(budget)) == budget
