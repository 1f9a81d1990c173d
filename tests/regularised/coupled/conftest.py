"""Small coupled problems and their solutions by one dense system, written without the code that is tested."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.sparse import csc_array

from taskloom.regularised.data import TaskData
from taskloom.regularised.penalties.coupling import TaskCoupling


@dataclass(frozen=True)
class Coupled:
    data: TaskData
    coupling: TaskCoupling

    def dense(self, *, shared_intercept: bool = False) -> tuple[np.ndarray, np.ndarray, float]:
        """Coefficients (d, T), intercepts (T,) and the minimum, from the normal equations of everything at once."""
        data, Q = self.data, self.coupling.precision
        T, d = data.n_tasks, data.n_features
        n_free = 1 if shared_intercept else T * data.fit_intercept
        system, right = np.zeros((T * d + n_free,) * 2), np.zeros(T * d + n_free)
        system[: T * d, : T * d] = np.kron(Q, np.eye(d))
        for t in range(T):
            X = data.designs[t].toarray() if hasattr(data.designs[t], "toarray") else data.designs[t]
            columns = np.zeros((len(X), T * d + n_free))
            columns[:, t * d : (t + 1) * d] = X
            if n_free:
                columns[:, T * d + (0 if shared_intercept else t)] = 1
            system += columns.T @ (data.weights[t][:, None] * columns)
            right += columns.T @ (data.weights[t] * data.targets[t])
        found = np.linalg.solve(system, right)
        A, b = found[: T * d].reshape(T, d).T, np.resize(found[T * d :] if n_free else [0.0], T)
        return A, b, self.objective(A, b)

    def objective(self, A: np.ndarray, b: np.ndarray) -> float:
        data = self.data
        losses = [
            w @ (y - X @ A[:, t] - b[t]) ** 2 / 2
            for t, (X, y, w) in enumerate(zip(data.designs, data.targets, data.weights, strict=True))
        ]
        return float(sum(losses) + np.trace(A @ self.coupling.precision @ A.T) / 2)


def make_coupled(
    *,
    n_rows: tuple[int, ...] = (9, 4, 7),
    n_features: int = 5,
    fit_intercept: bool = True,
    is_sparse: bool = False,
    is_shared: bool = False,
    precision: np.ndarray | None = None,
    seed: int = 0,
) -> Coupled:
    rng = np.random.default_rng([seed, *n_rows, n_features])
    designs = [rng.normal(size=(n, n_features)) + 2 for n in n_rows]
    if is_sparse:
        designs = [csc_array(X * (rng.random(X.shape) < 0.5)) for X in designs]
    weights = [rng.uniform(0.1, 0.4, size=n) for n in n_rows]
    if is_shared:
        designs, weights = [designs[0]] * len(n_rows), [weights[0]] * len(n_rows)
    targets = [rng.normal(size=X.shape[0]) + 3 for X in designs]
    data = TaskData(tuple(designs), tuple(targets), tuple(weights), fit_intercept)
    T = len(n_rows)
    return Coupled(data, TaskCoupling.of_matrix(0.1 * np.eye(T) + 0.3 if precision is None else precision))


@pytest.fixture(params=["tall", "wide", "no intercept", "sparse", "one row", "full rank precision"])
def ragged(request: pytest.FixtureRequest) -> Coupled:
    """Problems with own rows for every task."""
    return {
        "tall": make_coupled,
        "wide": lambda: make_coupled(n_features=12),
        "no intercept": lambda: make_coupled(fit_intercept=False),
        "sparse": lambda: make_coupled(is_sparse=True),
        "one row": lambda: make_coupled(n_rows=(9, 1, 7)),
        "full rank precision": lambda: make_coupled(precision=np.diag([0.1, 0.5, 2.0]) + 0.05),
    }[request.param]()


@pytest.fixture(params=["tall", "wide", "no intercept", "sparse"])
def shared(request: pytest.FixtureRequest) -> Coupled:
    """Problems with one design for all tasks."""
    common = {"n_rows": (9, 9, 9, 9), "is_shared": True}
    return {
        "tall": lambda: make_coupled(**common),
        "wide": lambda: make_coupled(**common, n_features=15),
        "no intercept": lambda: make_coupled(**common, fit_intercept=False),
        "sparse": lambda: make_coupled(**common, is_sparse=True),
    }[request.param]()
