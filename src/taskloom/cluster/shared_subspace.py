r"""k-means for several tasks whose clusters agree in a subspace (LSSMTC).

minimise  sum_i w ||x_i - m_{t_i, c_i}||^2 + (1 - w) ||W'x_i - m_{c_i}||^2    over clusters c, centres m, W'W = I
"""

from __future__ import annotations

import warnings
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from taskloom.cluster._shared_means import SharedMeans, solve_shared_means
from taskloom.errors import DataError
from taskloom.task_column import fit_rows, predict_rows

__all__ = ["SharedSubspaceClustering"]

Array = NDArray[np.float64]
Positions = NDArray[np.intp]


class SharedSubspaceClustering(ClusterMixin, BaseEstimator):  # type: ignore[misc]
    r"""Cluster the rows of several tasks, so that clusters of one number mean the same in all tasks (LSSMTC).

    Use it where tasks have the same kinds of rows, but describe them with shifts of their own: every task has centres
    of its own in all features, and all tasks have common centres in a few directions that are learnt. These are the
    directions in which rows of a cluster differ least, so features should be on one scale, and a feature that hardly
    varies at all should be left out: it would be taken for the subspace. Where tasks have nothing in common, k-means of
    each task does the same for less.

        minimise  sum_i w ||x_i - m_{t_i, c_i}||^2 + (1 - w) ||W'x_i - m_{c_i}||^2,    W (d, l) with W'W = I

    with the task t_i and the cluster c_i of row i. Turns of means, directions and clusters lower it until no row moves;
    like k-means they end at a local minimum, so they begin ``n_init`` times, in turn from k-means of all rows and from
    k-means of rows without the mean of their task.

    Args:
        n_clusters: number k of clusters, the same in all tasks; default 3.
        n_components: number l of common directions, at most d; default 2.
        within_weight: w, from 0 to 1; default 0.5. With 1 the tasks are clustered by themselves; with 0 and all
            directions, all rows together as if there were no tasks.
        task_feature: position or name of the task column of X; None: a single task.
        n_init: beginnings; default 10.
        max_iter: turns at most from each; default 300.
        unknown_task: what ``predict`` does with rows of tasks that ``fit`` did not see: ``"error"`` (default), or
            ``"shared"``: the nearest of the common centres.
        random_state: of the beginnings; default 0, so that the same data give the same clusters.

    Attributes:
        labels_: (n,) cluster of each row of ``fit``.
        cluster_centers_: (T, k, d) the centres of each task. A cluster that has no rows in a task has the mean of the
            rows that it had last, or of the task.
        shared_centers_: (k, l) the common centres, in the subspace.
        components_: (l, d) the common directions, in which clusters vary least, first.
        tasks_: (T,) labels of the tasks.
        objective_: what is minimised; ``objective_path_`` after every turn of the best beginning, never rising.
        n_iter_: its turns.

    Raises:
        DataError: parameters out of range, fewer rows than clusters, or data that do not fit; says what to do.

    Cost:
        a turn is O(n d^2 + d^3 + n k d).

    Differs from the paper:
        rows belong to one cluster (the paper relaxes that to numbers that are not negative, by multiplicative steps);
        several beginnings; samples of one task may be few.

    Source:
        Gu & Zhou, Learning the shared subspace for multi-task clustering and transductive transfer classification,
        ICDM 2009.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> kind, task = rng.integers(0, 2, 60), np.repeat([0, 1, 2], 20)
        >>> shift = 5 * rng.normal(size=3)[task]
        >>> X = np.column_stack([task, 4 * kind + 0.3 * rng.normal(size=60), shift + rng.normal(size=60)])
        >>> model = SharedSubspaceClustering(2, n_components=1, task_feature=0).fit(X)
        >>> bool((model.labels_ == kind).all() or (model.labels_ != kind).all())
        True
    """

    def __init__(
        self,
        n_clusters: int = 3,
        *,
        n_components: int = 2,
        within_weight: float = 0.5,
        task_feature: int | str | None = None,
        n_init: int = 10,
        max_iter: int = 300,
        unknown_task: Literal["error", "shared"] = "error",
        random_state: Any = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_components = n_components
        self.within_weight = within_weight
        self.task_feature = task_feature
        self.n_init = n_init
        self.max_iter = max_iter
        self.unknown_task = unknown_task
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the clusters.

        Args:
            X: (n, d), or (n, d + 1) with the task column.
            y: not used.

        Returns:
            the estimator.
        """
        rows = fit_rows(self, X, y=np.zeros(len(X) if isinstance(X, list) else np.shape(X)[:1]))
        order = np.concatenate(rows.rows)
        features = np.concatenate(rows.designs)
        tasks = np.repeat(np.arange(rows.n_tasks), [len(one) for one in rows.rows])
        self._check_parameters(*features.shape)
        best = min(self._runs(features, tasks), key=lambda found: found.objectives[-1])
        if not best.converged:
            warnings.warn(
                f"{type(self).__name__} stopped after {self.max_iter} turns while rows still changed their clusters; "
                "increase max_iter",
                ConvergenceWarning,
                stacklevel=2,
            )
        self.labels_ = np.empty(len(order), dtype=np.intp)
        self.labels_[order] = best.labels
        self._centres = best.centres
        self.cluster_centers_, self.shared_centers_ = best.centres.own, best.centres.shared
        self.components_ = np.ascontiguousarray(best.centres.components.T)
        self.tasks_, self.n_tasks_ = rows.tasks, rows.n_tasks
        self.objective_path_ = np.array(best.objectives)
        self.objective_, self.n_iter_ = best.objectives[-1], max(len(best.objectives) - 1, 1)
        return self

    def predict(self, X: Any) -> Positions:
        """The cluster of each row: the one that costs it least, with the centres as they are.

        Args:
            X: as in ``fit``.

        Returns:
            (n,).
        """
        check_is_fitted(self)
        found = predict_rows(self, X, unknown_task=self.unknown_task, other="shared")
        positions = np.zeros(len(found.design), dtype=np.intp) if found.positions is None else found.positions
        nearest: Positions = self._centres.costs(found.design, positions).argmin(axis=1)
        return nearest

    def _runs(self, X: Array, tasks: Positions) -> list[SharedMeans]:
        """From every beginning: all rows as they are, then with the mean of each task taken away, in turn."""
        random = check_random_state(self.random_state)
        means = np.stack([X[tasks == task].mean(axis=0) for task in range(int(tasks.max()) + 1)])
        tables = (X, X - means[tasks])
        found = []
        for number in range(self.n_init):
            seed = int(random.randint(2**31 - 1))
            begin = KMeans(self.n_clusters, n_init=1, random_state=seed).fit(tables[number % 2]).labels_
            found.append(
                solve_shared_means(
                    X,
                    tasks,
                    labels=begin.astype(np.intp),
                    n_clusters=self.n_clusters,
                    n_components=self.n_components,
                    within=float(self.within_weight),
                    max_iterations=self.max_iter,
                )
            )
        return found

    def _check_parameters(self, n_rows: int, n_features: int) -> None:
        for name, most in (("n_clusters", n_rows), ("n_components", n_features), ("n_init", None), ("max_iter", None)):
            value = getattr(self, name)
            is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if is_whole and value >= 1 and (most is None or value <= most):
                continue
            what = {"n_clusters": "rows", "n_components": "features"}.get(name)
            range_ = "of at least 1" if most is None else f"from 1 to the number of {what}, {most}"
            raise DataError(f"{name}={value!r}; expected a whole number {range_}")
        weight = self.within_weight
        if not isinstance(weight, int | float | np.number) or isinstance(weight, bool) or not 0 <= weight <= 1:
            raise DataError(f"within_weight={weight!r}; expected a number from 0 to 1")
        if self.unknown_task not in ("error", "shared"):
            raise DataError(f'unknown_task={self.unknown_task!r}; expected "error" or "shared"')
