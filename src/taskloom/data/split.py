"""Training, validation and test rows, such that every task is learnt and measured in each of them.

A splitter is a small object with ``split(data, seed)``. The same data and seed give the same split, on every machine;
candidates of a comparison are paired over splits in this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from taskloom._rng import numpy_stream
from taskloom.data._groups import assign_groups
from taskloom.data._parts import PARTS, Units, check_parts, part_pattern
from taskloom.data._repair import repair
from taskloom.data.mask import as_array
from taskloom.errors import DataError

if TYPE_CHECKING:
    from taskloom.data.multitask import MultiTaskData

__all__ = ["FixedSplit", "GroupedSplit", "RandomSplit", "Split", "Splitter", "TimeSplit", "default_split"]

_TRIES = 20  # random orders tried where swaps of single rows do not meet all requirements


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of the three parts.

    Args:
        train: int64, ascending.
        validation: int64, ascending.
        test: int64, ascending.

    Example:
        >>> Split(np.array([0, 2]), np.array([1]), np.array([3])).sizes
        {'train': 2, 'validation': 1, 'test': 1}
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """Name of the part -> rows."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def sizes(self) -> dict[str, int]:
        """Name of the part -> number of rows."""
        return {name: len(rows) for name, rows in self.parts.items()}

    def within(self, rows: np.ndarray) -> Split:
        """The split of some rows, in their own numbering (see :meth:`MultiTaskData.rows_of`).

        Args:
            rows: int64, ascending.

        Example:
            >>> split = Split(np.array([0, 2]), np.array([1]), np.array([3]))
            >>> split.within(np.array([1, 2, 3])).train.tolist()
            [1]
        """
        return Split(*(np.flatnonzero(np.isin(rows, part)) for part in self.parts.values()))

    @classmethod
    def of_parts(cls, part: np.ndarray) -> Split:
        """From the part of each row: 0 train, 1 validation, 2 test, 3 none."""
        return cls(*(np.flatnonzero(part == place).astype(np.int64) for place in range(3)))


class Splitter(Protocol):
    """Anything that divides data into three parts; ``str(splitter)`` says how, for reports."""

    def split(self, data: MultiTaskData, seed: int) -> Split:
        """Rows of the three parts, deterministic in (data, seed)."""
        ...


@dataclass(frozen=True)
class RandomSplit:
    """Rows at random, in fixed proportions for every task and class.

    In the multi-label layout rows are dealt out by the rarest label that they carry; with several data sets each task
    is divided by itself. Sizes depend on the data only, not on the seed. Rows without any label are in no part. Single
    rows are swapped where a task (or a class) would miss a part.

    Args:
        fractions: shares of train, validation and test; default 0.6, 0.2, 0.2.

    Example:
        >>> from taskloom.data.multitask import MultiTaskData
        >>> from taskloom.task import Regression
        >>> x = np.arange(20.0)
        >>> data = MultiTaskData.from_arrays(x[:, None], {"a": x}, {"a": Regression()})
        >>> RandomSplit().split(data, seed=0).sizes
        {'train': 12, 'validation': 4, 'test': 4}
    """

    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)

    def __post_init__(self) -> None:
        _check_fractions(self.fractions)

    def split(self, data: MultiTaskData, seed: int) -> Split:
        """Divide the rows.

        Raises:
            DataError: a task has fewer than three labelled rows.
        """
        units = Units.of(data)
        rows = units.labelled_rows
        stratum = units.rarest()
        block = np.zeros(len(rows), dtype=np.int64) if data.task_ids is None else data.task_ids[rows]
        sizes = np.bincount(block, minlength=1)
        place = np.concatenate([np.arange(size) for size in sizes])  # place of a row in its block
        pattern = part_pattern(self.fractions, int(sizes.max()))[place]
        part = np.full(data.n_rows, 3)
        stream = numpy_stream(seed, "split")
        for _ in range(_TRIES):
            random = stream.permutation(len(rows))
            order = random[np.lexsort((stratum[random], block[random]))]  # by task, then label, then chance
            part[rows[order]] = pattern
            part = repair(units, part, rows[random])
            if not (units.needed & (units.counts(part) == 0)).any():
                break
        check_parts(data, units, part, split=str(self))
        return Split.of_parts(part)

    def __str__(self) -> str:
        return f"random split {_percent(self.fractions)}"


@dataclass(frozen=True)
class GroupedSplit:
    """Whole groups at random: all rows of a patient, a user, a recording are in one part.

    Of many random orders of the groups the first is taken whose parts come close to the fractions and in which every
    task and class has its place.

    Args:
        fractions: shares of train, validation and test, in rows; default 0.6, 0.2, 0.2.

    Example:
        >>> from taskloom.data.multitask import MultiTaskData
        >>> from taskloom.task import Regression
        >>> x = np.arange(20.0)
        >>> data = MultiTaskData.from_arrays(x[:, None], {"a": x}, {"a": Regression()}, groups=x // 2)
        >>> split = GroupedSplit().split(data, seed=0)
        >>> split.sizes, len(set(split.train // 2) & set(split.test // 2))
        ({'train': 12, 'validation': 4, 'test': 4}, 0)
    """

    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)

    def __post_init__(self) -> None:
        _check_fractions(self.fractions)

    def split(self, data: MultiTaskData, seed: int) -> Split:
        """Divide the groups.

        Raises:
            DataError: the data have no groups or fewer than three, or a task cannot be in all three parts.
        """
        if data.groups is None:
            raise DataError("a grouped split needs groups; give group_column (or groups=) with the data")
        units = Units.of(data)
        part = assign_groups(units, data.groups, self.fractions, numpy_stream(seed, "split"))
        check_parts(data, units, part, split=str(self))
        return Split.of_parts(part)

    def __str__(self) -> str:
        return f"grouped split {_percent(self.fractions)}"


