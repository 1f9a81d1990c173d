"""Tasks in groups, each group on a planted network of its own, so that who should share is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from taskloom._rng import numpy_stream
from taskloom.data.multitask import MultiTaskData
from taskloom.errors import DataError
from taskloom.task import Regression

__all__ = ["PlantedGroups", "planted_groups"]


@dataclass(frozen=True, eq=False)
class PlantedGroups:
    """A generated problem and its answer.

    Args:
        data: the data; tasks are called "a1", "a2", ..., "b1", ...: a letter for the group.
        groups: number of the group of every task, in the order of the tasks.
        noise: standard deviation of the noise; no predictor has a smaller error (RMSE) than this, and a constant has
            about ``sqrt(1 + noise^2)``.

    Example:
        >>> problem = planted_groups((3, 2), n_rows=50)
        >>> [task.name for task in problem.data.tasks], problem.groups
        (['a1', 'a2', 'a3', 'b1', 'b2'], (0, 0, 0, 1, 1))
    """

    data: MultiTaskData
    groups: tuple[int, ...]
    noise: float


def planted_groups(
    group_sizes: Sequence[int] = (3, 3),
    *,
    n_rows: int = 1000,
    n_features: int = 12,
    n_hidden: int = 6,
    gain: float = 2.0,
    correlation: float = 0.5,
    noise: float = 0.3,
    seed: int = 0,
) -> PlantedGroups:
    """Generate regression tasks of which each group shares a planted network of two layers.

    With x standard normal, and A_g (h, p) and B_g (h, h) the weights of group g::

        z_g = tanh(B_g tanh(A_g x)),   y_k = (w_k . z_g(k)) / spread + noise e,   e standard normal
        A_g ~ gain N(0, 1/p),   B_g ~ gain N(0, 1/h),   w_k = sqrt(correlation) u_g + sqrt(1 - correlation) a_k

    All tasks read the same rows. Tasks of one group need the same features of them, tasks of two groups different
    ones; the spread makes every signal's variance 1.

    Args:
        group_sizes: number of tasks of each group, at most 26 groups.
        n_rows: rows n.
        n_features: features p.
        n_hidden: units h of both planted layers.
        gain: size of the planted weights; larger ones make rougher functions.
        correlation: how alike the tasks of a group read its features, from 0 (at random) to 1 (equal tasks).
        noise: standard deviation of the noise; the signal has 1.
        seed: base seed.

    Returns:
        the data (multi-label) and the group of every task.

    Raises:
        DataError: a number out of its range.

    Example:
        >>> problem = planted_groups(n_rows=400, noise=0.0, correlation=1.0)
        >>> y = problem.data.targets
        >>> bool(np.allclose(y["a1"], y["a2"])), bool(np.allclose(y["a1"], y["b1"]))
        (True, False)
    """
    sizes = [int(size) for size in group_sizes]
    if not 1 <= len(sizes) <= 26 or min(sizes) < 1:
        raise DataError(f"group_sizes must name 1 to 26 groups of at least one task, found {group_sizes!r}")
    if n_rows < 2 or min(n_features, n_hidden) < 1:
        raise DataError(
            "n_rows must be at least 2 and n_features and n_hidden at least 1, found "
            f"n_rows={n_rows}, n_features={n_features}, n_hidden={n_hidden}"
        )
    if not 0.0 <= correlation <= 1.0 or not noise >= 0 or not gain > 0:
        raise DataError(
            "correlation must lie in [0, 1], noise be at least 0 and gain be positive, found "
            f"correlation={correlation}, noise={noise}, gain={gain}"
        )
    random = numpy_stream(seed, "planted_groups")
    x = random.standard_normal((n_rows, n_features))
    targets: dict[str, np.ndarray] = {}
    for letter, size in zip("abcdefghijklmnopqrstuvwxyz", sizes, strict=False):
        features = _planted_features(x, n_hidden, gain, random)  # (n, h)
        common, own = random.standard_normal((n_hidden, 1)), random.standard_normal((n_hidden, size))
        signals = features @ (np.sqrt(correlation) * common + np.sqrt(1.0 - correlation) * own)  # (n, size)
        signals = (signals - signals.mean(0)) / signals.std(0)
        answers = signals + noise * random.standard_normal(signals.shape)
        targets |= {f"{letter}{number + 1}": answers[:, number] for number in range(size)}
    data = MultiTaskData.from_arrays(x, targets, {name: Regression() for name in targets})
    return PlantedGroups(data, tuple(group for group, size in enumerate(sizes) for _ in range(size)), noise)


def _planted_features(x: np.ndarray, n_hidden: int, gain: float, random: np.random.Generator) -> np.ndarray:
    """Features (n, h) of one group."""
    first = gain * random.standard_normal((x.shape[1], n_hidden)) / np.sqrt(x.shape[1])
    second = gain * random.standard_normal((n_hidden, n_hidden)) / np.sqrt(n_hidden)
    features: np.ndarray = np.tanh(np.tanh(x @ first) @ second)
    return features
