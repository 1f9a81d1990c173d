"""What the classifier of tasks looks at: samples together with their labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from taskloom.errors import DataError

__all__ = ["joint_features"]

Array = NDArray[np.float64]


def joint_features(features: Any, *, X: Array, y: Array, weights: Array, of_classes: bool) -> Array:
    """phi(x, y) of every sample, (N, p), standardised.

    Args:
        features: ``"joint"``: [x, y]; ``"interaction"``: [x, y, x y], or for classes one block [1, x] per class; or a
            transformer of scikit-learn, given the standardised [x, y].
        X: (N, d).
        y: (N,); -1 and +1 for classes.
        weights: (N,) how often a sample counts.
        of_classes: whether y holds classes.
    """
    joint = np.column_stack([X, y])
    if isinstance(features, str):
        if features == "joint":
            return _standardised(joint, weights)
        if features == "interaction":
            return _standardised(_blocks(X, y) if of_classes else np.column_stack([joint, X * y[:, None]]), weights)
        raise DataError(f'features={features!r}; expected "joint", "interaction" or a transformer of scikit-learn')
    if not (hasattr(features, "fit") and hasattr(features, "transform")):
        raise DataError(f'features={features!r}; expected "joint", "interaction" or a transformer of scikit-learn')
    transformer = clone(features).fit(_standardised(joint, weights))
    return np.asarray(transformer.transform(_standardised(joint, weights)), dtype=np.float64)


def _blocks(X: Array, y: Array) -> Array:
    """[1{y=c}, x 1{y=c}] for both classes."""
    with_ones = np.column_stack([np.ones(len(X)), X])
    return np.column_stack([with_ones * (y > 0)[:, None], with_ones * (y <= 0)[:, None]])


def _standardised(table: Array, weights: Array) -> Array:
    scaled: Array = StandardScaler().fit_transform(table, sample_weight=weights)
    return scaled
