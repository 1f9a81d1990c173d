"""How alike the coefficients of tasks are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from taskloom.errors import DataError

__all__ = ["TaskRelationDisplay"]

Array = NDArray[np.float64]


class TaskRelationDisplay:
    """Heat map of the relations of tasks, those that belong together side by side.

    Made by :meth:`from_estimator`, as the ``Display`` classes of scikit-learn; :meth:`plot` draws again. Needs
    matplotlib.

    Args:
        relations: (T, T) from -1 to 1.
        tasks: names of the tasks.
        clusters: (T,) number of the cluster of each task; None: there are none.

    Attributes:
        order_: positions of the tasks in the order in which they were drawn.
        ax_, figure_, image_: where and what was drawn.

    Example:
        >>> TaskRelationDisplay(np.eye(2), ["a", "b"]).relations.shape
        (2, 2)
    """

    def __init__(self, relations: Array, tasks: Sequence[Any], *, clusters: NDArray[np.intp] | None = None) -> None:
        self.relations = relations
        self.tasks = tasks
        self.clusters = clusters

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Draw what a fitted estimator says about its tasks.

        The correlations that it has learned (``task_correlation_``) if it learns any, else the cosines of the
        coefficients of the tasks, 0 for a task without any. Clusters that it has found (``labels_``) stand together.

        Args:
            estimator: fitted, with ``coef_`` (T, d), or with ``task_correlation_`` alone, as
                :class:`taskloom.gp.ICMGaussianProcess`.
            ax: axes of matplotlib; None: new ones.

        Raises:
            NotFittedError: it is not fitted.
            DataError: it has one task, or neither coefficients nor correlations of tasks.

        Example:
            >>> import matplotlib
            >>> matplotlib.use("Agg")
            >>> from taskloom.linear import ClusteredTasks
            >>> X = np.random.default_rng(0).normal(size=(30, 4))
            >>> model = ClusteredTasks(2).fit(X, X[:, [0, 1, 0, 1]])
            >>> TaskRelationDisplay.from_estimator(model).order_
            array([0, 2, 1, 3])
        """
        check_is_fitted(estimator)
        relations = getattr(estimator, "task_correlation_", None)
        if relations is None:
            coef = getattr(estimator, "coef_", None)
            relations = None if coef is None or np.ndim(coef) != 2 else cosines(coef)
        if relations is None or len(relations) < 2:
            raise DataError(
                f"{type(estimator).__name__} has no coefficients of several tasks; expected coef_ of shape (T, d), or "
                "task_correlation_ of shape (T, T), with T of at least 2"
            )
        tasks = getattr(estimator, "tasks_", np.arange(len(relations)))
        return cls(np.asarray(relations), list(tasks), clusters=getattr(estimator, "labels_", None)).plot(ax=ax)

    def plot(self, ax: Any = None, *, cmap: str = "RdBu_r") -> Self:
        """Draw the heat map.

        Args:
            ax: axes of matplotlib; None: new ones.
            cmap: colours from -1 to 1.
        """
        from matplotlib import pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.order_ = self._order()
        self.image_ = ax.imshow(self.relations[np.ix_(self.order_, self.order_)], cmap=cmap, vmin=-1, vmax=1)
        ax.figure.colorbar(self.image_, ax=ax, label="correlation of the tasks")
        if self.clusters is not None:
            ends = np.flatnonzero(np.diff(np.asarray(self.clusters)[self.order_])) + 0.5
            for end in ends:
                ax.axhline(end, color="black", linewidth=0.8)
                ax.axvline(end, color="black", linewidth=0.8)
        if len(self.order_) <= _MOST_NAMED:
            names = [str(self.tasks[task]) for task in self.order_]
            ax.set_xticks(range(len(names)), names, rotation=90)
            ax.set_yticks(range(len(names)), names)
        else:
            ax.set(xlabel="task", ylabel="task", xticks=[], yticks=[])
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _order(self) -> NDArray[np.intp]:
        """By clusters, or so that neighbours are alike."""
        if self.clusters is not None:
            return np.argsort(np.asarray(self.clusters), kind="stable")
        if len(self.relations) < 3:
            return np.arange(len(self.relations))
        from scipy.cluster.hierarchy import leaves_list, linkage
        from scipy.spatial.distance import squareform

        apart = np.clip(1 - (self.relations + self.relations.T) / 2, 0, None)
        np.fill_diagonal(apart, 0.0)
        return np.asarray(leaves_list(linkage(squareform(apart, checks=False), "average", optimal_ordering=True)))


_MOST_NAMED = 40


def cosines(coef: Array) -> Array:
    """Cosines of the rows; 0 for rows of zeros, with themselves 1."""
    lengths = np.linalg.norm(coef, axis=1, keepdims=True)
    unit = coef / np.where(lengths > 0, lengths, 1.0)
    found: Array = np.clip(unit @ unit.T, -1, 1)
    np.fill_diagonal(found, 1.0)
    return found
