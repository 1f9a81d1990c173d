"""Dates as text."""

from __future__ import annotations

import numpy as np
import pytest

from taskloom.data._dates import parse_dates


def day(text):
    return (np.datetime64(text, "s") - np.datetime64("1970-01-01", "s")) / np.timedelta64(1, "D")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["2024-12-31", "2024-1-2"], ["2024-12-31", "2024-01-02"]),
        (["2024/12/31"], ["2024-12-31"]),
        (["31.12.2024", "1.2.2024"], ["2024-12-31", "2024-02-01"]),
        (["12/31/2024", "1/2/2024"], ["2024-12-31", "2024-01-02"]),
        (["31/12/2024", "1/2/2024"], ["2024-12-31", "2024-02-01"]),
        (["2024-12-31T18:30", "2024-12-31 06:00:30"], ["2024-12-31T18:30", "2024-12-31T06:00:30"]),
        (["2024-12-31T18:30:00+02:00", "2024-12-31T18:30:00Z"], ["2024-12-31T16:30", "2024-12-31T18:30"]),
    ],
)
def test_ways_of_writing(texts, expected):
    days, notice = parse_dates(texts)
    assert days == pytest.approx([day(text) for text in expected])
    assert notice == ""


@pytest.mark.parametrize(
    "texts",
    [[], ["a"], ["2024-12-31", "b"], ["2024-13-01"], ["2024-02-30"], ["31/12/2024", "12/31/2024"], ["1.5"], ["2024"]],
)
def test_what_is_no_date(texts):
    assert parse_dates(texts) is None


def test_assumption_is_said():
    days, notice = parse_dates(["1/2/2024"])
    assert days[0] == day("2024-01-02")
    assert "month/day/year" in notice
