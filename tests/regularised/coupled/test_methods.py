"""Every way to solve the coupled system gives the solution of the dense one, and the leverages of brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csc_array

from taskloom.regularised.coupled.block_cholesky import BlockCholesky
from taskloom.regularised.coupled.centred import Centred
from taskloom.regularised.coupled.choice import choose, choose_direct
from taskloom.regularised.coupled.conjugate_gradient import ConjugateGradient
from taskloom.regularised.coupled.dual import Dual
from taskloom.regularised.coupled.low_rank import LowRank
from taskloom.regularised.coupled.shared_basis import SharedBasis
from taskloom.regularised.data import TaskData
from taskloom.regularised.penalties.coupling import TaskCoupling

DIRECT = (BlockCholesky, LowRank, Dual)


def leverages_by_differences(problem: Any, method: Any) -> tuple[np.ndarray, ...]:
    """Change of the fitted value of each sample with its own target, without the part of the intercept."""
    rows = Centred.of(problem.data)
    found = []
    for task, weights in enumerate(problem.data.weights):
        scaled = rows.scaled_rows(task)
        own = np.empty(len(weights))
        for sample in range(len(weights)):
            R = np.zeros((problem.data.n_features, problem.data.n_tasks))
            R[:, task] = scaled[sample]
            own[sample] = scaled[sample] @ method.solve(R)[:, task]
        found.append(own)
    return tuple(found)


@pytest.mark.parametrize("method", [*DIRECT, ConjugateGradient], ids=lambda one: one.__name__)
def test_ragged_problems(ragged: Any, method: Any) -> None:
    rows = Centred.of(ragged.data)
    A, b, _ = ragged.dense()
    found = method(rows, ragged.coupling).solve(rows.right_hand_sides)
    np.testing.assert_allclose(found, A, atol=1e-8)
    np.testing.assert_allclose(rows.intercepts(found), b, atol=1e-7)


@pytest.mark.parametrize("method", [SharedBasis, *DIRECT, ConjugateGradient], ids=lambda one: one.__name__)
def test_shared_problems(shared: Any, method: Any) -> None:
    rows = Centred.of(shared.data)
    A, _, _ = shared.dense()
    np.testing.assert_allclose(method(rows, shared.coupling).solve(rows.right_hand_sides), A, atol=1e-8)


@pytest.mark.parametrize("method", DIRECT, ids=lambda one: one.__name__)
def test_leverages(ragged: Any, method: Any) -> None:
    solver = method(Centred.of(ragged.data), ragged.coupling)
    for found, expected in zip(solver.leverages(), leverages_by_differences(ragged, solver), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("method", DIRECT, ids=lambda one: one.__name__)
def test_leverages_in_each_other(ragged: Any, method: Any) -> None:
    """Change of the fitted value of one sample with the target of another, for one sample of each task."""
    rows = Centred.of(ragged.data)
    solver = method(rows, ragged.coupling)
    sizes = [len(weights) for weights in ragged.data.weights]
    starts = np.cumsum([0, *sizes])
    samples = np.array([[0, 1, 0], [2, 3, 4]])[:, : len(sizes)] % sizes
    blocks = solver.blocks(starts[: len(sizes)] + samples)
    for group, block in zip(samples, blocks, strict=True):
        for t, second in enumerate(group):
            R = np.zeros((ragged.data.n_features, ragged.data.n_tasks))
            R[:, t] = rows.scaled_rows(t)[second]
            fitted = solver.solve(R)
            expected = [rows.scaled_rows(s)[first] @ fitted[:, s] for s, first in enumerate(group)]
            np.testing.assert_allclose(block[:, t], expected, atol=1e-10)


def test_leverages_of_the_shared_basis(shared: Any) -> None:
    solver = SharedBasis(Centred.of(shared.data), shared.coupling)
    for found, expected in zip(solver.leverages(), leverages_by_differences(shared, solver), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-10)


def test_a_strong_coupling_does_not_cancel() -> None:
    """A coupling of 1e12 to the mean: every task has the coefficients of the pooled rows."""
    rng = np.random.default_rng(5)
    designs = tuple(rng.normal(size=(8, 3)) for _ in range(5))
    targets, weights = tuple(rng.normal(size=8) for _ in designs), (np.full(8, 1 / 8),) * 5
    rows = Centred(TaskData(designs, targets, weights, fit_intercept=False), "none")
    found = LowRank(rows, TaskCoupling.to_mean(5, alpha=0.1, coupling=1e12)).solve(rows.right_hand_sides)
    X, y = np.concatenate(designs), np.concatenate(targets)
    pooled = np.linalg.solve(X.T @ X / 8 + 0.5 * np.eye(3), X.T @ y / 8)
    np.testing.assert_allclose(found, np.column_stack([pooled] * 5), rtol=1e-9)


def test_the_diagonal_preconditioner_serves_where_the_gram_matrix_is_too_large(
    ragged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskloom.regularised.coupled.conjugate_gradient.LARGEST_BASIS", 2)
    rows = Centred.of(ragged.data)
    method = ConjugateGradient(rows, ragged.coupling)
    assert method.basis is None
    np.testing.assert_allclose(method.solve(rows.right_hand_sides), ragged.dense()[0], atol=1e-7)


def rows_of(*, n_tasks: int, n_rows: int, n_features: int, is_shared: bool = False, density: float = 1.0) -> Centred:
    rng = np.random.default_rng(0)
    X: Any = rng.normal(size=(n_rows, n_features))
    if density < 1:
        X = csc_array(X * (rng.random(X.shape) < density))
    designs = (X,) * n_tasks if is_shared else tuple(X.copy() for _ in range(n_tasks))
    y, w = np.zeros(n_rows), np.ones(n_rows)
    return Centred.of(TaskData(designs, (y,) * n_tasks, (w,) * n_tasks))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"n_tasks": 4, "n_rows": 20, "n_features": 6, "is_shared": True}, SharedBasis),
        ({"n_tasks": 3, "n_rows": 50, "n_features": 6}, BlockCholesky),
        ({"n_tasks": 60, "n_rows": 30, "n_features": 10}, LowRank),
        ({"n_tasks": 5, "n_rows": 4, "n_features": 300}, Dual),
        ({"n_tasks": 30, "n_rows": 300, "n_features": 2000, "density": 0.001}, ConjugateGradient),
    ],
    ids=["shared", "few", "many tasks", "few rows", "large and sparse"],
)
def test_the_choice(sizes: dict[str, Any], expected: type) -> None:
    rows = rows_of(**sizes)
    coupling = TaskCoupling.to_mean(sizes["n_tasks"], alpha=0.1, coupling=3.0)
    assert isinstance(choose(rows, coupling, max_iterations=10), expected)


def test_singular_couplings_have_no_dual() -> None:
    rows = rows_of(n_tasks=5, n_rows=4, n_features=300)
    singular = TaskCoupling.of_matrix(np.eye(5) - 0.2)
    assert isinstance(choose_direct(rows, TaskCoupling.of_matrix(np.eye(5))), Dual)
    assert not isinstance(choose_direct(rows, singular), Dual)
