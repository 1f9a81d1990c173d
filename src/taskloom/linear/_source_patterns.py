"""Which sources of columns each row of a table has, and which patterns of them there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskloom.errors import DataError

__all__ = ["SourcePatterns", "columns_by_source"]

Flags = NDArray[np.bool_]
Positions = NDArray[np.intp]


def columns_by_source(sources: Any, missing: Flags) -> tuple[NDArray[Any], Positions]:
    """The sources, and the position of each column's source among them.

    Args:
        sources: a label for each column; None: columns that are missing in the same rows are one source.
        missing: which values are missing, shape (n, d).

    Returns:
        labels, shape (S,), numbered from 0 where none were given; positions, shape (d,).

    Raises:
        DataError: not one label per column.

    Example:
        >>> columns_by_source(None, np.array([[False, True, True], [False, False, False]]))
        (array([0, 1]), array([0, 1, 1]))
    """
    n_columns = missing.shape[1]
    if sources is None:
        _, first, places = np.unique(missing.T, axis=0, return_index=True, return_inverse=True)
        rank = np.argsort(np.argsort(first))  # in the order in which they come
        return np.arange(len(first)), rank[places.ravel()]
    labels = np.asarray(sources)
    if labels.shape != (n_columns,):
        raise DataError(f"sources has shape {labels.shape}; expected a label for each of the {n_columns} columns of X")
    found, places = np.unique(labels, return_inverse=True)
    return found, places


@dataclass(frozen=True)
class SourcePatterns:
    """Combinations of sources that rows have.

    Args:
        sources: labels, shape (S,).
        columns: position of the source of each column, shape (d,).
        patterns: which sources there are in each pattern, shape (M, S).

    Example:
        >>> patterns = np.array([[True, False], [True, True]])
        >>> SourcePatterns(np.array(["a", "b"]), np.array([0, 0, 1]), patterns).has_column.astype(int)
        array([[1, 1, 0],
               [1, 1, 1]])
    """

    sources: NDArray[Any]
    columns: Positions
    patterns: Flags

    @property
    def has_column(self) -> Flags:
        """Which columns there are in each pattern, shape (M, d)."""
        found: Flags = self.patterns[:, self.columns]
        return found

    def present(self, missing: Flags) -> Flags:
        """Which sources each row has, shape (n, S).

        Args:
            missing: which values are missing, shape (n, d).

        Raises:
            DataError: a row that has a part of a source, or no source at all.
        """
        sizes = np.bincount(self.columns, minlength=len(self.sources))
        gaps = np.zeros((len(missing), len(self.sources)), dtype=np.intp)
        np.add.at(gaps.T, self.columns, missing.T)
        in_part = (gaps > 0) & (gaps < sizes)
        if in_part.any():
            row, source = (int(index[0]) for index in np.nonzero(in_part))
            raise DataError(
                f"Input X contains NaN in a part of a source: row {row} lacks {gaps[row, source]} of the "
                f"{sizes[source]} columns of source '{self.sources[source]}'. A source has to be there or missing as a "
                "whole; fill in the values (sklearn.impute), or name smaller sources by the parameter sources"
            )
        present: Flags = gaps == 0
        is_empty = ~present.any(axis=1)
        if is_empty.any():
            raise DataError(
                f"Input X contains NaN only in {is_empty.sum()} rows (first: row {int(np.argmax(is_empty))}); a row "
                "needs a source at least: leave these rows out"
            )
        return present

    def positions(self, present: Flags, *, accept_part: bool) -> Positions:
        """The pattern of each row, shape (n,).

        Args:
            present: which sources each row has, shape (n, S).
            accept_part: whether a row with a pattern that is not known gets the one that uses most of its columns.

        Raises:
            DataError: a pattern that is not known, and none that uses a part of it.
        """
        fits: Flags = np.logical_not(np.any(self.patterns[None] & ~present[:, None], axis=2))  # (n, M)
        is_same = fits & (self.patterns.sum(axis=1) == present.sum(axis=1)[:, None])
        known = (fits if accept_part else is_same).any(axis=1)
        if not known.all():
            row = int(np.argmin(known))
            other = "" if accept_part else ', or construct the estimator with unknown_pattern="part"'
            raise DataError(
                f"row {row} of X has the sources {self._names(present[row])}, which no row of fit had alone (patterns "
                f"of fit: {self.describe()}); set the sources that are too many to NaN, fit on rows of this "
                f"pattern{other}"
            )
        widths = self.has_column.sum(axis=1)
        chosen: Positions = np.where(fits, widths, -1).argmax(axis=1)
        return chosen

    def describe(self, most: int = 5) -> str:
        """The first patterns with their numbers and sources, for a message.

        Args:
            most: how many of them.

        Example:
            >>> patterns = np.array([[True, False], [True, True]])
            >>> SourcePatterns(np.array(["a", "b"]), np.array([0, 1]), patterns).describe()
            '0: a; 1: a, b'
        """
        fitted = "; ".join(f"{number}: {self._names(pattern)}" for number, pattern in enumerate(self.patterns[:most]))
        return fitted + (f" and {len(self.patterns) - most} more" if len(self.patterns) > most else "")

    def _names(self, pattern: Flags) -> str:
        return ", ".join(str(name) for name in self.sources[pattern])