@dataclass(frozen=True)
class TimeSplit:
    """The past for training, the time after it for validation, the latest for testing.

    Rows of one time stay together. The split does not depend on the seed: seeds then only change initial weights and
    the order of rows.

    Args:
        fractions: shares of train, validation and test, in rows; default 0.6, 0.2, 0.2.

    Example:
        >>> from taskloom.data.multitask import MultiTaskData
        >>> from taskloom.task import Regression
        >>> x = np.arange(20.0)
        >>> data = MultiTaskData.from_arrays(x[:, None], {"a": x}, {"a": Regression()}, times=-x)
        >>> TimeSplit().split(data, seed=0).test.tolist()
        [0, 1, 2, 3]
    """

    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)

    def __post_init__(self) -> None:
        _check_fractions(self.fractions)

    def split(self, data: MultiTaskData, seed: int) -> Split:
        """Divide by time.

        Raises:
            DataError: the data have no times or fewer than three different ones, or a task has no labelled row in a
                part.
        """
        if data.times is None:
            raise DataError("a split by time needs times; give time_column (or times=) with the data")
        units = Units.of(data)
        rows = units.labelled_rows
        moments, counts = np.unique(data.times[rows], return_counts=True)
        if len(moments) < 3:
            raise DataError(
                f"a split by time needs at least three different times, found {len(moments)}; take a RandomSplit"
            )
        until = np.cumsum(counts)
        first = int(np.argmin(np.abs(until[:-2] - self.fractions[0] * len(rows))))
        rest = until[first + 1 : -1]
        second = first + 1 + int(np.argmin(np.abs(rest - (self.fractions[0] + self.fractions[1]) * len(rows))))
        part = np.full(data.n_rows, 3)
        part[rows] = np.searchsorted([moments[first], moments[second]], data.times[rows], side="left")
        check_parts(data, units, part, split=str(self))
        return Split.of_parts(part)

    def __str__(self) -> str:
        return f"split by time {_percent(self.fractions)}"


@dataclass(frozen=True, eq=False)
class FixedSplit:
    """A split of your own: the same rows for every seed.

    Args:
        train: row indices (any order) or bool (n,).
        validation: row indices or bool (n,).
        test: row indices or bool (n,).

    Example:
        >>> from taskloom.data.multitask import MultiTaskData
        >>> from taskloom.task import Regression
        >>> data = MultiTaskData.from_arrays(np.zeros((4, 1)), {"a": np.arange(4.0)}, {"a": Regression()})
        >>> FixedSplit([3, 0], [1], [2]).split(data, seed=0).train.tolist()
        [0, 3]
    """

    train: Any
    validation: Any
    test: Any

    def split(self, data: MultiTaskData, seed: int) -> Split:
        """The given rows, checked against the data.

        Raises:
            DataError: rows that do not exist, a row in two parts, a task without a labelled row in a part.
        """
        part = np.full(data.n_rows, 3)
        for place, (name, given) in enumerate(zip(PARTS, (self.train, self.validation, self.test), strict=True)):
            rows = _rows(given, data.n_rows, name)
            twice = rows[part[rows] < 3]
            if len(twice):
                raise DataError(
                    f"row {int(twice[0])} is in the {PARTS[part[twice[0]]]} and in the {name} part; parts must not "
                    "share rows"
                )
            part[rows] = place
        check_parts(data, Units.of(data), part, split=str(self))
        return Split.of_parts(part)

    def __str__(self) -> str:
        return "given split"


def default_split(data: MultiTaskData) -> Splitter:
    """The split that fits the data: grouped if they have groups, by time if they have times, else random.

    Raises:
        DataError: the data have groups and times, so that the choice is yours.

    Example:
        >>> from taskloom.data.multitask import MultiTaskData
        >>> from taskloom.task import Regression
        >>> str(default_split(MultiTaskData.from_arrays([[0.0]], {"a": [1.0]}, {"a": Regression()})))
        'random split 60/20/20 %'
    """
    if data.groups is not None and data.times is not None:
        raise DataError(
            "the data have groups and times; say which split you want: split=GroupedSplit() keeps groups together, "
            "split=TimeSplit() trains on the past"
        )
    if data.groups is not None:
        return GroupedSplit()
    return RandomSplit() if data.times is None else TimeSplit()


def _check_fractions(fractions: Sequence[float]) -> None:
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1.0) > 1e-9:
        raise DataError(
            "fractions must be three positive numbers that sum to 1 (train, validation, test), found "
            f"{tuple(fractions)}; for "
            "example (0.6, 0.2, 0.2)"
        )


def _percent(fractions: Sequence[float]) -> str:
    return "/".join(f"{100 * fraction:.3g}" for fraction in fractions) + " %"


def _rows(given: Any, n_rows: int, name: str) -> np.ndarray:
    array = as_array(given)
    if array.dtype == bool:
        if array.shape != (n_rows,):
            raise DataError(f"the {name} part has {array.shape} truth values, the data {n_rows} rows; give one per row")
        return np.flatnonzero(array)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
        raise DataError(f"the {name} part must be a list of at least one row number, found {array.dtype} {array.shape}")
    if array.min() < 0 or array.max() >= n_rows:
        raise DataError(
            f"the {name} part names row {int(array.min() if array.min() < 0 else array.max())}, but rows go from 0 to "
            f"{n_rows - 1}"
        )
    distinct = np.unique(array)
    if len(distinct) < len(array):
        raise DataError(f"the {name} part names {len(array) - len(distinct)} rows twice; name every row once")
    return distinct.astype(np.int64)
