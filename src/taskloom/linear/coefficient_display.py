"""Which task uses which feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from taskloom.errors import DataError

__all__ = ["CoefficientDisplay"]

Array = NDArray[np.float64]
Part = Literal["sum", "shared", "specific"]


class CoefficientDisplay:
    """Map of the coefficients of all tasks: colour by sign and size, grey where they are exactly 0.

    Made by :meth:`from_estimator`, as the ``Display`` classes of scikit-learn; :meth:`plot` draws again. Needs
    matplotlib.

    Args:
        coef: (T, d).
        tasks: names of the tasks.
        names: names of the features; None: their numbers.

    Attributes:
        ax_, figure_, image_: where and what was drawn.

    Example:
        >>> CoefficientDisplay(np.eye(2), ["a", "b"]).share_
        0.5
    """

    def __init__(self, coef: Array, tasks: Sequence[Any], *, names: Sequence[str] | None = None) -> None:
        self.coef = coef
        self.tasks = tasks
        self.names = names

    @property
    def share_(self) -> float:
        """Fraction of the coefficients that are not 0."""
        return float(np.count_nonzero(self.coef) / self.coef.size)

    @classmethod
    def from_estimator(cls, estimator: Any, *, part: Part = "sum", ax: Any = None) -> Self:
        """Draw the coefficients of a fitted estimator.

        Args:
            estimator: fitted, with ``coef_`` (T, d).
            part: ``"sum"`` (default): ``coef_``; of estimators with two parts also ``"shared"`` and ``"specific"``.
            ax: axes of matplotlib; None: new ones.

        Raises:
            NotFittedError: it is not fitted.
            DataError: it has no such coefficients.

        Example:
            >>> import matplotlib
            >>> matplotlib.use("Agg")
            >>> from taskloom.linear import MultiTaskLasso1
            >>> X = np.random.default_rng(0).normal(size=(30, 4))
            >>> model = MultiTaskLasso1(0.5).fit(X, X[:, :2])
            >>> CoefficientDisplay.from_estimator(model).share_
            0.25
        """
        check_is_fitted(estimator)
        attribute = "coef_" if part == "sum" else f"coef_{part}_"
        coef = getattr(estimator, attribute, None)
        if coef is None or np.ndim(coef) != 2:
            raise DataError(
                f"part={part!r}: {type(estimator).__name__} has no {attribute} of shape (T, d); expected a fitted "
                'linear estimator of several tasks, and part="sum" unless it has two parts'
            )
        names = getattr(estimator, "feature_names_in_", None)
        column = getattr(estimator, "task_feature", None)
        if names is not None and column is not None:
            names = np.delete(names, list(names).index(column) if isinstance(column, str) else column)
        tasks = list(getattr(estimator, "tasks_", np.arange(len(coef))))
        return cls(np.asarray(coef), tasks, names=None if names is None else [str(one) for one in names]).plot(ax=ax)

    def plot(self, ax: Any = None, *, cmap: str = "RdBu_r") -> Self:
        """Draw the map.

        Args:
            ax: axes of matplotlib; None: new ones.
            cmap: colours from the most negative to the most positive coefficient, 0 in the middle.
        """
        from matplotlib import colormaps
        from matplotlib import pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        largest = float(np.abs(self.coef).max()) or 1.0
        colours = colormaps[cmap].with_extremes(bad="0.85")
        shown = np.ma.masked_equal(self.coef, 0.0)
        self.image_ = ax.imshow(
            shown, cmap=colours, vmin=-largest, vmax=largest, aspect="auto", interpolation="nearest"
        )
        ax.figure.colorbar(self.image_, ax=ax, label="coefficient")
        ax.set(xlabel="feature", ylabel="task", title=f"{100 * self.share_:.0f} % of the coefficients are not 0")
        if self.names is not None and len(self.names) <= _MOST_NAMED:
            ax.set_xticks(range(len(self.names)), self.names, rotation=90)
        if len(self.tasks) <= _MOST_NAMED:
            ax.set_yticks(range(len(self.tasks)), [str(task) for task in self.tasks])
        self.ax_, self.figure_ = ax, ax.figure
        return self


_MOST_NAMED = 40
