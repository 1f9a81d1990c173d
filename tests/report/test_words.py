from __future__ import annotations

import math

import pytest

from taskloom.report.words import VERDICTS, duration, interval, number, percent, probability, verdict_words


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_missing_is_a_dash(value: float | None) -> None:
    assert {number(value), percent(value), probability(value), duration(value), interval(value, 1.0)} == {"–"}


def test_a_gain_that_rounds_to_zero_has_no_sign() -> None:
    assert percent(0.01) == percent(-0.01) == "±0.0 %"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (-0.5, "−0.500"),
        (12345.6, "12,346"),
        (0.000123456, "0.000123"),
        (1.5e9, "1.50e+09"),
        (-1e-7, "−1.00e-07"),
    ],
)
def test_numbers(value: float, shown: str) -> None:
    assert number(value) == shown


def test_each_verdict_has_its_own_symbol_and_word() -> None:
    assert len({verdict.symbol for verdict in VERDICTS}) == len({verdict.word for verdict in VERDICTS}) == 4


def test_flags_are_said_in_words() -> None:
    assert verdict_words("worse", "negative transfer").word == "Worse (negative transfer)"
    assert verdict_words("inconclusive", "suspected").word == "Inconclusive (negative transfer suspected)"
