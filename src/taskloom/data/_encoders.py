"""From one column to numbers for a network: each encoder is fitted on training rows and is plain data.

The width of an encoding depends on the whole table (which categories are common, whether anything is missing), its
statistics on the training rows only. So networks of different splits have one shape, and nothing that is learnt
sees a test row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from taskloom.data._columns import Column
from taskloom.errors import DataError

__all__ = ["CategoricalEncoder", "ColumnEncoder", "DateEncoder", "NumericEncoder", "encoder_from_dict", "fit_encoder"]

MINIMUM_CATEGORY = 10
MOST_CATEGORIES = 50


class ColumnEncoder(Protocol):
    """Turns one column into one or several columns of numbers."""

    @property
    def name(self) -> str:
        """Name of the column."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns that come out."""
        ...

    def encode(self, column: Column) -> np.ndarray:
        """Float64 (n, len(names))."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        ...


@dataclass(frozen=True)
class NumericEncoder:
    """(x - mean) / standard deviation; missing values become the mean, with a column that says so.

    Example:
        >>> encoder = NumericEncoder("x", 2.0, 4.0, True)
        >>> encoder.encode(Column("x", "numeric", np.array([6.0, np.nan]))).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    name: str
    mean: float
    scale: float
    with_indicator: bool

    @classmethod
    def fit(cls, column: Column, rows: np.ndarray) -> NumericEncoder:
        """Mean and standard deviation of the known training values (scale 1 where they do not vary)."""
        mean, scale = mean_and_scale(column.values[rows])
        return cls(column.name, float(mean), float(scale), bool(column.is_missing.any()))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns that come out."""
        return (self.name, f"{self.name} is missing") if self.with_indicator else (self.name,)

    def encode(self, column: Column) -> np.ndarray:
        """Float64 (n, 1 or 2)."""
        missing = column.is_missing
        values = np.where(missing, 0.0, (column.values - self.mean) / self.scale)
        return np.stack([values, missing.astype(np.float64)], axis=1) if self.with_indicator else values[:, None]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": "numeric", **asdict(self)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> NumericEncoder:
        """Inverse of :meth:`to_dict`."""
        return cls(record["name"], record["mean"], record["scale"], record["with_indicator"])


@dataclass(frozen=True)
class CategoricalEncoder:
    """One column per common category, one for rare or new ones, one for missing ones.

    Common are the (at most 50) categories of at least 10 rows (of a fifth of the rows in tables of fewer than 50); one
    that no training row has counts as new.

    Example:
        >>> encoder = CategoricalEncoder("colour", ("blue", "red"), ("blue", "red"), False)
        >>> encoder.encode(Column("colour", "categorical", np.array([1, 0]), ("green", "red"))).tolist()
        [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    name: str
    common: tuple[str, ...]
    seen: tuple[str, ...]
    with_indicator: bool

    @classmethod
    def fit(cls, column: Column, rows: np.ndarray) -> CategoricalEncoder:
        """Common categories of the whole column, and which of them the training rows have."""
        counts = np.bincount(column.values[column.values >= 0], minlength=len(column.categories))
        order = np.argsort(-counts, kind="stable")[:MOST_CATEGORIES]
        kept = sorted(int(code) for code in order if counts[code] >= min(MINIMUM_CATEGORY, len(column.values) / 5))
        in_training = set(np.unique(column.values[rows]).tolist())
        return cls(
            column.name,
            tuple(column.categories[code] for code in kept),
            tuple(column.categories[code] for code in kept if code in in_training),
            bool(column.is_missing.any()),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns that come out."""
        names = [*(f"{self.name} = {category}" for category in self.common), f"{self.name} is another"]
        return (*names, f"{self.name} is missing") if self.with_indicator else tuple(names)

    def encode(self, column: Column) -> np.ndarray:
        """Float64 (n, categories + 1 or 2), one 1 per row; a missing value without its own column is "another"."""
        place_of = {category: place for place, category in enumerate(self.common) if category in self.seen}
        other = len(self.common)
        missing = other + 1 if self.with_indicator else other
        places = np.asarray([*(place_of.get(category, other) for category in column.categories), missing])
        encoded = np.zeros((len(column.values), len(self.names)))
        encoded[np.arange(len(encoded)), places[column.values]] = 1.0
        return encoded

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": "categorical", **asdict(self), "common": list(self.common), "seen": list(self.seen)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> CategoricalEncoder:
        """Inverse of :meth:`to_dict`."""
        return cls(record["name"], tuple(record["common"]), tuple(record["seen"]), record["with_indicator"])


# Length in days of each cycle of a date that is encoded on a circle, and the span from which on it is.
_CYCLES = {"year": (365.2425, 180.0), "week": (7.0, 14.0), "day": (1.0, 2.0)}


@dataclass(frozen=True)
class DateEncoder:
    """Days, standardised, and the place in the year, the week and the day on a circle where the table spans them.

    Example:
        >>> encoder = DateEncoder("when", 0.0, 1.0, ("week",), False)
        >>> encoder.encode(Column("when", "date", np.array([7.0]))).round(6).tolist()
        [[7.0, 0.0, 1.0]]
    """

    name: str
    mean: float
    scale: float
    cycles: tuple[str, ...]
    with_indicator: bool

    @classmethod
    def fit(cls, column: Column, rows: np.ndarray) -> DateEncoder:
        """Mean and deviation of training days; cycles that the whole column spans (of the day only with times)."""
        mean, scale = mean_and_scale(column.values[rows])
        known = column.values[~column.is_missing]
        span = float(np.ptp(known)) if known.size else 0.0
        with_times = bool(np.any(known != np.floor(known)))
        cycles = tuple(
            cycle for cycle, (_, least) in _CYCLES.items() if span >= least and (with_times or cycle != "day")
        )
        return cls(column.name, float(mean), float(scale), cycles, bool(column.is_missing.any()))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns that come out."""
        names = [f"{self.name} (days)"]
        names += [f"{self.name} ({part} of {cycle})" for cycle in self.cycles for part in ("sine", "cosine")]
        return (*names, f"{self.name} is missing") if self.with_indicator else tuple(names)

    def encode(self, column: Column) -> np.ndarray:
        """Float64 (n, len(names)); a missing date is 0 everywhere but in its own column."""
        missing = column.is_missing
        days = np.where(missing, self.mean, column.values)
        parts = [(days - self.mean) / self.scale]
        for cycle in self.cycles:
            angle = 2.0 * np.pi * days / _CYCLES[cycle][0]
            parts += [np.where(missing, 0.0, np.sin(angle)), np.where(missing, 0.0, np.cos(angle))]
        if self.with_indicator:
            parts.append(missing.astype(np.float64))
        return np.stack(parts, axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": "date", **asdict(self), "cycles": list(self.cycles)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> DateEncoder:
        """Inverse of :meth:`to_dict`."""
        return cls(record["name"], record["mean"], record["scale"], tuple(record["cycles"]), record["with_indicator"])


_FIT: dict[str, Callable[[Column, np.ndarray], ColumnEncoder]] = {
    "numeric": NumericEncoder.fit,
    "categorical": CategoricalEncoder.fit,
    "date": DateEncoder.fit,
}
_READ: dict[str, Callable[[Mapping[str, Any]], ColumnEncoder]] = {
    "numeric": NumericEncoder.from_dict,
    "categorical": CategoricalEncoder.from_dict,
    "date": DateEncoder.from_dict,
}


def fit_encoder(column: Column, rows: np.ndarray) -> ColumnEncoder:
    """The encoder of a column's kind, fitted on training rows."""
    return _FIT[column.kind](column, rows)


def encoder_from_dict(record: Mapping[str, Any]) -> ColumnEncoder:
    """Read an encoder back."""
    if record.get("kind") not in _READ:
        raise DataError(f"no column encoder is called {record.get('kind')!r}; known are {', '.join(_READ)}")
    return _READ[record["kind"]](record)


def mean_and_scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over the first axis, NaN left out; scale 1 where values do not vary.

    Example:
        >>> mean_and_scale(np.array([[1.0, 5.0], [3.0, 5.0]]))
        (array([2., 5.]), array([1., 1.]))
    """
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0.0).sum(axis=0) / count
    deviation = np.sqrt(np.square(np.where(known, values - mean, 0.0)).sum(axis=0) / count)
    varies = deviation > 1e-10 * np.maximum(np.abs(mean), 1e-300)
    return mean, np.where(varies, deviation, 1.0)
