from __future__ import annotations

import numpy as np
import pytest

from taskloom.regularised.data import TaskData
from taskloom.regularised.minimum_norm import minimum_norm


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("n_features", [3, 12], ids=["tall", "wide"])
def test_it_is_the_pseudo_inverse(n_features: int, fit_intercept: bool) -> None:
    rng = np.random.default_rng(0)
    X, y, w = rng.normal(size=(8, n_features)), rng.normal(size=8), rng.uniform(0.5, 2, size=8)
    data = TaskData((X, X[:5]), (y, y[:5]), (w, w[:5]), fit_intercept)
    found = minimum_norm(data)
    for task, n in enumerate((8, 5)):
        root = np.sqrt(w[:n])[:, None]
        Xc = X[:n] - fit_intercept * np.average(X[:n], axis=0, weights=w[:n])
        yc = y[:n] - fit_intercept * np.average(y[:n], weights=w[:n])
        np.testing.assert_allclose(found.coefficients[:, task], np.linalg.pinv(root * Xc) @ (root[:, 0] * yc))
    assert found.gap <= 1e-14


def test_a_task_without_samples_is_zero() -> None:
    X, y, w = np.ones((2, 1)), np.array([1.0, 2.0]), np.ones(2)
    data = TaskData((X, X[:0]), (y, y[:0]), (w, w[:0]), fit_intercept=False)
    np.testing.assert_allclose(minimum_norm(data).coefficients, [[1.5, 0.0]])
