"""Linear tasks whose weights are related to a degree that you choose, so that the right answer is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskloom._rng import numpy_stream
from taskloom.data._schema import Layout
from taskloom.data.multitask import MultiTaskData
from taskloom.errors import DataError
from taskloom.task import Regression

__all__ = ["RelatedRegression", "related_regression"]


@dataclass(frozen=True, eq=False)
class RelatedRegression:
    """A generated problem and its answer.

    Args:
        data: the data.
        coefficients: W (p, K): column k has the true weights of task k, of norm about 1.
        noise: standard deviation of the noise; no predictor has a smaller error (RMSE) than this.

    Example:
        >>> problem = related_regression(3, n_rows=50)
        >>> problem.coefficients.shape, problem.data.n_rows
        ((10, 3), 50)
    """

    data: MultiTaskData
    coefficients: np.ndarray
    noise: float


def related_regression(
    n_tasks: int = 4,
    *,
    n_rows: int = 200,
    n_features: int = 10,
    rank: int = 2,
    correlation: float = 0.8,
    noise: float = 0.5,
    labelled_share: float = 1.0,
    layout: Layout = "multi_label",
    seed: int = 0,
) -> RelatedRegression:
    """Generate K linear tasks with related weights.

    With u a common direction and B a basis of the subspace that all weights lie in::

        w_k = sqrt(correlation) u + sqrt(1 - correlation) B a_k,   y_k = x . w_k + noise e,   x and e standard normal

    u and B a_k have expected squared norm 1, so two tasks' weights have expected inner product ``correlation``: 1 makes
    all tasks one, 0 leaves them only the subspace in common (none if ``rank`` equals ``n_features``).

    Args:
        n_tasks: number of tasks K.
        n_rows: rows n; of each task in the multi-data-set layout.
        n_features: features p.
        rank: dimension of the common subspace, at most p.
        correlation: from 0 (unrelated) to 1 (equal).
        noise: standard deviation of the noise; the signal has about 1.
        labelled_share: share of rows of each task that are labelled, drawn for each task by itself.
        layout: ``"multi_label"`` (one X for all tasks) or ``"multi_data_set"`` (each task its own rows).
        seed: base seed.

    Returns:
        the data and the true weights; tasks are called "task 1", "task 2", ...

    Raises:
        DataError: a number out of its range.

    Example:
        >>> problem = related_regression(2, correlation=1.0)
        >>> bool(np.allclose(problem.coefficients[:, 0], problem.coefficients[:, 1]))
        True
    """
    if not 0.0 <= correlation <= 1.0 or not 0.0 < labelled_share <= 1.0:
        raise DataError(
            f"correlation must lie in [0, 1] and labelled_share in (0, 1], found {correlation} and {labelled_share}"
        )
    if not 1 <= rank <= n_features or min(n_tasks, n_rows) < 1 or noise < 0:
        raise DataError(
            f"rank must lie between 1 and n_features, and n_tasks and n_rows be positive, found rank={rank}, "
            f"n_features={n_features}, n_tasks={n_tasks}, n_rows={n_rows}, noise={noise}"
        )
    random = numpy_stream(seed, "related_regression")
    basis = np.linalg.qr(random.standard_normal((n_features, rank)))[0]  # (p, r), orthonormal
    common = basis @ random.standard_normal((rank, 1)) / np.sqrt(rank)  # (p, 1)
    own = basis @ random.standard_normal((rank, n_tasks)) / np.sqrt(rank)  # (p, K)
    coefficients = np.sqrt(correlation) * common + np.sqrt(1.0 - correlation) * own  # (p, K)
    names = [f"task {number + 1}" for number in range(n_tasks)]
    if layout == "multi_label":
        X = random.standard_normal((n_rows, n_features))
        y = X @ coefficients + noise * random.standard_normal((n_rows, n_tasks))
        hidden = random.random((n_rows, n_tasks)) >= labelled_share
        y[hidden] = np.nan
        kinds = {name: Regression() for name in names}
        data = MultiTaskData.from_arrays(X, dict(zip(names, y.T, strict=True)), kinds)
        return RelatedRegression(data, coefficients, noise)
    parts = {}
    for place, name in enumerate(names):
        X = random.standard_normal((n_rows, n_features))
        y = X @ coefficients[:, place] + noise * random.standard_normal(n_rows)
        y[random.random(n_rows) >= labelled_share] = np.nan
        parts[name] = (X, y)
    return RelatedRegression(MultiTaskData.from_tasks(parts), coefficients, noise)
