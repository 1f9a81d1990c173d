"""Dates written as text: which ways of writing are understood, and how they become days."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

__all__ = ["parse_dates"]

_TIME = r"(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?)?"
_YEAR_FIRST = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})" + _TIME)
_YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})" + _TIME)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_dates(texts: Sequence[str]) -> tuple[np.ndarray, str] | None:
    """Read texts as dates if every one of them is a date.

    Understood are ``2024-12-31`` (also with ``/`` or ``.``), ``31.12.2024``, ``12/31/2024`` and ``31/12/2024`` (told
    apart by numbers above 12), each also with a time of day.

    Args:
        texts: distinct texts.

    Returns:
        days since 1970-01-01, float64 (len(texts),), and a notice (empty unless the order of day and month had to be
        assumed); None if some text is no date.

    Example:
        >>> days, notice = parse_dates(["1970-01-02", "1970-01-03 12:00"])
        >>> days.tolist()
        [1.0, 2.5]
    """
    if not texts:
        return None
    matches = [_YEAR_FIRST.fullmatch(text.strip()) for text in texts]
    if all(matches):
        fields = [match.groups() for match in matches if match]
        return _days([(year, month, day, *rest) for year, month, day, *rest in fields], "")
    matches = [_YEAR_LAST.fullmatch(text.strip()) for text in texts]
    if not all(matches):
        return None
    found = [match.groups() for match in matches if match]
    day_first = any(mark == "." for _, mark, *_ in found) or any(int(first) > 12 for first, *_ in found)
    month_first = any(int(second) > 12 for _, _, second, *_ in found)
    if day_first and month_first:
        return None
    notice = "" if day_first or month_first else f"read as month/day/year, as in {texts[0]!r}"
    ordered = [
        (year, second, first, *rest) if day_first else (year, first, second, *rest)
        for first, _, second, year, *rest in found
    ]
    return _days(ordered, notice)


def _days(fields: list[tuple[str | None, ...]], notice: str) -> tuple[np.ndarray, str] | None:
    days = np.empty(len(fields))
    for place, (year, month, day, hour, minute, second, zone) in enumerate(fields):
        try:
            moment = datetime(
                int(year or 0), int(month or 0), int(day or 0), int(hour or 0), int(minute or 0), int(second or 0),
                tzinfo=UTC,
            )  # fmt: skip
        except ValueError:
            return None
        if zone and zone != "Z":
            offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
            moment -= offset if zone[0] == "+" else -offset
        days[place] = (moment - _EPOCH) / timedelta(days=1)
    return days, notice
