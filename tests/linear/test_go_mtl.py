from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from taskloom.linear import GOMTL, GOMTLClassifier
from taskloom.testing import EstimatorLaws

RNG = np.random.default_rng(59)
CODES = np.array(
    [[1.0, 0, 0], [2.0, 0, 0], [1.0, 1.5, 0], [0, 1.0, 0], [0, -2.0, 0], [0, 1.0, -1.0], [0, 0, 1.0], [0, 0, 2.0]]
)
BASIS = RNG.normal(size=(3, 10))


class TestLaws(EstimatorLaws):
    is_certified = False
    out_of_range = {
        "n_latent": (0, 4, 1.5, True),
        "alpha_sparse": (0.0, -1.0, np.nan),
        "alpha_basis": (0.0, None),
    }

    def make_estimator(self) -> GOMTL:
        return GOMTL(2, alpha_sparse=0.1, alpha_basis=0.05, tol=1e-8)

    def for_scaled_targets(self, estimator: GOMTL, factor: float) -> GOMTL:
        """The basis grows with the targets, and the codes stay."""
        return estimator.set_params(alpha_sparse=factor**2 * estimator.alpha_sparse)


class TestClassifierLaws(EstimatorLaws):
    is_certified = False
    out_of_range = {"n_latent": (0,), "alpha_sparse": (0.0,), "alpha_basis": (-1.0,)}

    def make_estimator(self) -> GOMTLClassifier:
        return GOMTLClassifier(1, alpha_sparse=0.02, alpha_basis=0.02, tol=1e-7)


def test_overlapping_groups_are_recovered_up_to_order_and_scale() -> None:
    """Without noise, rows of its own for every task, fewer of them than features."""
    tasks = np.repeat(np.arange(8), 30)
    features = RNG.normal(size=(240, 10))
    y = np.einsum("nd,nd->n", features, (CODES @ BASIS)[tasks])
    model = GOMTL(3, alpha_sparse=1e-3, alpha_basis=1e-3, task_feature=0, tol=1e-10)
    model.fit(np.column_stack([tasks, features]), y)
    np.testing.assert_allclose(model.coef_, CODES @ BASIS, atol=0.02)
    patterns = [tuple(map(tuple, (model.codes_ != 0)[:, list(order)])) for order in permutations(range(3))]
    assert tuple(map(tuple, CODES != 0)) in patterns
    order = list(permutations(range(3)))[patterns.index(tuple(map(tuple, CODES != 0)))]
    for row, place in zip(BASIS, order, strict=True):
        cosine = row @ model.basis_[place] / np.linalg.norm(row) / np.linalg.norm(model.basis_[place])
        assert abs(cosine) > 0.9999


def test_the_parts_and_their_scales() -> None:
    X = RNG.normal(size=(40, 10))
    Y = X @ (CODES @ BASIS).T + RNG.normal(size=(40, 8))
    model = GOMTL(3, alpha_sparse=0.1).fit(X, Y)
    np.testing.assert_allclose(model.coef_, model.codes_ @ model.basis_)
    assert (np.diff(model.objective_path_) <= 0).all()
    assert model.objective_ <= model.objective_path_[-1]
    assert model.n_iter_ == len(model.objective_path_) - 1
    same = GOMTL(3, alpha_sparse=0.2, alpha_basis=0.01 / 4, tol=1e-9).fit(X, Y)  # alpha_sparse^2 alpha_basis is kept
    other = GOMTL(3, alpha_sparse=0.1, tol=1e-9).fit(X, Y)
    np.testing.assert_allclose(same.coef_, other.coef_, atol=1e-3)


def test_one_latent_task_has_rank_one_and_all_have_the_full_rank() -> None:
    X = RNG.normal(size=(40, 10))
    Y = X @ (CODES @ BASIS).T + RNG.normal(size=(40, 8))
    assert np.linalg.matrix_rank(GOMTL(1).fit(X, Y).coef_) == 1
    free = GOMTL(8, alpha_sparse=1e-7, alpha_basis=1e-7).fit(X, Y)
    least = np.linalg.lstsq(X - X.mean(axis=0), Y - Y.mean(axis=0))[0]
    np.testing.assert_allclose(free.coef_.T, least, atol=1e-3)


def test_an_early_stop_is_reported() -> None:
    X = RNG.normal(size=(40, 10))
    with pytest.warns(ConvergenceWarning, match="stopped after 2 turns"):
        GOMTL(3, tol=1e-14, max_iter=2).fit(X, X @ (CODES @ BASIS).T + RNG.normal(size=(40, 8)))
