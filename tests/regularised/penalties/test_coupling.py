from __future__ import annotations

import numpy as np
import pytest

from taskloom.regularised.penalties.coupling import TaskCoupling

RNG = np.random.default_rng(1)
T = 6
MEAN = np.full((T, T), 1 / T)


def random_precision(*levels: float) -> np.ndarray:
    vectors = np.linalg.qr(RNG.normal(size=(len(levels), len(levels))))[0]
    return (vectors * levels) @ vectors.T


PRECISIONS = {
    "all different": random_precision(0.5, 1.0, 2.0, 3.0, 5.0, 8.0),
    "one group of equals": random_precision(0.5, 1.0, 4.0, 4.0, 4.0, 8.0),
    "identity": np.eye(T),
    "path": 0.1 * (np.eye(T) + 2 * np.diff(np.eye(T), axis=0).T @ np.diff(np.eye(T), axis=0)),
    "steep": random_precision(1e-4, 1.0, 1.0, 1.0, 1.0, 1e4),
}


@pytest.mark.parametrize("name", PRECISIONS)
def test_the_kept_form_is_the_matrix(name: str) -> None:
    Q = PRECISIONS[name]
    coupling = TaskCoupling.of_matrix(Q)
    A = RNG.normal(size=(3, T))
    scale = np.abs(Q).max()
    np.testing.assert_allclose(coupling.precision, Q, atol=1e-12 * scale)
    np.testing.assert_allclose(coupling.times(A), A @ Q, atol=1e-12 * scale)
    np.testing.assert_allclose(coupling.value(A), np.trace(A @ Q @ A.T) / 2)
    inverse = np.linalg.inv(Q)
    np.testing.assert_allclose(coupling.inverse_times(A), A @ inverse, rtol=1e-6, atol=1e-9 * np.abs(inverse).max())
    np.testing.assert_allclose(coupling.conjugate(A), np.trace(A @ inverse @ A.T) / 2, rtol=1e-8)
    np.testing.assert_allclose(coupling.vectors.T @ coupling.vectors, np.eye(len(coupling.values)), atol=1e-12)


def test_equal_eigenvalues_need_no_vectors() -> None:
    assert TaskCoupling.of_matrix(PRECISIONS["one group of equals"]).vectors.shape == (T, 3)
    assert TaskCoupling.of_matrix(np.eye(T)).vectors.shape == (T, 0)


@pytest.mark.parametrize("name", PRECISIONS)
def test_prox_is_stationary(name: str) -> None:
    coupling, V = TaskCoupling.of_matrix(PRECISIONS[name]), RNG.normal(size=(3, T))
    found = coupling.prox(V, 0.7)
    np.testing.assert_allclose(found + 0.7 * coupling.times(found), V, atol=1e-9)


@pytest.mark.parametrize("name", PRECISIONS)
def test_fenchel_young(name: str) -> None:
    coupling = TaskCoupling.of_matrix(PRECISIONS[name])
    A, G = RNG.normal(size=(2, 3, T))
    assert coupling.value(A) + coupling.conjugate(G) >= np.vdot(A, G) - 1e-9
    at_gradient = coupling.conjugate(coupling.times(A))
    np.testing.assert_allclose(coupling.value(A) + at_gradient, np.vdot(A, coupling.times(A)), rtol=1e-8)


@pytest.mark.parametrize("g", [0.2, 1.0, 5.0, 1e4])
def test_the_mean(g: float) -> None:
    coupling = TaskCoupling.to_mean(T, alpha=0.3, coupling=g)
    np.testing.assert_allclose(coupling.precision, 0.3 * (MEAN + g * (np.eye(T) - MEAN)), atol=1e-12 * g)
    np.testing.assert_allclose(coupling.kernel, (MEAN + (np.eye(T) - MEAN) / g) / 0.3, atol=1e-12)
    np.testing.assert_allclose(TaskCoupling.to_mean(1, alpha=0.3, coupling=g).precision, [[0.3]])


def test_the_penalty_of_deviations_does_not_cancel() -> None:
    """Deviations of 1e-9 under a coupling of 1e18 beside a mean of 1."""
    deviations = 1e-9 * np.array([[1.0, -1.0, 0.0]])
    coupling = TaskCoupling.to_mean(3, alpha=1.0, coupling=1e18)
    assert coupling.value(1.0 + deviations) == pytest.approx((3 + 2) / 2, rel=1e-6)


@pytest.mark.parametrize("g", [0.0, 0.5, 1e14])
def test_a_graph(g: float) -> None:
    laplacian = np.diag([1.0, 1.0, 0.0, 2.0, 3.0, 1.0])
    laplacian[0, 1] = laplacian[1, 0] = laplacian[4, 5] = laplacian[5, 4] = -1
    laplacian[3, 4] = laplacian[4, 3] = -2
    coupling = TaskCoupling.to_neighbours(laplacian, alpha=0.3, coupling=g)
    np.testing.assert_allclose(coupling.precision, 0.3 * (np.eye(T) + g * laplacian), rtol=1e-9, atol=1e-9 * (1 + g))
    flat = np.array([[1.0, 1.0, 1.0, 2.0, 2.0, 2.0]])  # constant on the parts of the graph: no edge has a difference
    assert coupling.value(flat) == pytest.approx(0.3 * 15 / 2)
    np.testing.assert_allclose(
        TaskCoupling.to_neighbours(np.zeros((2, 2)), alpha=1.0, coupling=5.0).precision, np.eye(2)
    )


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 1, 2], [0] * T, list(range(T)), [1, 0, 1, 0, 1, 0]], ids=str)
def test_the_three_norms_of_clusters(labels: list[int]) -> None:
    E = np.eye(max(labels) + 1)[labels]
    M = E @ np.linalg.inv(E.T @ E) @ E.T
    Q = 0.1 * MEAN + 0.5 * (M - MEAN) + 2.0 * (np.eye(T) - M)
    coupling = TaskCoupling.to_clusters(np.array(labels), mean=0.1, between=0.5, within=2.0)
    np.testing.assert_allclose(coupling.precision, Q, atol=1e-12)


def test_a_singular_coupling() -> None:
    coupling = TaskCoupling.of_matrix(np.eye(T) - MEAN)
    assert coupling.is_singular
    assert coupling.vectors.shape == (T, 1)
    assert coupling.conjugate(np.ones((1, T))) == np.inf
    assert coupling.gauge(np.ones((1, T))) == np.inf
    lifted = coupling.lifted(1e-3)
    assert not lifted.is_singular
    np.testing.assert_allclose(lifted.precision, np.eye(T) - MEAN + 1e-3 * MEAN, atol=1e-12)


def test_no_strength_gives_zero() -> None:
    coupling = TaskCoupling.of_matrix(np.eye(T))
    assert coupling.gauge(np.ones((2, T))) == 0
    assert coupling.threshold(np.ones((2, T))) == np.inf
    assert coupling.threshold(np.zeros((2, T))) == 0
