r"""Errors of prediction of coupled least squares, from one fit: leave-one-out, and generalised cross-validation.

With the residuals r and the leverages ``H = W^1/2 X (X' W X + Q)^-1 X' W^1/2`` of all samples, those of a row g that
are left out together, or the share q of their weights, are missed by e where

    (I - H_gg diag(q)) W_g^1/2 e = W_g^1/2 r_g

Q stands for the coupling, and X for the rows of all tasks beside each other, less their means where there are
intercepts; these add ``w_i / sum w`` of its task to the leverage of a sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from taskloom.regularised.coupled.centred import Centred
from taskloom.regularised.coupled.choice import DirectMethod, choose_direct
from taskloom.regularised.coupled.shared_basis import SharedBasis
from taskloom.regularised.data import Array
from taskloom.regularised.penalties.coupling import TaskCoupling

__all__ = ["generalised_errors", "leave_one_out"]

Places = NDArray[np.intp]

ALL_OF_IT = 1e-10  # a sample with a leverage this near to 1 says nothing about itself
NUMBERS = 4e6  # of the blocks that are made at a time


def leave_one_out(
    rows: Centred,
    coupling: TaskCoupling,
    *,
    places: tuple[Places, ...] | None = None,
    copies: tuple[Array, ...] | None = None,
) -> tuple[Array, ...]:
    """Error at every sample of the fit without it, from one fit.

    Samples of several tasks that are one row of a table are left out together: the other labels of a row would tell
    about the one that is to be predicted, which those of a new row cannot. All other weights stay what they are. A
    sample without which nothing is left to fit its intercept gets NaN.

    Args:
        rows: least squares of the tasks; use one object for many couplings, since it keeps what they have in common.
        coupling: Q with the strength in it.
        places: the row of the table that each sample is, T vectors (n_t,); None: where all tasks share their samples,
            these, otherwise no two samples are one row.
        copies: how many equal samples each one stands for, T vectors (n_t,) of at least 1: one of them is left out.

    Returns:
        T vectors ``y_ti - prediction without sample i``, shape (n_t,).

    Example:
        >>> from taskloom.regularised import TaskData
        >>> X, y, w = np.ones((3, 1)), np.array([0.0, 1.0, 2.0]), np.ones(3)
        >>> rows = Centred.of(TaskData((X,), (y,), (w,), fit_intercept=False))
        >>> leave_one_out(rows, TaskCoupling.to_mean(1, alpha=1.0, coupling=1.0))  # the second: 1 - (0 + 2) / 3
        (array([-1.        ,  0.33333333,  1.66666667]),)
    """
    fit = _Fit.of(rows, coupling, copies)
    if isinstance(fit.method, SharedBasis):
        return _by_direction(fit, fit.leverages_along(fit.method) / fit.copies[0][:, None])
    if places is None or _are_apart(places):
        triples = zip(fit.residuals, fit.leverages(fit.method), fit.copies, strict=True)
        return tuple(_over(own, 1 - leverage / count) for own, leverage, count in triples)
    copied = np.concatenate(fit.copies)
    return fit.missed((group, blocks / copied[group][:, None, :]) for group, blocks in fit.blocks(fit.method, places))


def generalised_errors(
    rows: Centred,
    coupling: TaskCoupling,
    *,
    places: tuple[Places, ...] | None = None,
    copies: tuple[Array, ...] | None = None,
) -> tuple[Array, ...]:
    """The same with the mean leverage of all samples for that of each: generalised cross-validation.

    Where samples of several tasks are one row, with the mean of the leverages that they have in each other, over all
    rows with samples of the same tasks.

    Args:
        rows: least squares of the tasks.
        coupling: Q with the strength in it.
        places: as in :func:`leave_one_out`.
        copies: how many equal samples each one stands for.

    Returns:
        T vectors, shape (n_t,).

    Example:
        >>> from taskloom.regularised import TaskData
        >>> X, y, w = np.ones((3, 1)), np.array([0.0, 1.0, 2.0]), np.ones(3)
        >>> rows = Centred.of(TaskData((X,), (y,), (w,), fit_intercept=False))
        >>> generalised_errors(rows, TaskCoupling.to_mean(1, alpha=1.0, coupling=1.0))
        (array([-1.        ,  0.33333333,  1.66666667]),)
    """
    fit = _Fit.of(rows, coupling, copies)
    numbers = np.array([one.sum() for one in fit.copies])
    if isinstance(fit.method, SharedBasis):
        leverages = fit.leverages_along(fit.method)
        return _by_direction(fit, np.broadcast_to(leverages.sum(axis=0) / numbers[0], leverages.shape))
    if places is None or _are_apart(places):
        mean = sum(float(one.sum()) for one in fit.leverages(fit.method)) / float(numbers.sum())
        return tuple(_over(own, np.full(len(own), 1 - mean)) for own in fit.residuals)
    return fit.missed(fit.mean_blocks(fit.method, places))


@dataclass(frozen=True)
class _Fit:
    """The fit of all samples.

    Args:
        rows: least squares of the tasks.
        coupling: Q.
        method: what solves the system.
        residuals: by task, (n_t,).
        copies: by task, (n_t,).
    """

    rows: Centred
    coupling: TaskCoupling
    method: SharedBasis | DirectMethod
    residuals: tuple[Array, ...]
    copies: tuple[Array, ...]

    @classmethod
    def of(cls, rows: Centred, coupling: TaskCoupling, copies: tuple[Array, ...] | None) -> _Fit:
        method = choose_direct(rows, coupling)
        A = method.solve(rows.right_hand_sides)
        A += method.solve(rows.descent(A) - coupling.times(A))
        residuals = rows.residuals(A)
        return cls(rows, coupling, method, residuals, copies or tuple(np.ones(len(own)) for own in residuals))

    @cached_property
    def tasks(self) -> Places:
        """Task of each sample, (N,)."""
        return np.repeat(np.arange(len(self.residuals)), [len(own) for own in self.residuals])

    @cached_property
    def _shares(self) -> tuple[Array, ...]:
        """What intercepts add to the leverages, by task."""
        if self.rows.intercept != "task":
            return tuple(np.zeros(len(own)) for own in self.residuals)
        return tuple(weights / (weights.sum() or 1.0) for weights in self.rows.data.weights)

    def leverages_along(self, method: SharedBasis) -> Array:
        """Leverages of rows that all tasks share, by direction of the coupling, (n, k + 1)."""
        found: Array = method.leverages_along() + self._shares[0][:, None]
        return found

    def leverages(self, method: DirectMethod) -> tuple[Array, ...]:
        """Leverages by task, (n_t,)."""
        return tuple(one + share for one, share in zip(method.leverages(), self._shares, strict=True))

    def blocks(self, method: DirectMethod, places: tuple[Places, ...]) -> Iterator[tuple[Places, Array]]:
        """Samples that are rows, (G, m), and their leverages in each other, (G, m, m); some rows at a time."""
        shares = np.concatenate(self._shares)
        for groups in _rows_of(np.concatenate(places)):
            size = groups.shape[1]
            for group in np.array_split(groups, max(1, int(np.ceil(len(groups) * size**2 / NUMBERS)))):
                yield group, method.blocks(group) + shares[group][:, :, None] * np.eye(size)

    def mean_blocks(self, method: DirectMethod, places: tuple[Places, ...]) -> Iterator[tuple[Places, Array]]:
        """The same with the means over the rows with samples of the same tasks, one set of tasks at a time."""
        copies = np.concatenate(self.copies)
        found: dict[tuple[int, ...], list[tuple[Places, Array]]] = {}
        for group, blocks in self.blocks(method, places):
            sets, which = np.unique(self.tasks[group], axis=0, return_inverse=True)
            for number, tasks in enumerate(sets.tolist()):
                chosen = which.ravel() == number
                found.setdefault(tuple(tasks), []).append((group[chosen], blocks[chosen].sum(axis=0)))
        for parts in found.values():
            every = np.concatenate([group for group, _ in parts])
            mean = np.sum([total for _, total in parts], axis=0) / copies[every].sum(axis=0)
            yield every, np.broadcast_to(mean, (len(every), *mean.shape))

    def missed(self, groups: Iterator[tuple[Places, Array]]) -> tuple[Array, ...]:
        """Errors by task, where the leverages that go with the samples of each group are given."""
        roots = np.sqrt(np.concatenate(self.rows.data.weights))
        scaled, found = roots * np.concatenate(self.residuals), np.empty(len(roots))
        for group, leverages in groups:
            unit = np.eye(group.shape[1])
            left = unit - leverages
            is_known = np.diagonal(left, axis1=1, axis2=2) > ALL_OF_IT
            left = np.where(is_known[:, :, None] & is_known[:, None, :], left, unit)
            missed = np.linalg.solve(left, scaled[group][:, :, None])[:, :, 0] / roots[group]
            found[group] = np.where(is_known, missed, np.nan)
        return tuple(np.split(found, np.cumsum([len(own) for own in self.residuals])[:-1]))


def _are_apart(places: tuple[Places, ...]) -> bool:
    numbers = np.concatenate(places)
    return len(np.unique(numbers)) == len(numbers)


def _rows_of(places: Places) -> Iterator[Places]:
    """Samples of every row, (number of rows with m samples, m), for every m."""
    order = np.argsort(places, kind="stable")
    _, starts, counts = np.unique(places[order], return_index=True, return_counts=True)
    for size in np.unique(counts):
        yield order[starts[counts == size][:, None] + np.arange(size)]


def _by_direction(fit: _Fit, leverages: Array) -> tuple[Array, ...]:
    """Residuals of rows divided by what is left of each direction of the coupling, T vectors (n,)."""
    along, beside = fit.coupling.split(np.column_stack(fit.residuals))
    left = 1 - leverages
    left = np.where(left > ALL_OF_IT, left, np.nan)
    errors: Array = (along / left[:, :-1]) @ fit.coupling.vectors.T + beside / left[:, -1:]
    return tuple(errors.T)


def _over(residuals: Array, left: Array) -> Array:
    found: Array = np.divide(residuals, left, out=np.full(len(left), np.nan), where=left > ALL_OF_IT)
    return found
