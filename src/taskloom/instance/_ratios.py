"""How much more likely a sample is in a task than in all tasks together."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from taskloom.task_column import TaskStratifiedKFold

__all__ = ["density_ratios", "effective_sizes"]

Array = NDArray[np.float64]


def density_ratios(
    classifier: Any,
    phi: Array,
    *,
    tasks: NDArray[np.intp],
    weights: Array,
    n_tasks: int,
    n_folds: int | None,
    random_state: Any,
) -> Array:
    """``r_t = p(t | x, y) / p(t)`` for every sample and task, (N, T); 1 for tasks without samples.

    Args:
        classifier: of tasks, with ``predict_proba``; it is cloned.
        phi: (N, p).
        tasks: (N,) positions.
        weights: (N,) how often a sample counts.
        n_tasks: T.
        n_folds: each sample is rated by a classifier fitted on the other folds; None: by one fitted on all samples.
        random_state: shuffles the folds; None leaves the order of the samples.
    """
    shares = np.bincount(tasks, weights, minlength=n_tasks) / weights.sum()
    if (shares > 0).sum() < 2:
        return np.ones((len(tasks), n_tasks))
    counts = np.bincount(tasks, minlength=n_tasks)
    splittable = np.flatnonzero(counts[tasks] > 1)  # the sample of a task of one sample is always used for training
    probabilities = np.empty((len(tasks), n_tasks))
    rest = np.arange(len(tasks))
    if n_folds is not None and len(splittable) < n_folds:
        warnings.warn(
            f"n_folds={n_folds}, but tasks of more than one sample have {len(splittable)} in all: the weights come "
            "from a classifier that has seen the samples, as with n_folds=None; set fewer folds",
            UserWarning,
            stacklevel=4,
        )
    elif n_folds is not None:
        rest = np.flatnonzero(counts[tasks] == 1)
        folds = TaskStratifiedKFold(
            n_folds, task_feature=0, shuffle=random_state is not None, random_state=random_state
        )
        for _, held_out in folds.split(tasks[splittable, None]):
            test = splittable[held_out]
            train = np.setdiff1d(np.arange(len(tasks)), test)
            probabilities[test] = _probabilities(
                classifier, phi, tasks, weights, train=train, test=test, n_tasks=n_tasks
            )
    if len(rest):
        every = np.arange(len(tasks))
        probabilities[rest] = _probabilities(classifier, phi, tasks, weights, train=every, test=rest, n_tasks=n_tasks)
    ratios = np.ones_like(probabilities)
    np.divide(probabilities, shares, out=ratios, where=shares > 0)
    return ratios


def _probabilities(
    classifier: Any,
    phi: Array,
    tasks: NDArray[np.intp],
    weights: Array,
    *,
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    n_tasks: int,
) -> Array:
    """p(t | x, y) at the test samples; 0 for tasks that the training samples lack."""
    present = np.unique(tasks[train])
    found = np.zeros((len(test), n_tasks))
    if len(present) == 1:
        found[:, present] = 1.0
        return found
    fitted = clone(classifier).fit(phi[train], tasks[train], sample_weight=weights[train])
    found[:, fitted.classes_] = fitted.predict_proba(phi[test])
    return found


def effective_sizes(ratios: Array, weights: Array) -> Array:
    """``(sum r)^2 / sum r^2`` for every task, (T,): how many equally weighted samples say as much."""
    sums, squares = weights @ ratios, weights @ ratios**2
    return np.divide(sums**2, squares, out=np.zeros_like(sums), where=squares > 0)
