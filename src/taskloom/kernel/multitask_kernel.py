"""A kernel on tables with a task column, for scikit-learn's own machines."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.gaussian_process.kernels import Kernel as GaussianProcessKernel

from taskloom.errors import DataError, TaskError
from taskloom.kernel._base_kernel import BaseKernel, Kernel, scaled_gamma
from taskloom.kernel._task_kernel import task_kernel_matrix
from taskloom.task_column import refuse_several_tables, refuse_unused

__all__ = ["MultiTaskKernel"]

Array = NDArray[np.float64]


class MultiTaskKernel(GaussianProcessKernel):  # type: ignore[misc]
    """Kernel between rows that belong to tasks: a kernel over tasks times one over the other columns.

    One column of X holds the task of each row, so that ``SVC(kernel=MultiTaskKernel())``, ``SVR``, ``OneClassSVM`` and
    ``KernelRidge`` become multi-task machines, alone, in pipelines and in searches (``kernel__mu``). It has no state:
    nothing is fitted, and rows of a new task are legal with ``task_kernel="mean"``.

        K((x, s), (x', t)) = B_st (k(x, x') + offset)
        "mean":  B = I + 11' / mu        "graph":  B = (I + L / mu)^-1, L the Laplacian of the graph

    Large mu makes the tasks independent; small mu (with C scaled by mu) makes one function of all. On a complete graph
    with weights 1 both kernels agree up to a factor.

    Args:
        base: name of a kernel of ``sklearn.metrics.pairwise``, or a function of two tables, such as a kernel of
            ``sklearn.gaussian_process.kernels``; default ``"rbf"``.
        task_kernel: ``"mean"`` (default), ``"graph"``, or B itself, (T, T), positive semi-definite.
        mu: how free the tasks are, positive, for ``"mean"`` and ``"graph"`` only; default 1.
        graph: weights between tasks, (T, T), not negative, for ``"graph"``, and only for that.
        tasks: which labels the rows of B or of the graph belong to, (T,); default 0, 1, ..., T - 1. Not for ``"mean"``,
            which takes every label.
        gamma, degree, coef0: constants of the base kernel, as in scikit-learn; gamma None is 1 / (number of columns).
            Kernels without them ignore them, as in scikit-learn.
        offset: constant added to the base kernel, at least 0; 1.0 gives tasks offsets of their own, coupled as the
            functions are (machines of libsvm have one intercept for all).
        task_feature: position of the task column; default 0, where ``stack_tasks`` puts it.

    Raises:
        DataError, TaskError: at the call, for ranges, shapes and labels.

    Source:
        T. Evgeniou, C. Micchelli, M. Pontil, Learning Multiple Tasks with Kernel Methods, JMLR 6, 2005; T. Evgeniou,
        M. Pontil, Regularized Multi-Task Learning, KDD 2004.

    Example:
        >>> import numpy as np
        >>> from sklearn.svm import SVR
        >>> X = np.array([[0, 0.1], [0, 0.9], [1, 0.2], [1, 0.8]])
        >>> MultiTaskKernel("linear", mu=1.0)(X[:1], X[[0, 2]])
        array([[0.02, 0.02]])
        >>> SVR(kernel=MultiTaskKernel(mu=0.5), C=10.0).fit(X, [0.0, 1.0, 0.1, 0.9]).predict(X).shape
        (4,)
    """

    def __init__(
        self,
        base: Kernel = "rbf",
        *,
        task_kernel: Any = "mean",
        mu: float = 1.0,
        graph: ArrayLike | None = None,
        tasks: ArrayLike | None = None,
        gamma: float | None = None,
        degree: float = 3,
        coef0: float = 1.0,
        offset: float = 0.0,
        task_feature: int = 0,
    ) -> None:
        self.base = base
        self.task_kernel = task_kernel
        self.mu = mu
        self.graph = graph
        self.tasks = tasks
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.offset = offset
        self.task_feature = task_feature

    def __call__(self, X: Any, Y: Any = None, eval_gradient: bool = False) -> Any:
        """Values between the rows of two tables.

        Args:
            X: (n, d + 1) numbers.
            Y: (m, d + 1); default X.
            eval_gradient: also return an empty (n, n, 0) array: nothing here is fitted by scikit-learn's
                ``GaussianProcessRegressor``.

        Returns:
            (n, m) float64.
        """
        rows, s = self._split(X)
        others, t = (rows, s) if Y is None else self._split(Y)
        gamma = scaled_gamma(self.gamma, rows, np.ones(len(rows)))
        values = BaseKernel(self.base, gamma, self.degree, self.coef0, self.offset)(rows, others)
        values *= self._between(s, t)
        return (values, np.empty((*values.shape, 0))) if eval_gradient else values

    def diag(self, X: Any) -> Array:
        """Value of each row with itself, (n,).

        Args:
            X: (n, d + 1).
        """
        table = np.asarray(X, dtype=np.float64)
        return np.array([self(row[None])[0, 0] for row in table])

    def is_stationary(self) -> bool:
        """False: rows of one task are not alike those of another."""
        return False

    def _split(self, X: Any) -> tuple[Array, Array]:
        """Columns beside the task column, and the labels."""
        table = _as_numbers(X)
        if (
            not isinstance(self.task_feature, int | np.integer)
            or not -table.shape[1] <= self.task_feature < table.shape[1]
        ):
            raise DataError(
                f"task_feature={self.task_feature!r}; expected a position among the {table.shape[1]} columns of X "
                "(machines of scikit-learn pass tables without names on)"
            )
        labels = table[:, self.task_feature]
        if not np.isfinite(labels).all():
            row = int(np.argmin(np.isfinite(labels)))
            raise TaskError(f"the task column holds {labels[row]} in row {row}; every row belongs to a task")
        if (labels != np.floor(labels)).any():
            raise TaskError("task column contains non-integer values; was X scaled? use TaskStandardScaler")
        return np.delete(table, self.task_feature, axis=1), labels

    def _between(self, s: Array, t: Array) -> Array:
        """Kernel over tasks for every pair of rows, (n, m)."""
        n_tasks = None if self.tasks is None else len(np.asarray(self.tasks))
        matrix = task_kernel_matrix(self, n_tasks=n_tasks)
        if isinstance(self.task_kernel, str) and self.task_kernel == "mean":
            refuse_unused(self, "tasks", beside='task_kernel="mean"', instead="set another task_kernel")
            same: Array = (s[:, None] == t) + 1 / self.mu
            return same
        assert matrix is not None
        named = np.arange(len(matrix)) if self.tasks is None else self.tasks
        labels: Array = np.asarray(named, dtype=np.float64)
        return matrix[np.ix_(_positions(s, labels), _positions(t, labels))]


def _as_numbers(X: Any) -> Array:
    refuse_several_tables(X)
    if issparse(X):
        raise DataError("X is sparse; expected X.toarray(), or MultiTaskSVC and MultiTaskSVR, which take sparse tables")
    try:
        table = np.asarray(X, dtype=np.float64)
    except ValueError as error:
        raise DataError(
            f"X does not hold numbers ({error}); number the tasks, or use MultiTaskSVC or MultiTaskSVR, which read text"
        ) from error
    if table.ndim != 2:
        raise DataError(f"X has {table.ndim} axes; expected (rows, columns)")
    return table


def _positions(labels: Array, known: Array) -> NDArray[np.intp]:
    order = np.argsort(known)
    places = order[np.minimum(np.searchsorted(known, labels, sorter=order), len(known) - 1)]
    unknown = known[places] != labels
    if unknown.any():
        raise TaskError(
            f"the task column holds {labels[unknown][0]:g}, which is none of the {len(known)} tasks of the task "
            "kernel; give their labels by tasks="
        )
    return places
