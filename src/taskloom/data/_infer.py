"""What a column is: number, category, date, free text; regression, binary, multiclass."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from taskloom.data._columns import Column, IgnoredColumn, day_text, number_text, shorten
from taskloom.data._dates import parse_dates
from taskloom.errors import DataError
from taskloom.task import Binary, Kind, Multiclass, Regression

__all__ = [
    "FEATURE_KINDS",
    "TARGET_KINDS",
    "RawColumn",
    "class_texts",
    "infer_feature",
    "infer_target",
    "make_feature",
    "missing_texts",
    "text_column",
]

FEATURE_KINDS = ("numeric", "categorical", "date", "text")
TARGET_KINDS = ("regression", "binary", "multiclass")

missing_texts = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "?"})
_FEW_CATEGORIES = 20
_LONG_TEXT = 60
_MOST_INTEGER_CLASSES = 10
_IDENTIFIER = re.compile(r"(?:^|[\W_])(?:id|ids|index|uuid|key|nr|row|column \d+)[\W_]*$|[a-z]I[dD]$", re.ASCII)
_GROUP_NAME = re.compile(
    r"(?:^|[\W_])(?:id|subject|patient|participant|user|customer|student|group)s?(?:[\W_]|$)", re.I
)


@dataclass(frozen=True, eq=False)
class RawColumn:
    """A column before its kind is known: numbers, or days, or distinct texts with a code per row (-1 = missing).

    Example:
        >>> text_column("a", ["x", None, "x"]).codes.tolist()
        [0, -1, 0]
    """

    name: str
    numbers: np.ndarray | None = None
    days: np.ndarray | None = None
    texts: tuple[str, ...] = ()
    codes: np.ndarray | None = None

    @property
    def known(self) -> np.ndarray:
        """True where there is a value, shape (n,)."""
        if self.codes is not None:
            return self.codes >= 0
        return ~np.isnan(self.numbers if self.numbers is not None else self.days)  # type: ignore[arg-type]

    def take(self, rows: np.ndarray) -> RawColumn:
        """The column of some rows."""
        return RawColumn(
            self.name,
            None if self.numbers is None else self.numbers[rows],
            None if self.days is None else self.days[rows],
            self.texts,
            None if self.codes is None else self.codes[rows],
        )

    def as_numbers(self) -> np.ndarray | None:
        """Values as float64, or None if some text is no number."""
        if self.codes is None:
            return self.numbers if self.numbers is not None else self.days
        try:
            distinct = np.asarray([float(text) for text in self.texts] or [np.nan])
        except ValueError:
            return None
        return np.where(self.codes >= 0, distinct[self.codes], np.nan)

    @property
    def holds_dates(self) -> bool:
        """True if the values are dates, or texts all of which are dates."""
        return self.days is not None or (self.as_numbers() is None and parse_dates(self.texts) is not None)

    def n_distinct(self) -> int:
        """Number of different values."""
        if self.codes is not None:
            return int(np.count_nonzero(np.bincount(self.codes[self.codes >= 0])))
        values = self.numbers if self.numbers is not None else self.days
        assert values is not None
        return len(np.unique(values[~np.isnan(values)]))

    def as_categories(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Distinct values as texts, in order (numbers by size, texts by the alphabet), and codes per row."""
        if self.codes is not None:
            used = np.unique(self.codes[self.codes >= 0])
            ordered = sorted(used.tolist(), key=lambda code: _sort_key(self.texts[code]))
            new_code = np.full(len(self.texts) + 1, -1, dtype=np.int64)
            new_code[ordered] = np.arange(len(ordered))
            return tuple(self.texts[code] for code in ordered), new_code[self.codes]
        values = self.numbers if self.numbers is not None else self.days
        assert values is not None
        known = ~np.isnan(values)
        distinct, position = np.unique(values[known], return_inverse=True)
        codes = np.full(values.shape, -1, dtype=np.int64)
        codes[known] = position
        if self.days is not None:
            return tuple(day_text(day) for day in distinct), codes
        return tuple(number_text(value) for value in distinct), codes


