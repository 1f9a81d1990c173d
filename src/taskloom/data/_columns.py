"""One feature column, and where the columns of a table went."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from taskloom.errors import DataError

__all__ = ["Column", "FeatureKind", "IgnoredColumn", "Origin", "day_text", "number_text", "shorten"]

FeatureKind = Literal["numeric", "categorical", "date"]


@dataclass(frozen=True, eq=False)
class Column:
    """One feature of a table.

    Args:
        name: name of the column.
        kind: ``"numeric"``, ``"categorical"`` or ``"date"``.
        values: shape (n,). Numbers as float64, NaN where missing; categories as int64 codes, -1 where missing;
            dates as float64 days since 1970-01-01 (with fractions of a day), NaN where missing.
        categories: text of each category, in the order of the codes; empty for the other kinds.

    Example:
        >>> column = Column("colour", "categorical", np.array([0, 1, -1]), ("blue", "red"))
        >>> column.is_missing.tolist(), column.detail
        ([False, False, True], '2 categories: blue, red')
    """

    name: str
    kind: FeatureKind
    values: np.ndarray
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.int64 if self.kind == "categorical" else np.float64)
        if self.kind != "categorical" and np.isinf(values).any():
            rows = np.flatnonzero(np.isinf(values))
            raise DataError(
                f"column {self.name!r} has {len(rows)} infinite values (the first in data row {rows[0] + 1}); numbers "
                "must be finite. Replace them by a number, or leave them empty if they are unknown"
            )
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    @property
    def is_missing(self) -> np.ndarray:
        """True where the value is missing, shape (n,)."""
        return self.values < 0 if self.kind == "categorical" else np.isnan(self.values)

    @property
    def detail(self) -> str:
        """What a person should know of the column, in a few words."""
        known = self.values[~self.is_missing]
        if self.kind == "categorical":
            return f"{len(self.categories)} categories: {shorten(self.categories)}"
        if known.size == 0:
            return "no value"
        if self.kind == "date":
            return f"{day_text(known.min())} to {day_text(known.max())}"
        return f"{known.min():.4g} to {known.max():.4g}"

    def take(self, rows: np.ndarray) -> Column:
        """The column of some rows."""
        return Column(self.name, self.kind, self.values[rows], self.categories)


@dataclass(frozen=True)
class IgnoredColumn:
    """A column that is not used, and why.

    Example:
        >>> IgnoredColumn("comment", "text", "free text").reason
        'free text'
    """

    name: str
    kind: str
    reason: str


@dataclass(frozen=True)
class Origin:
    """Where data came from and which column had which role.

    Args:
        source: file name or the word "arrays", "frame", ...
        target_column: the one target column of several data sets.
        task_column: column that says which task a row belongs to.
        group_column: column of the groups.
        time_column: column of the times.
        times_are_dates: True if times are days since 1970-01-01.
        ignored: columns that are not used.

    Example:
        >>> Origin("scores.csv", task_column="school").task_column
        'school'
    """

    source: str = "arrays"
    target_column: str | None = None
    task_column: str | None = None
    group_column: str | None = None
    time_column: str | None = None
    times_are_dates: bool = False
    ignored: tuple[IgnoredColumn, ...] = field(default=())


def shorten(names: tuple[str, ...], shown: int = 4) -> str:
    """The first names, and how many more there are."""
    head = ", ".join(name if len(name) <= 24 else f"{name[:23]}…" for name in names[:shown])
    return head if len(names) <= shown else f"{head}, … ({len(names) - shown} more)"


def day_text(days: float) -> str:
    """The date of a number of days since 1970-01-01, as 2024-12-31."""
    return str(np.datetime64(int(days // 1), "D"))


def number_text(value: float) -> str:
    """A number as a person would write it: 1.0 becomes "1"."""
    number = float(value)
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
