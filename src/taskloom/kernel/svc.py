"""Support vector classification of several tasks with one kernel over rows and tasks."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin

from taskloom.errors import DataError
from taskloom.kernel._base_kernel import Kernel
from taskloom.kernel._dual_problems import DualProblem, Hinge
from taskloom.kernel._machine import Array, MultiTaskMachine
from taskloom.kernel._stacked import Stacked
from taskloom.task_column import labelled_accuracy

__all__ = ["MultiTaskSVC"]


class MultiTaskSVC(ClassifierMixin, MultiTaskMachine):  # type: ignore[misc]
    """Support vector classifier whose tasks share a part of their decision function.

    scikit-learn's ``SVC`` on the kernel ``B_st k(x, x')``; see :class:`MultiTaskKernel` for the kernels over tasks.
    With the mean kernel this is regularised multi-task learning: decision functions ``w_0 + v_t`` with a penalty on
    both; :func:`evgeniou_pontil` translates the constants of the paper.

        min over f  1/2 ||f||^2 + C sum_ti s_ti max(0, 1 - y_ti (f_t(x_ti) + b))

    Two classes, the same in every task; a task may have labels of one class only. There is one intercept for all tasks;
    ``offset=1.0`` adds task offsets that are coupled as the functions are.

    Args:
        C: weight of the losses, positive; default 1.
        kernel: name of a kernel of ``sklearn.metrics.pairwise`` or a function of two tables; default ``"rbf"``.
        task_kernel: ``"mean"`` (default), ``"graph"``, or numbers (T, T) in the order of ``tasks_``.
        mu: how free the tasks are, positive, for ``"mean"`` and ``"graph"`` only; default 1.
        graph: weights between tasks, (T, T), for ``"graph"``, and only for that.
        gamma: a number, ``"scale"`` (default: 1 / (d var(X))) or ``"auto"`` (1 / d).
        degree, coef0: constants of the polynomial and sigmoid kernel; others ignore them, as in scikit-learn.
        offset: constant added to the kernel, at least 0; default 0.
        tol: the largest duality gap that counts as solved, relative to the objective; default 1e-6. What libsvm finds
            (at its own 1e-3 the gap can be several percent) is made exact by a few linear systems.
        task_feature: position or name of the task column; None: all tasks share the rows, y is (n, T).
        unknown_task: at predict, ``"error"`` or ``"mean"``: the mean of the functions of all tasks.

    Attributes:
        tasks_, n_tasks_, classes_: labels of tasks and the two classes.
        task_covariance_: B, (T, T).
        dual_coef_, intercept_, n_support_: of the support vectors; rows of X that are among them: ``support_``.
        objective_, dual_gap_: value of the problem, and how far above the smallest it can be.

    Raises:
        DataError, TaskError: at fit, for data and ranges; one class only in all tasks together.

    Cost:
        the N x N Gram matrix in memory.

    Source:
        T. Evgeniou, M. Pontil, Regularized Multi-Task Learning, KDD 2004.

    Example:
        >>> import numpy as np
        >>> X = np.array([[0, -1.0], [0, 1.0], [1, -0.5], [1, 1.5]])
        >>> MultiTaskSVC(10.0, mu=0.5, task_feature=0).fit(X, ["no", "yes", "no", "yes"]).predict(X)
        array(['no', 'yes', 'no', 'yes'], dtype='<U3')
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the machine.

        Args:
            X: (n, d), or (n, d + 1) with the task column.
            y: (n,), or (n, T) without a task column; two labels.
            sample_weight: (n,) or (n, T), multiplies C.
        """
        rows = self._fit(X, y, sample_weight)
        assert rows.classes is not None
        self.classes_ = rows.classes
        return self

    def _dual_problem(self, gram: Array, samples: Stacked) -> DualProblem:
        if len(np.unique(samples.targets)) < 2:
            raise DataError(
                "all labels (of positive weight) are of one class; a classifier needs two classes in all tasks together"
            )
        return Hinge(gram, samples.targets, self.C * samples.weights)

    def decision_function(self, X: Any) -> Array:
        """Signed distance from the decision, positive for the second class.

        Args:
            X: rows as in ``fit``.

        Returns:
            (m,), or (m, T) after a y of that shape.
        """
        return self._decide(X)

    def predict(self, X: Any) -> NDArray[Any]:
        """Class of each row (and task).

        Args:
            X: rows as in ``fit``.
        """
        positive = (self._decide(X) > 0).astype(np.intp)
        labels: NDArray[Any] = self.classes_[positive]
        return labels

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of rows whose label is right; with one column of y per task, of rows that are right in all tasks.

        Args:
            X: rows as in ``fit``.
            y: labels, as in ``fit``, without missing ones.
            sample_weight: (m,).
        """
        return labelled_accuracy(y, self.predict(X), sample_weight=sample_weight)