def text_column(name: str, values: list[str | None]) -> RawColumn:
    """A raw column of texts: stripped, with the words for "missing" recognised."""
    code_of: dict[str | None, int] = {None: -1}
    texts: list[str] = []
    places: dict[str, int] = {}
    for value in dict.fromkeys(values):
        plain = None if value is None else str(value).strip()
        if plain is None or plain.casefold() in missing_texts:
            code_of[value] = -1
            continue
        code_of[value] = places.setdefault(plain, len(places))
        if code_of[value] == len(texts):
            texts.append(plain)
    codes = np.fromiter((code_of[value] for value in values), np.int64, len(values))
    return RawColumn(name, texts=tuple(texts), codes=codes)


def infer_feature(raw: RawColumn, override: str | None) -> tuple[Column | IgnoredColumn, tuple[str, ...]]:
    """Decide what a feature column is.

    Args:
        raw: the column.
        override: kind that the user gave, or None.

    Returns:
        the column, or why it is ignored; and notices.
    """
    known = raw.known
    if override == "text":
        return IgnoredColumn(raw.name, "text", "free text"), ()
    if not known.any():
        return IgnoredColumn(raw.name, "empty", "no value in any row"), ()
    n_distinct = raw.n_distinct()
    if n_distinct == 1 and known.all():
        return IgnoredColumn(raw.name, "constant", f"always {shorten(raw.as_categories()[0])}"), ()
    if override is not None:
        return make_feature(raw, override), ()
    if raw.days is not None:
        return make_feature(raw, "date"), ()
    numbers = None if any(re.match(r"0\d", text) for text in raw.texts) else raw.as_numbers()
    if numbers is not None:
        return _infer_numbers(raw.name, numbers, n_distinct)
    texts, codes = raw.as_categories()
    dates = parse_dates(texts)
    if dates is not None:
        values = np.where(codes >= 0, dates[0][codes], np.nan)
        return Column(raw.name, "date", values), ((f"dates of column {raw.name!r} {dates[1]}",) if dates[1] else ())
    length = float(np.mean([len(text) for text in texts]))
    if len(texts) > _FEW_CATEGORIES and (len(texts) > known.sum() / 5 or length > _LONG_TEXT):
        word = "identifier" if len(texts) == known.sum() and length <= _LONG_TEXT else "text"
        reason = (
            "a different text in every row" if word == "identifier" else f"free text, {len(texts)} different values"
        )
        return IgnoredColumn(raw.name, word, reason), ()
    return Column(raw.name, "categorical", codes, texts), ()


def _infer_numbers(name: str, numbers: np.ndarray, n_distinct: int) -> tuple[Column | IgnoredColumn, tuple[str, ...]]:
    column = Column(name, "numeric", numbers)
    known = numbers[~np.isnan(numbers)]
    if not np.all(known == np.floor(known)) or len(known) < len(numbers) or len(numbers) < 10:
        return column, ()
    if n_distinct == len(numbers) and _IDENTIFIER.search(name):
        return IgnoredColumn(name, "identifier", "a different number in every row"), ()
    if np.all(np.diff(known) == 1):
        return column, (f"column {name!r} only numbers the rows and is used as a number; drop it if it means nothing",)
    if _GROUP_NAME.search(name) and 2 < n_distinct <= len(numbers) / 2:
        notice = (
            f"column {name!r} looks like an identifier ({n_distinct} values in {len(numbers)} rows) and is used as a "
            "number; if its rows belong together, make it the group column, else drop it"
        )
        return column, (notice,)
    return column, ()


def make_feature(raw: RawColumn, kind: str) -> Column:
    """Read a column as a given kind.

    Raises:
        DataError: some value cannot be read as that kind.
    """
    if kind == "categorical":
        texts, codes = raw.as_categories()
        return Column(raw.name, "categorical", codes, texts)
    if kind == "date":
        if raw.codes is None:
            return Column(raw.name, "date", raw.days if raw.days is not None else _none_of(raw, "a date"))
        dates = parse_dates(raw.texts)
        if dates is None and raw.texts:
            bad = next((text for text in raw.texts if parse_dates([text]) is None), raw.texts[0])
            raise DataError(
                f"column {raw.name!r} is to be read as dates, but holds {bad!r}; write dates as 2024-12-31, "
                "31.12.2024 or "
                "12/31/2024 (one way in a column)"
            )
        values = np.where(raw.codes >= 0, dates[0][raw.codes], np.nan) if dates else np.full(raw.codes.shape, np.nan)
        return Column(raw.name, "date", values)
    numbers = raw.as_numbers()
    return Column(raw.name, "numeric", numbers if numbers is not None else _none_of(raw, "a number"))


