r"""Tasks in clusters: near to others of their cluster, less near to tasks of other clusters.

With abar the mean of all tasks and abar_c that of the T_c tasks of cluster c,

    penalty(A) = 1/2 (eps_mean T ||abar||^2 + eps_between sum_c T_c ||abar_c - abar||^2
                      + eps_within sum_c sum_{t in c} ||a_t - abar_c||^2)

Where the clusters are not known, the penalty is the smallest over a convex set of task covariances that holds those of
all clusterings into n_clusters clusters; the minimum is then at most that of the best clustering.

CMTL does not set the mean apart: eps_mean = eps_between, and covariances that are not centred.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from taskloom.errors import DataError, nearest
from taskloom.linear._cluster_search import random_labels, search_clusters
from taskloom.linear._coupled import CoupledModel
from taskloom.linear._relaxed_clusters import labels_of, relaxed_covariance, relaxed_sharing, sharing_of_features
from taskloom.linear.base import TaskClassifier, TaskRegressor, check_number
from taskloom.regularised.data import Solution
from taskloom.regularised.penalties.coupling import TaskCoupling
from taskloom.regularised.penalties.spectral_box import SpectralBox
from taskloom.task_column import TaskRows, check_flag, check_whole, refuse_unused

__all__ = ["ClusteredTasks", "ClusteredTasksClassifier"]

Array = NDArray[np.float64]


class _ClusteredTasks(CoupledModel):
    def __init__(
        self,
        n_clusters: int | None = None,
        *,
        eps_mean: float = 0.01,
        eps_between: float = 0.1,
        eps_within: float = 1.0,
        clusters: Any = None,
        formulation: Literal["jacob", "cmtl"] = "jacob",
        relaxation: bool = True,
        n_init: int = 10,
        task_feature: int | str | None = None,
        fit_intercept: bool = True,
        loss_weights: Any = "sample",
        tol: float = 1e-6,
        max_iter: int = 10_000,
        warm_start: bool = False,
        unknown_task: Literal["error", "mean"] = "error",
    ) -> None:
        super().__init__(
            task_feature=task_feature,
            fit_intercept=fit_intercept,
            loss_weights=loss_weights,
            tol=tol,
            max_iter=max_iter,
            warm_start=warm_start,
            unknown_task=unknown_task,
        )
        self.n_clusters = n_clusters
        self.eps_mean = eps_mean
        self.eps_between = eps_between
        self.eps_within = eps_within
        self.clusters = clusters
        self.formulation = formulation
        self.relaxation = relaxation
        self.n_init = n_init

    def _fit(self, rows: TaskRows, data: Any) -> Solution:
        self._known = None if self.clusters is None else _known_clusters(self.clusters, rows.tasks, self.n_clusters)
        n_starts, is_relaxed = check_whole("n_init", self.n_init), check_flag("relaxation", self.relaxation)
        self._refuse_unused()
        if is_relaxed or self._known is not None:
            return super()._fit(rows, data)
        return self._search(rows, data, n_starts)

    def _refuse_unused(self) -> None:
        if self.formulation == "cmtl":
            refuse_unused(self, "eps_mean", beside='formulation="cmtl"', instead="set eps_between")
        if self._known is not None:
            refuse_unused(self, "relaxation", "n_init", beside="clusters", instead="leave out clusters")
        elif self.relaxation:
            refuse_unused(self, "n_init", beside="relaxation=True", instead="set relaxation=False")

    def _search(self, rows: TaskRows, data: Any, n_starts: int) -> Solution:
        """Clusters and coefficients by turns, from the relaxation and from random clusters."""
        relaxed = super()._fit(rows, data)
        penalty = self._penalty(rows.n_tasks, rows.n_features)
        if not isinstance(penalty, SpectralBox):
            return relaxed
        r = _check_n_clusters(self.n_clusters, rows.n_tasks)

        def fit_clusters(labels: NDArray[np.intp]) -> Solution:
            self._known = labels
            return super(_ClusteredTasks, self)._fit(rows, data)

        starts = [labels_of(relaxed_sharing(penalty, relaxed.coefficients), r)]
        starts += random_labels(rows.n_tasks, r, count=n_starts - 1)
        self._known, solution = search_clusters(fit_clusters, starts)
        return solution

    def _penalty(self, n_tasks: int, n_features: int) -> TaskCoupling | SpectralBox:
        if self.formulation not in ("jacob", "cmtl"):
            known = ["jacob", "cmtl"]
            raise DataError(f"formulation={self.formulation!r} is not known.{nearest(str(self.formulation), known)}")
        is_centred = self.formulation == "jacob"
        mean = check_number("eps_mean", self.eps_mean, is_open=True)
        between = check_number(
            "eps_between", self.eps_between, least=mean if is_centred else 0.0, is_open=not is_centred
        )
        within = check_number("eps_within", self.eps_within, least=between)
        mean = mean if is_centred else between
        if self._known is not None:
            return TaskCoupling.to_clusters(self._known, mean=mean, between=between, within=within)
        r = _check_n_clusters(self.n_clusters, n_tasks)
        if r == n_tasks or within == between:  # nothing is left to be found
            return TaskCoupling.to_mean(n_tasks, alpha=mean, coupling=between / mean)
        if r == 1 and is_centred:
            return TaskCoupling.to_mean(n_tasks, alpha=mean, coupling=within / mean)
        n_directions = r - 1 if is_centred else r
        low, high = 1 / within, 1 / between
        return SpectralBox(low, high, n_tasks * low + n_directions * (high - low), mean if is_centred else None)

    def _store(self, rows: TaskRows, solution: Solution) -> None:
        super()._store(rows, solution)
        penalty = self._penalty(rows.n_tasks, rows.n_features)
        self._relaxation = penalty if isinstance(penalty, SpectralBox) else None
        if isinstance(penalty, SpectralBox):
            A, r = solution.coefficients, _check_n_clusters(self.n_clusters, rows.n_tasks)
            self.task_precision_ = np.asarray(np.linalg.inv(relaxed_covariance(penalty, A)))
            self.task_sharing_ = relaxed_sharing(penalty, A)
            self.labels_ = labels_of(self.task_sharing_, r)
        else:
            self.task_precision_ = penalty.precision
            self.labels_ = _trivial_labels(rows.n_tasks, self.n_clusters) if self._known is None else self._known
            self.task_sharing_ = (self.labels_[:, None] == self.labels_) / np.bincount(self.labels_)[self.labels_]

    @property
    def feature_sharing_(self) -> Array:
        """(d, d) with ``formulation="cmtl"`` the relaxed projection on what the tasks share, of trace n_clusters."""
        check_is_fitted(self)
        if self._relaxation is None or self._relaxation.mean_strength is not None:
            raise AttributeError(
                'feature_sharing_ exists with formulation="cmtl", clusters that are not given, and fewer clusters than '
                "tasks"
            )
        return sharing_of_features(self._relaxation, self.coef_)


def _check_n_clusters(n_clusters: Any, n_tasks: int) -> int:
    if n_clusters is None:
        return min(2, n_tasks)
    is_whole = isinstance(n_clusters, int | np.integer) and not isinstance(n_clusters, bool)
    if is_whole and n_tasks == 1 and n_clusters >= 1:
        return 1  # a single task is a single cluster
    if not is_whole or not 1 <= n_clusters <= n_tasks:
        raise DataError(f"n_clusters={n_clusters!r}; expected a whole number from 1 to the number of tasks, {n_tasks}")
    return int(n_clusters)


def _known_clusters(clusters: Any, tasks: NDArray[Any], n_clusters: Any) -> NDArray[np.intp]:
    """Number of the cluster of each task."""
    if isinstance(clusters, Mapping):
        missing = [task for task in tasks.tolist() if task not in clusters]
        if missing:
            raise DataError(f"clusters says nothing about the tasks {missing[:5]}; expected a cluster for every task")
        clusters = [clusters[task] for task in tasks.tolist()]
    given = np.asarray(clusters)
    if given.shape != tasks.shape:
        raise DataError(
            f"clusters has shape {given.shape} but there are {len(tasks)} tasks; expected one cluster per task in the "
            "order of the sorted labels, or a mapping from labels"
        )
    names, known = np.unique(given, return_inverse=True)
    if n_clusters is not None and n_clusters != len(names):
        raise DataError(f"n_clusters={n_clusters!r} but clusters has {len(names)} clusters; leave one of them out")
    return known


def _trivial_labels(n_tasks: int, n_clusters: Any) -> NDArray[np.intp]:
    """One cluster of all tasks, or each task a cluster of its own."""
    r = _check_n_clusters(n_clusters, n_tasks)
    return np.zeros(n_tasks, dtype=np.intp) if r == 1 else np.arange(n_tasks) % r


class ClusteredTasks(TaskRegressor, _ClusteredTasks):
    r"""Ridge regression of tasks in clusters that are known or to be found.

    Use it where tasks come in kinds. With known clusters this is a quadratic coupling, solved exactly; one cluster is
    :class:`MeanRegularized`. With unknown clusters a convex relaxation finds coefficients and clusters at once, with a
    certificate for the relaxed problem; or both are found by turns, which gives true clusters without a certificate
    that there are no better ones.

        minimise  sum_t c_t sum_i s_ti (y_ti - x_ti . a_t - b_t)^2 / 2
                  + 1/2 (eps_mean T ||abar||^2 + eps_between sum_c T_c ||abar_c - abar||^2
                         + eps_within sum_c sum_{t in c} ||a_t - abar_c||^2)

    Args:
        n_clusters: number of clusters, from 1 to the number of tasks (a single task is one cluster whatever is given);
            None (default): as in ``clusters``, or 2.
        eps_mean: strength on the mean of all tasks, positive; default 0.01.
        eps_between: strength on the means of clusters, at least ``eps_mean``; default 0.1.
        eps_within: strength on tasks within a cluster, at least ``eps_between``; default 1. All three equal: ridge
            regression of each task.
        clusters: the known clusters: one label per task in the order of the sorted task labels, or a mapping from task
            labels; None (default): find them.
        formulation: ``"jacob"`` (default), the penalty above; ``"cmtl"``: without ``eps_mean``, which is as
            ``eps_between`` then, and not to be given. The field writes ``rho_1 tr(A (I - M) A') + rho_2 ||A||^2``: that
            is ``eps_between = 2 rho_2`` and ``eps_within = 2 (rho_1 + rho_2)``. cASO has the same coefficients.
        relaxation: whether unknown clusters are found by the convex relaxation (default), or by turns.
        n_init: clusters to begin the turns with: those of the relaxation, and random ones; default 10. It is refused
            where there are no turns.
        task_feature, fit_intercept, loss_weights, tol, warm_start, unknown_task: as in :class:`MeanRegularized`.
        max_iter: iterations at most.

    Attributes:
        labels_: (T,) number of the cluster of each task; of the relaxation, by k-means on ``task_sharing_``.
        task_sharing_: (T, T) the matrix of clusters: ``1 / T_c`` for two tasks of one cluster, 0 for others; of the
            relaxation, a matrix with eigenvalues from 0 to 1 and the trace ``n_clusters``.
        feature_sharing_: (d, d) the same seen from the features (cASO), with ``"cmtl"`` and the relaxation.
        task_precision_: (T, T) the precision Q of the penalty ``tr(A Q A') / 2`` at the solution.
        dual_gap_, objective_: of the relaxed problem; of the problem with the clusters fixed, where these were given
            or found by turns.
        coef_, intercept_, tasks_, n_iter_: as in :class:`MeanRegularized`.

    Raises:
        DataError: parameters out of range, clusters that do not fit the tasks, or data that do not fit.

    Source:
        Jacob, Bach & Vert, Clustered multi-task learning: a convex formulation, NIPS 2008; CMTL: Zhou, Chen & Ye,
        Clustered multi-task learning via alternating structure optimization, NIPS 2011; cASO: Chen, Tang, Liu & Ye, A
        convex formulation for learning shared structures from multiple tasks, ICML 2009.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, noise = rng.normal(size=(30, 4)), 0.1 * rng.normal(size=(30, 4))
        >>> kinds = np.array([[2.0, 1.0, 0.0, 0.0], [0.0, 0.0, -2.0, 1.0]])
        >>> model = ClusteredTasks(2).fit(X, X @ kinds[[0, 1, 0, 1]].T + noise)
        >>> bool(model.labels_[0] == model.labels_[2] != model.labels_[1] == model.labels_[3])
        True
    """


class ClusteredTasksClassifier(TaskClassifier, _ClusteredTasks):
    """Logistic regression of tasks in clusters that are known or to be found.

    The twin of :class:`ClusteredTasks` for two classes: the same penalty with the loss ``log(1 + exp(-y eta))``.

    Args:
        n_clusters, eps_mean, eps_between, eps_within, clusters, formulation, relaxation, n_init: as in
            :class:`ClusteredTasks`.
        task_feature, fit_intercept, loss_weights, tol, max_iter, warm_start, unknown_task: as there.
        single_class: as in :class:`MeanRegularizedClassifier`.

    Attributes:
        classes_: the two labels.
        labels_, task_sharing_, feature_sharing_, task_precision_: as in :class:`ClusteredTasks`.
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`ClusteredTasks`.

    Raises:
        DataError: parameters out of range, clusters that do not fit the tasks, or data that do not fit.
        TaskError: a task with a single class.

    Example:
        >>> import numpy as np
        >>> X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0, 0], [0, 1], [1, 1], [1, 1]])
        >>> ClusteredTasksClassifier(clusters=[0, 0]).fit(X, Y).predict([[3.0]])
        array([[1, 1]])
    """

    def __init__(
        self,
        n_clusters: int | None = None,
        *,
        eps_mean: float = 0.01,
        eps_between: float = 0.1,
        eps_within: float = 1.0,
        clusters: Any = None,
        formulation: Literal["jacob", "cmtl"] = "jacob",
        relaxation: bool = True,
        n_init: int = 10,
        task_feature: int | str | None = None,
        fit_intercept: bool = True,
        loss_weights: Any = "sample",
        single_class: Literal["error", "constant"] = "error",
        tol: float = 1e-6,
        max_iter: int = 10_000,
        warm_start: bool = False,
        unknown_task: Literal["error", "mean"] = "error",
    ) -> None:
        super().__init__(
            n_clusters,
            eps_mean=eps_mean,
            eps_between=eps_between,
            eps_within=eps_within,
            clusters=clusters,
            formulation=formulation,
            relaxation=relaxation,
            n_init=n_init,
            task_feature=task_feature,
            fit_intercept=fit_intercept,
            loss_weights=loss_weights,
            tol=tol,
            max_iter=max_iter,
            warm_start=warm_start,
            unknown_task=unknown_task,
        )
        self.single_class = single_class
