r"""Tasks that are held to their neighbours in a graph.

    penalty(A) = alpha / 2 (||A||^2 + coupling sum_{i<j} w_ij ||a_i - a_j||^2) + alpha_l1 ||A||_1

with weights w_ij of the edges; the last term is an option.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from taskloom.errors import DataError, nearest
from taskloom.linear._coupled import CoupledModel
from taskloom.linear.base import TaskClassifier, TaskRegressor, check_number
from taskloom.linear.graph import graph_laplacian
from taskloom.regularised.penalties.coupled import Coupled, with_coupling
from taskloom.regularised.penalties.coupling import TaskCoupling
from taskloom.regularised.penalties.entry import EntryNorm

__all__ = ["GraphRegularized", "GraphRegularizedClassifier"]


class _GraphRegularized(CoupledModel):
    def __init__(
        self,
        alpha: float = 0.1,
        *,
        graph: Any = "complete",
        coupling: float = 1.0,
        alpha_l1: float = 0.0,
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
        self.alpha = alpha
        self.graph = graph
        self.coupling = coupling
        self.alpha_l1 = alpha_l1

    def _penalty(self, n_tasks: int, n_features: int) -> TaskCoupling | Coupled | EntryNorm | None:
        alpha = check_number("alpha", self.alpha)
        coupling = check_number("coupling", self.coupling)
        alpha_l1 = check_number("alpha_l1", self.alpha_l1)
        along_edges = _coupling(self.graph, n_tasks, alpha=alpha, coupling=coupling)
        if alpha_l1 == 0:
            return along_edges if alpha > 0 else None
        entries = EntryNorm(alpha_l1)
        return with_coupling(entries, along_edges) if alpha > 0 else entries


def _coupling(graph: Any, n_tasks: int, *, alpha: float, coupling: float) -> TaskCoupling:
    if isinstance(graph, str) and graph == "complete":
        return TaskCoupling.to_mean(n_tasks, alpha=alpha, coupling=1 + n_tasks * coupling)
    return TaskCoupling.to_neighbours(_laplacian(graph, n_tasks), alpha=alpha, coupling=coupling)


def _laplacian(graph: Any, n_tasks: int) -> Any:
    if isinstance(graph, str):
        if graph != "path":
            raise DataError(f"graph={graph!r} is not known.{nearest(graph, ['complete', 'path'])}")
        return graph_laplacian(np.eye(n_tasks, k=1) + np.eye(n_tasks, k=-1))
    laplacian = graph_laplacian(graph)
    if len(laplacian) != n_tasks:
        raise DataError(
            f"graph has shape {laplacian.shape} but there are {n_tasks} tasks; expected one row and column per task in "
            "the order of the sorted labels"
        )
    return laplacian


class GraphRegularized(TaskRegressor, _GraphRegularized):
    r"""Ridge regression of tasks that are held to their neighbours in a graph; ``coupling=0`` is independent ridge.

    Use it where it is known which tasks are near: regions that touch, months in a row. Parts of the graph without an
    edge between them are fitted as if the others were not there.

        minimise  sum_t c_t sum_i s_ti (y_ti - x_ti . a_t - b_t)^2 / 2
                  + alpha / 2 (sum_t ||a_t||^2 + coupling sum_{i<j} w_ij ||a_i - a_j||^2) + alpha_l1 ||A||_1

    Args:
        alpha: strength of the whole penalty, at least 0; default 0.1. 0 means least squares for each task.
        graph: weights w, (T, T), symmetric, at least 0, in the order of the sorted task labels; or ``"complete"``
            (default): weight 1 between all tasks, which is :class:`MeanRegularized` with ``1 + T coupling``; or
            ``"path"``: weight 1 between tasks that follow each other. See :func:`correlation_graph` and
            :func:`difference_graph` for ways to make one.
        coupling: strength of the differences along edges relative to the coefficients, at least 0; default 1.
        alpha_l1: strength of the sum of absolute coefficients, at least 0; default 0. A positive one makes
            coefficients exactly 0; the problem is then solved by iterations, to ``tol``.
        task_feature: position or name of the task column of X; None (default): all tasks share the rows of X.
        fit_intercept: an intercept for every task (default) or none; intercepts are not penalised.
        loss_weights: how much tasks count: ``"sample"`` (default), ``"task"`` or T positive numbers.
        tol: a duality gap up to this fraction of the risk at zero coefficients is good enough.
        max_iter: iterations at most, where the problem is not solved directly.
        warm_start: begin with the solution of the last ``fit``; matters to iterations only.
        unknown_task: an error (default) for tasks that ``fit`` did not see, or ``"mean"``: the mean of all tasks.

    Attributes:
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`MeanRegularized`.

    Raises:
        DataError: parameters out of range, a graph that is none, or data that do not fit.

    Source:
        Evgeniou, Micchelli & Pontil, Learning multiple tasks with kernel methods, JMLR 2005; SRMTL of the MALSAR
        toolbox (Zhou, Chen & Ye 2011).

    Example:
        >>> import numpy as np
        >>> X = np.array([[0, 1.0], [0, 2.0], [1, 1.0], [1, 2.0], [2, 1.0], [2, 2.0]])
        >>> y = np.array([0.0, 1.0, 0.0, 2.0, 0.0, 6.0])
        >>> GraphRegularized(0.1, graph="path", task_feature=0).fit(X, y).coef_.ravel()
        array([0.946, 1.758, 3.724])
    """


class GraphRegularizedClassifier(TaskClassifier, _GraphRegularized):
    """Logistic regression of tasks that are held to their neighbours in a graph; ``coupling=0`` leaves them alone.

    The twin of :class:`GraphRegularized` for two classes: the same penalty with the loss ``log(1 + exp(-y eta))``.

    Args:
        alpha: strength of the whole penalty, positive; default 0.1.
        graph, coupling, alpha_l1, task_feature, fit_intercept, loss_weights, tol, warm_start, unknown_task: as in
            :class:`GraphRegularized`.
        max_iter: Newton steps at most; with ``alpha_l1`` passes of the solver within them.
        single_class: as in :class:`MeanRegularizedClassifier`.

    Attributes:
        classes_, coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`MeanRegularizedClassifier`.

    Raises:
        DataError: parameters out of range, a graph that is none, or data that do not fit.
        TaskError: a task with a single class.

    Example:
        >>> import numpy as np
        >>> X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0, 0], [0, 1], [1, 1], [1, 1]])
        >>> GraphRegularizedClassifier(0.01, graph="path").fit(X, Y).predict([[1.0]])
        array([[0, 1]])
    """

    def __init__(
        self,
        alpha: float = 0.1,
        *,
        graph: Any = "complete",
        coupling: float = 1.0,
        alpha_l1: float = 0.0,
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
            alpha,
            graph=graph,
            coupling=coupling,
            alpha_l1=alpha_l1,
            task_feature=task_feature,
            fit_intercept=fit_intercept,
            loss_weights=loss_weights,
            tol=tol,
            max_iter=max_iter,
            warm_start=warm_start,
            unknown_task=unknown_task,
        )
        self.single_class = single_class
