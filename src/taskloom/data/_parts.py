"""What every split must give each task, counted without a loop over rows.

A *unit* is something that must be present in a part: "task k is labelled" (in train, validation and test) or "class
c of task k" (in train; in the other parts where its count allows). Each labelled entry of the data belongs to one or
two units, so that all requirements are one ``bincount``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from taskloom.errors import DataError

if TYPE_CHECKING:
    from taskloom.data.multitask import MultiTaskData

__all__ = ["PARTS", "Units", "check_parts", "part_pattern"]

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Units:
    """Units of some data and the entries (row, unit) that belong to them.

    Args:
        rows: int64 (entries,), row of each entry.
        units: int64 (entries,), unit of each entry.
        names: what each unit is, for messages: (task, class label or "").
        needed: bool (units, 3), parts in which a unit must be present.
        wanted: bool (units, 3), parts in which it should be present where possible.
        labelled_rows: int64, rows with at least one label, ascending.

    Example:
        >>> from taskloom.data.multitask import MultiTaskData
        >>> from taskloom.task import Regression
        >>> data = MultiTaskData.from_arrays([[0.0], [1.0]], {"a": [1.0, None]}, {"a": Regression()})
        >>> Units.of(data).labelled_rows.tolist()
        [0]
    """

    rows: np.ndarray
    units: np.ndarray
    names: tuple[tuple[str, str], ...]
    needed: np.ndarray
    wanted: np.ndarray
    labelled_rows: np.ndarray

    @classmethod
    def of(cls, data: MultiTaskData) -> Units:
        """Count the units of data."""
        rows, units, needed, wanted = [], [], [], []
        names: list[tuple[str, str]] = []
        for task in data.tasks:
            own = np.flatnonzero(data.mask[task.name])
            rows.append(own)
            units.append(np.full(len(own), len(names)))
            names.append((task.name, ""))
            needed.append((True, True, True))
            wanted.append((True, True, True))
            if task.kind.n_classes:
                codes = data.targets[task.name][own]
                rows.append(own)
                units.append(len(names) + codes)
                labels = tuple(getattr(task.kind, "labels", ())) or tuple(map(str, range(task.kind.n_classes)))
                for label, count in zip(labels, np.bincount(codes, minlength=len(labels)), strict=True):
                    names.append((task.name, label))
                    needed.append((bool(count >= 1), False, False))
                    wanted.append((bool(count >= 1), bool(count >= 3), bool(count >= 2)))
        joined = np.concatenate(rows)
        return cls(
            rows=joined,
            units=np.concatenate(units),
            names=tuple(names),
            needed=np.asarray(needed),
            wanted=np.asarray(wanted),
            labelled_rows=np.unique(joined),
        )

    def counts(self, part: np.ndarray) -> np.ndarray:
        """Entries of each unit in each part, int64 (units, 3); ``part`` is (n,) with 3 for "in no part"."""
        flat = np.bincount(self.units * 4 + part[self.rows], minlength=4 * len(self.names))
        return flat.reshape(-1, 4)[:, :3]

    def totals(self) -> np.ndarray:
        """Entries of each unit, int64 (units,)."""
        return np.bincount(self.units, minlength=len(self.names))

    def rarest(self) -> np.ndarray:
        """For each labelled row the unit with the fewest entries that it belongs to, int64."""
        totals = self.totals()
        order = np.lexsort((self.units, totals[self.units], self.rows))
        rows = self.rows[order]
        first = np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]]))
        return self.units[order][first]


def check_parts(data: MultiTaskData, units: Units, part: np.ndarray, *, split: str) -> None:
    """Raise unless every task is labelled in every part and every class is in train.

    Raises:
        DataError: names the task (and class) and the part.
    """
    lacking = np.argwhere(units.needed & (units.counts(part) == 0))
    if not len(lacking):
        return
    lacking = lacking[np.argsort(units.totals()[lacking[:, 0]], kind="stable")]  # the rarest explains most
    task, label = units.names[lacking[0][0]]
    place = PARTS[lacking[0][1]]
    total = int(units.totals()[lacking[0][0]])
    more = len({units.names[unit][0] for unit, _ in lacking}) - 1
    others = f" ({more} more tasks have such a gap)" if more else ""
    if label:
        raise DataError(
            f"class {label!r} of task {task!r} ({total} rows) is not in the {place} part of the {split}{others}; "
            "every class "
            "must be seen in training. Take another split or other fractions, merge the class with another one, or "
            "remove "
            "the labels of its rows"
        )
    raise DataError(
        f"task {task!r} ({total} labelled rows of {data.n_rows}) has no labelled row in the {place} part of the {split}"
        f"{others}; every task needs some in every part. Take another split or other fractions, add labels, or leave "
        "the "
        "task out"
    )


def part_pattern(fractions: tuple[float, float, float], length: int) -> np.ndarray:
    """Parts in an order in which every stretch has nearly the wanted fractions, int64 (length,).

    The next place goes to the part that lags most behind its fraction; the pattern repeats after 1,000 places.

    Example:
        >>> part_pattern((0.6, 0.2, 0.2), 10).tolist()
        [0, 1, 0, 2, 0, 0, 1, 0, 2, 0]
    """
    period = min(length, 1000)
    counts = np.zeros(3)
    pattern = np.empty(period, dtype=np.int64)
    wanted = np.asarray(fractions)
    for place in range(period):
        chosen = int(np.argmax(np.round(wanted * (place + 1) - counts, 9)))
        pattern[place] = chosen
        counts[chosen] += 1
    return np.resize(pattern, length)
