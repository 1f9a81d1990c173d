"""Support vector regression of several tasks with one kernel over rows and tasks."""

from __future__ import annotations

from typing import Any, Self

from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin

from taskloom.kernel._base_kernel import Kernel
from taskloom.kernel._dual_problems import DualProblem, Tube
from taskloom.kernel._machine import Array, MultiTaskMachine
from taskloom.kernel._stacked import Stacked
from taskloom.task_column import check_number, labelled_r2

__all__ = ["MultiTaskSVR"]


class MultiTaskSVR(RegressorMixin, MultiTaskMachine):  # type: ignore[misc]
    """Support vector regression whose tasks share a part of their function.

    scikit-learn's ``SVR`` on the kernel ``B_st k(x, x')``; see :class:`MultiTaskKernel` for the kernels over tasks and
    :func:`evgeniou_pontil` for the constants of regularised multi-task learning.

        min over f  1/2 ||f||^2 + C sum_ti s_ti max(0, |y_ti - f_t(x_ti) - b| - epsilon)

    There is one intercept for all tasks; ``offset=1.0`` adds task offsets that are coupled as the functions are.

    Args:
        C: weight of the losses, positive; default 1.
        epsilon: width of the tube without loss, at least 0; default 0.1.
        kernel, task_kernel, mu, graph, gamma, degree, coef0, offset, tol: see :class:`MultiTaskSVC`.
        task_feature: position or name of the task column; None: all tasks share the rows, y is (n, T) and may have
            missing labels (NaN).
        unknown_task: at predict, ``"error"`` or ``"mean"``: the mean of the functions of all tasks.

    Attributes:
        tasks_, n_tasks_: labels of the tasks.
        task_covariance_: B, (T, T).
        dual_coef_, intercept_, n_support_: of the support vectors; rows of X that are among them: ``support_``.
        objective_, dual_gap_: value of the problem, and how far above the smallest it can be.

    Raises:
        DataError, TaskError: at fit, for data and ranges.

    Cost:
        the N x N Gram matrix in memory.

    Source:
        T. Evgeniou, M. Pontil, Regularized Multi-Task Learning, KDD 2004; T. Evgeniou, C. Micchelli, M. Pontil,
        Learning Multiple Tasks with Kernel Methods, JMLR 6, 2005.

    Example:
        >>> import numpy as np
        >>> X = np.array([[0, 0.0], [0, 1.0], [1, 0.0], [1, 1.0]])
        >>> model = MultiTaskSVR(100.0, epsilon=0.01, kernel="linear", mu=0.5, task_feature=0).fit(X, [0, 1, 0, 1.1])
        >>> bool(model.predict([[1, 2.0]])[0] > model.predict([[0, 2.0]])[0])
        True
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        epsilon: float = 0.1,
        kernel: Kernel = "rbf",
        task_kernel: Any = "mean",
        mu: float = 1.0,
        graph: ArrayLike | None = None,
        gamma: float | str = "scale",
        degree: float = 3,
        coef0: float = 1.0,
        offset: float = 0.0,
        tol: float = 1e-6,
        task_feature: int | str | None = None,
        unknown_task: str = "error",
    ) -> None:
        self.C = C
        self.epsilon = epsilon
        self.kernel = kernel
        self.task_kernel = task_kernel
        self.mu = mu
        self.graph = graph
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.offset = offset
        self.tol = tol
        self.task_feature = task_feature
        self.unknown_task = unknown_task

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the machine.

        Args:
            X: (n, d), or (n, d + 1) with the task column.
            y: (n,), or (n, T) without a task column.
            sample_weight: (n,) or (n, T), multiplies C.
        """
        check_number("epsilon", self.epsilon)
        self._fit(X, y, sample_weight)
        return self

    def _dual_problem(self, gram: Array, samples: Stacked) -> DualProblem:
        return Tube(gram, samples.targets, self.C * samples.weights, self.epsilon)

    def predict(self, X: Any) -> Array:
        """Values of each row (and task).

        Args:
            X: rows as in ``fit``.

        Returns:
            (m,), or (m, T) after a y of that shape.
        """
        return self._decide(X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R^2 over all rows, or its mean over the tasks; missing labels are left out.

        Args:
            X: rows as in ``fit``.
            y: labels, as in ``fit``.
            sample_weight: (m,).
        """
        return labelled_r2(y, self.predict(X), sample_weight=sample_weight)
