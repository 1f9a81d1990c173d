"""How numbers and verdicts are written for people: digits, units, signs, words and symbols."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = [
    "SIGN_CONVENTION",
    "VERDICTS",
    "VerdictWords",
    "count",
    "duration",
    "gain",
    "interval",
    "number",
    "percent",
    "probability",
    "verdict_words",
]

SIGN_CONVENTION = "Positive means that learning together is better than single-task networks."


@dataclass(frozen=True, slots=True)
class VerdictWords:
    """A verdict as it is shown: never by colour alone, always with a symbol and a word.

    Example:
        >>> verdict_words("worse", "negative transfer").word
        'Worse (negative transfer)'
    """

    key: str
    symbol: str
    word: str
    meaning: str


VERDICTS = (
    VerdictWords("better", "▲", "Better", "learning together helps this task"),
    VerdictWords("worse", "▼", "Worse", "learning together hurts this task (negative transfer)"),
    VerdictWords("equivalent", "■", "Equivalent", "the difference is smaller than the margin that matters"),
    VerdictWords("inconclusive", "○", "Inconclusive", "the runs do not settle it"),
)
_BY_KEY = {verdict.key: verdict for verdict in VERDICTS}


def verdict_words(verdict: str, flag: str | None = None) -> VerdictWords:
    """Words and symbol of a verdict, with the flag of negative transfer where there is one.

    Args:
        verdict: ``"better"``, ``"worse"``, ``"equivalent"`` or ``"inconclusive"``.
        flag: ``"negative transfer"``, ``"suspected"`` or None.

    Returns:
        the words.

    Example:
        >>> verdict_words("inconclusive", "suspected").word
        'Inconclusive (negative transfer suspected)'
    """
    known = _BY_KEY.get(verdict) or VerdictWords(verdict, "·", verdict.capitalize(), "")
    if not flag:
        return known
    text = "negative transfer suspected" if flag == "suspected" else flag
    return VerdictWords(known.key, known.symbol, f"{known.word} ({text})", known.meaning)


def number(value: float | None, digits: int = 3) -> str:
    """A number with a few significant digits; a dash where there is none.

    Example:
        >>> number(1234.567), number(0.012345), number(float("nan"))
        ('1,235', '0.0123', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude >= 7 or magnitude < -4:
        return ("−" if value < 0 else "") + f"{abs(value):.{digits - 1}e}"
    return f"{value:,.{max(0, digits - 1 - magnitude)}f}".replace("-", "−")


def percent(value: float | None) -> str:
    """A signed gain in percent, with a true minus sign.

    Example:
        >>> percent(3.14159), percent(-0.5), percent(None)
        ('+3.1 %', '−0.5 %', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    digits = 1 if abs(value) < 100 else 0
    rounded = round(value, digits) + 0.0
    sign = "+" if rounded > 0 else "−" if rounded < 0 else "±"
    return f"{sign}{abs(rounded):,.{digits}f} %"


def gain(value: float | None, *, is_relative: bool = True) -> str:
    """A signed gain, in percent if it is relative, else in units of the score.

    Example:
        >>> gain(3.14159), gain(-0.0123, is_relative=False)
        ('+3.1 %', '−0.0123')
    """
    if is_relative:
        return percent(value)
    shown = number(value)
    return f"+{shown}" if value is not None and value > 0 and math.isfinite(value) else shown


def interval(low: float | None, high: float | None, *, is_relative: bool = True) -> str:
    """An interval of gains.

    Example:
        >>> interval(-1.0, 2.5)
        '−1.0 to +2.5 %'
    """
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return "–"
    return f"{gain(low, is_relative=is_relative).removesuffix(' %')} to {gain(high, is_relative=is_relative)}"


def probability(value: float | None) -> str:
    """A p value.

    Example:
        >>> probability(0.0312), probability(0.00001)
        ('0.031', '< 0.001')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(value: float | None) -> str:
    """A whole number with separators.

    Example:
        >>> count(1797)
        '1,797'
    """
    return "–" if value is None or not math.isfinite(value) else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """A time in the unit that reads best.

    Example:
        >>> duration(0.0125), duration(12.34), duration(754), duration(7300)
        ('12.5 ms', '12.3 s', '12 min 34 s', '2 h 1 min')
    """
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 1e-3:
        return f"{number(seconds * 1e6)} µs"
    if seconds < 1:
        return f"{number(seconds * 1e3)} ms"
    if seconds < 60:
        return f"{number(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