def _none_of(raw: RawColumn, wanted: str) -> np.ndarray:
    bad, row = None, 0
    for code, text in enumerate(raw.texts):
        try:
            float(text)
        except ValueError:
            bad, row = text, int(np.flatnonzero(raw.codes == code)[0]) + 1
            break
    found = f"{bad!r} in data row {row}" if bad is not None else "another type"
    raise DataError(
        f"column {raw.name!r} must hold {wanted} in every row, found {found}; correct the value or leave it empty, "
        "or give "
        f"the column another kind, for example kinds={{{raw.name!r}: 'categorical'}}"
    )


def infer_target(raw: RawColumn, override: str | None) -> tuple[Kind, str]:
    """Decide what a target is.

    Args:
        raw: the column.
        override: kind that the user gave, or None.

    Returns:
        the kind, and a notice where the choice may surprise.

    Raises:
        DataError: no label, a constant, a date, too many different texts, or values that do not fit the given kind.
    """
    name = raw.name
    n_distinct, n_labelled = raw.n_distinct(), int(raw.known.sum())
    if n_distinct == 0:
        raise DataError(f"target {name!r} has a label in no row; give some rows a value, or leave this target out")
    if n_distinct == 1:
        raise DataError(
            f"target {name!r} is constant: all {n_labelled} labelled rows are {raw.as_categories()[0][0]!r}; there "
            "is nothing to "
            "learn. Leave "
            "this target out, or check that the file is complete"
        )
    if raw.holds_dates:
        raise DataError(
            f"target {name!r} holds dates, which cannot be predicted; turn them into a number (days, years) first"
        )
    numbers = raw.as_numbers()
    if override == "regression":
        if numbers is None:
            _none_of(raw, "a number")
        return Regression(), ""
    if override is None and n_distinct > 2 and numbers is not None and not _are_codes(numbers):
        return Regression(), ""
    texts, _ = raw.as_categories()
    if override == "binary" and len(texts) != 2:
        raise DataError(
            f"target {name!r} is to be binary, but has {len(texts)} values: {shorten(texts, 8)}; make it multiclass"
        )
    if len(texts) == 2 and override != "multiclass":
        return Binary((texts[0], texts[1])), ""
    if override is None and numbers is not None:
        return Multiclass(len(texts), texts), (
            f"target {name!r} has the integers {texts[0]} to {texts[-1]}: taken as {len(texts)} classes; to predict "
            "the "
            f"number say kinds={{{name!r}: 'regression'}}"
        )
    if override is None and len(texts) > max(_FEW_CATEGORIES, n_labelled / 10):
        raise DataError(
            f"target {name!r} has {len(texts)} different texts in {n_labelled} labelled rows, too many for classes; "
            f"choose another target, or say kinds={{{name!r}: 'multiclass'}} if they are classes"
        )
    return Multiclass(len(texts), texts), ""


def _are_codes(numbers: np.ndarray) -> bool:
    """True for a few integers that run without a gap from 0 or 1."""
    distinct = np.unique(numbers[~np.isnan(numbers)])
    return len(distinct) <= _MOST_INTEGER_CLASSES and distinct[0] in (0, 1) and bool(np.all(np.diff(distinct) == 1))


def class_texts(raw: RawColumn) -> np.ndarray:
    """Values as texts, None where missing: what the labels of a kind are compared with."""
    texts, codes = raw.as_categories()
    return np.asarray(np.asarray([*texts, None], dtype=object)[codes])


def _sort_key(text: str) -> tuple[int, float, str]:
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text.casefold())
