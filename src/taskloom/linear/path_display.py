"""How coefficients come in as a penalty gets weaker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from taskloom.errors import DataError
from taskloom.linear._strength import largest_strength

__all__ = ["RegularisationPathDisplay"]

Array = NDArray[np.float64]


class RegularisationPathDisplay:
    """Lengths of the coefficients of every feature, over all tasks, against the strength of the penalty.

    Made by :meth:`from_estimator`, as the ``Display`` classes of scikit-learn; :meth:`plot` draws again. Needs
    matplotlib.

    Args:
        alphas: (A,) strengths.
        sizes: (A, d) Euclidean length of the coefficients of each feature.
        names: names of the features; None: their numbers.
        alpha: the strength of the estimator, marked by a line; None: not marked.

    Attributes:
        ax_, figure_: where it was drawn.
        lines_: one line per feature.

    Example:
        >>> RegularisationPathDisplay(np.array([1.0, 0.1]), np.array([[0.0], [2.0]])).sizes.shape
        (2, 1)
    """

    def __init__(
        self, alphas: Array, sizes: Array, *, names: Sequence[str] | None = None, alpha: float | None = None
    ) -> None:
        self.alphas = alphas
        self.sizes = sizes
        self.names = names
        self.alpha = alpha

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, y: Any, alphas: Any = None, parameter: str = "alpha", ax: Any = None
    ) -> Self:
        """Fit an estimator for a path of strengths and draw its coefficients.

        Args:
            estimator: a linear estimator of several tasks, not necessarily fitted; it is not changed.
            X: as in ``fit``.
            y: as in ``fit``.
            alphas: strengths, positive; None: 30 from the largest that is of use to a thousandth of it.
            parameter: which parameter of the estimator is the strength; default ``"alpha"``.
            ax: axes of matplotlib; None: new ones.

        Raises:
            DataError: a pipeline, no such parameter, no ``alphas`` for a penalty that makes no coefficients 0,
                strengths that are not positive.

        Example:
            >>> import matplotlib
            >>> matplotlib.use("Agg")
            >>> from taskloom.linear import TraceNorm
            >>> X = np.random.default_rng(0).normal(size=(30, 4))
            >>> display = RegularisationPathDisplay.from_estimator(TraceNorm(), X, y=X[:, :2])
            >>> len(display.lines_)
            4
        """
        if isinstance(estimator, Pipeline) or parameter not in estimator.get_params():
            raise DataError(
                f"{type(estimator).__name__} has no parameter {parameter!r}; expected a linear estimator of several "
                "tasks (of a pipeline the last step, with X as that step gets it), and the name of its strength as "
                "parameter="
            )
        alpha = float(estimator.get_params()[parameter])
        model = clone(estimator)
        strengths = _strengths(model, X, y=y, alphas=alphas, parameter=parameter)
        if "warm_start" in model.get_params():
            model.set_params(warm_start=True)
        sizes = [np.linalg.norm(model.set_params(**{parameter: one}).fit(X, y).coef_, axis=0) for one in strengths]
        names = getattr(model, "feature_names_in_", None)
        if names is not None and model.task_feature is not None:
            column = model.task_feature
            names = np.delete(names, list(names).index(column) if isinstance(column, str) else column)
        display = cls(strengths, np.array(sizes), names=None if names is None else [str(one) for one in names])
        display.alpha = alpha
        return display.plot(ax=ax)

    def plot(self, ax: Any = None, *, largest: int = 10) -> Self:
        """Draw the lines.

        Args:
            ax: axes of matplotlib; None: new ones.
            largest: number of features that the legend names, those with the longest coefficients; default 10.
        """
        from matplotlib import pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        named = set(np.argsort(-self.sizes.max(axis=0))[:largest].tolist())
        self.lines_ = []
        for feature, sizes in enumerate(self.sizes.T):
            name = self.names[feature] if self.names is not None else f"feature {feature}"
            style = {"label": name} if feature in named else {"color": "0.8", "zorder": 0}
            self.lines_ += ax.plot(self.alphas, sizes, **style)
        if self.alpha is not None and self.alphas.min() <= self.alpha <= self.alphas.max():
            ax.axvline(self.alpha, color="0.5", linestyle=":")
        ax.set(xscale="log", xlabel="strength", ylabel="length of a feature's coefficients over all tasks")
        ax.invert_xaxis()
        ax.legend(fontsize="small")
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _strengths(model: Any, X: Any, *, y: Any, alphas: Any, parameter: str) -> Array:
    """Decreasing strengths."""
    if alphas is not None:
        given = np.sort(np.ravel(np.asarray(alphas, dtype=np.float64)))[::-1]
        if not len(given) or not np.isfinite(given).all() or given[-1] <= 0:
            raise DataError(f"alphas={alphas!r}; expected positive numbers")
        return given
    strength = model.get_params()[parameter]
    largest = strength * largest_strength(model, X, y=y)
    if not 0 < largest < np.inf:
        raise DataError(
            f"{type(model).__name__} with {parameter}={strength!r} has no strength that makes all coefficients 0; give "
            "the strengths as alphas="
        )
    return np.asarray(largest * np.geomspace(1.0, 1e-3, 30))
