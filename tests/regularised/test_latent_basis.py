from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.sparse import csc_array

from taskloom.regularised import LogisticRisk, SquaredRisk, TaskData
from taskloom.regularised.latent_basis import first_bases, solve_latent_basis

RNG = np.random.default_rng(53)
SIZES = (14, 9, 12, 20, 11)
DESIGNS = tuple(RNG.normal(size=(n, 4)) for n in SIZES)
A = RNG.normal(size=(4, 2)) @ RNG.normal(size=(2, 5))
TARGETS = tuple(X @ A[:, t] + 0.3 * RNG.normal(size=n) for t, (X, n) in enumerate(zip(DESIGNS, SIZES, strict=True)))
WEIGHTS = tuple(np.full(n, 5 / sum(SIZES)) for n in SIZES)
DATA = TaskData(DESIGNS, TARGETS, WEIGHTS)
LABELS = TaskData(DESIGNS, tuple(np.sign(y - y.mean()) for y in TARGETS), WEIGHTS)


@pytest.mark.parametrize("n_latent", [1, 2, 4])
def test_beginnings_are_approximations_of_their_rank(n_latent: int) -> None:
    full = A + 0.1 * RNG.normal(size=A.shape)
    bases = first_bases(full, n_latent)
    s = np.linalg.svd(full, compute_uv=False)
    best = np.sqrt((s[n_latent:] ** 2).sum())
    assert len(bases) == (2 if n_latent == 1 else 3)
    for place, (L, S) in enumerate(bases):
        assert L.shape == (4, n_latent)
        error = np.linalg.norm(full - L @ S)
        assert error == pytest.approx(best, abs=1e-9) if place < len(bases) - 1 else error <= 4 * best + 1e-9
        assert (S[np.arange(n_latent), np.abs(S).argmax(axis=1)] > 0).all()


def test_the_second_beginning_has_the_codes_of_separate_groups() -> None:
    codes = np.zeros((2, 6))
    codes[0, :3], codes[1, 3:] = [1.0, 2.0, -1.5], [1.0, -1.0, 2.0]
    _, (_, S), _ = first_bases(np.linalg.qr(RNG.normal(size=(4, 2)))[0] @ codes, 2)
    assert_allclose(np.sort((np.abs(S) > 1e-6).sum(axis=1)), [3, 3])


def test_more_latent_tasks_than_features() -> None:
    ((L, S),) = first_bases(A, 5)
    assert L.shape == (4, 5)
    assert_allclose(L @ S, A, atol=1e-9)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_the_end_is_stationary(loss: str) -> None:
    """Best codes for the basis, no better basis for the codes, best scales; and a smooth solver finds nothing lower."""
    risk = SquaredRisk(DATA) if loss == "squared" else LogisticRisk(LABELS)
    mu, ridge = (0.05, 0.02) if loss == "squared" else (0.01, 0.01)
    tol = 1e-12 if loss == "squared" else 1e-9
    found = solve_latent_basis(risk, first_bases(A, 2), sparsity=mu, ridge=ridge, tol=tol, max_iterations=500)
    assert found.converged
    L, S = found.basis, found.codes
    G = risk.at(L @ S).dual.G
    slopes = L.T @ G
    assert_allclose(slopes[S != 0], mu * np.sign(S[S != 0]), rtol=1e-3)
    assert (np.abs(slopes) <= mu * (1 + 1e-3)).all()
    assert_allclose(G @ S.T, ridge * L, atol=1e-4)
    assert_allclose(mu * np.abs(S).sum(axis=1), ridge * (L**2).sum(axis=0), rtol=1e-3)
    assert 0 <= found.gap < (1e-10 if loss == "squared" else 1e-7)

    def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
        basis, codes = z[:8].reshape(4, 2), z[8:].reshape(2, 5) * (S != 0)
        point = risk.at(basis @ codes)
        value = point.loss + mu * np.abs(codes).sum() + ridge / 2 * (basis**2).sum()
        slope = mu * np.sign(codes) - (basis.T @ point.dual.G) * (S != 0)
        return value, np.r_[(ridge * basis - point.dual.G @ codes.T).ravel(), slope.ravel()]

    lower = minimize(objective, np.r_[L.ravel(), S.ravel()], jac=True, method="L-BFGS-B")
    assert lower.fun >= found.objective - 1e-7


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_the_objective_never_rises(loss: str) -> None:
    risk = SquaredRisk(DATA) if loss == "squared" else LogisticRisk(LABELS)
    for start in first_bases(A + RNG.normal(size=A.shape), 3):
        found = solve_latent_basis(risk, [start], sparsity=0.02, ridge=0.02, tol=1e-10, max_iterations=15)
        assert (np.diff(found.objectives) <= 1e-12 * found.objectives[0]).all()
        assert found.objective <= found.objectives[-1] + 1e-12


def test_the_best_beginning_goes_on() -> None:
    risk = SquaredRisk(DATA)
    starts = first_bases(A + 0.5 * RNG.normal(size=A.shape), 3)
    settings = {"sparsity": 0.05, "ridge": 0.02, "tol": 1e-10, "max_iterations": 1000}
    alone = [solve_latent_basis(risk, [start], **settings).objective for start in starts]
    together = solve_latent_basis(risk, starts, **settings).objective
    assert min(abs(together - one) for one in alone) < 1e-6
    assert together <= np.median(alone) + 1e-9


def test_forms_of_the_data_agree() -> None:
    X, Y = RNG.normal(size=(20, 4)), RNG.normal(size=(20, 3))
    w = np.full(20, 1 / 20)
    shared = SquaredRisk(TaskData((X,) * 3, tuple(Y.T), (w,) * 3))
    apart = SquaredRisk(TaskData(tuple(X.copy() for _ in range(3)), tuple(Y.T), (w,) * 3))
    sparse = SquaredRisk(TaskData((csc_array(X),) * 3, tuple(Y.T), (w,) * 3))
    starts = first_bases(RNG.normal(size=(4, 3)), 2)
    found = [solve_latent_basis(risk, starts, sparsity=0.05, ridge=0.05, tol=1e-12) for risk in (shared, apart, sparse)]
    for other in found[1:]:
        assert_allclose(other.coefficients, found[0].coefficients, atol=1e-5)


def test_strong_penalties_leave_nothing() -> None:
    found = solve_latent_basis(SquaredRisk(DATA), first_bases(A, 2), sparsity=10.0, ridge=10.0)
    assert found.converged
    assert not found.coefficients.any()
