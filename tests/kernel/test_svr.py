"""Golden values: golden.npz has the entries data/ragged, data/clf, kernel/* of the oracle file of classical methods."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.svm import SVR

from taskloom.errors import DataError
from taskloom.kernel import MultiTaskKernel, MultiTaskSVR
from taskloom.testing import EstimatorLaws

GOLDEN = np.load(Path(__file__).with_name("golden.npz"))
X = np.column_stack([GOLDEN["data/ragged/task"], GOLDEN["data/ragged/X"]])
Y = GOLDEN["data/ragged/y"]


def model(**changed: object) -> MultiTaskSVR:
    settings = {"C": 3.0, "epsilon": 0.1, "gamma": 0.1, "mu": 2.0, "task_feature": 0, **changed}
    return MultiTaskSVR(settings.pop("C"), **settings)  # type: ignore[arg-type]


def test_golden_values() -> None:
    fitted = model().fit(X, Y)
    assert fitted.objective_ - fitted.dual_gap_ == pytest.approx(float(GOLDEN["kernel/svr_ep/obj"]), rel=1e-8)
    np.testing.assert_allclose(fitted.predict(X), GOLDEN["kernel/svr_ep/pred"], atol=1e-5)
    assert fitted.intercept_ == pytest.approx(GOLDEN["kernel/svr_ep/intercept"][0], abs=1e-5)
    dual = np.zeros(len(Y))
    dual[fitted.support_] = fitted.dual_coef_
    np.testing.assert_allclose(dual, GOLDEN["kernel/svr_ep/dual_coef"], atol=1e-4)


@pytest.mark.parametrize("C", [0.01, 1.0, 1e4])
def test_the_certificate_is_small_and_not_negative(C: float) -> None:
    fitted = model(C=C).fit(X, Y)
    assert -1e-12 * fitted.objective_ <= fitted.dual_gap_ <= 1e-8 * fitted.objective_


def test_equals_the_machine_of_scikit_learn_with_the_kernel() -> None:
    theirs = SVR(C=3.0, kernel=MultiTaskKernel(mu=2.0, gamma=0.1), tol=1e-9).fit(X, Y)
    np.testing.assert_allclose(model().fit(X, Y).predict(X), theirs.predict(X), atol=1e-6)


def test_one_task_is_the_plain_machine() -> None:
    own = MultiTaskSVR(1.0, mu=1.0, gamma=0.2).fit(X[:, 1:], Y)
    plain = SVR(C=2.0, gamma=0.2, tol=1e-9).fit(X[:, 1:], Y)
    np.testing.assert_allclose(own.predict(X[:, 1:]), plain.predict(X[:, 1:]), atol=1e-6)


def test_weights_are_repetitions_exactly() -> None:
    counts = np.random.default_rng(0).integers(0, 3, size=len(Y))
    weighted = model(gamma="scale").fit(X, Y, sample_weight=counts)
    repeated = model(gamma="scale").fit(np.repeat(X, counts, axis=0), np.repeat(Y, counts))
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), atol=1e-9)


def test_an_offset_of_the_kernel_lets_tasks_have_offsets() -> None:
    """Labels that differ by a constant between tasks: without offsets the functions cannot follow far from the data."""
    tasks = np.repeat([0, 1], 10)
    rows = np.random.default_rng(3).normal(size=20)
    table, y = np.column_stack([tasks, rows]), rows + 4.0 * tasks
    plain = MultiTaskSVR(100.0, kernel="linear", mu=0.5, task_feature=0).fit(table, y)
    offset = MultiTaskSVR(100.0, kernel="linear", mu=0.5, offset=1.0, task_feature=0).fit(table, y)
    assert np.abs(plain.predict(table) - y).mean() > 1.0
    assert np.abs(offset.predict(table) - y).mean() < 0.2


def test_missing_labels_and_sparse_rows() -> None:
    rows, generator = X[:15, 1:], np.random.default_rng(4)
    labels = rows @ generator.normal(size=(8, 3))
    labels[generator.random(labels.shape) < 0.3] = np.nan
    dense = model(task_feature=None).fit(rows, labels)
    sparse = model(task_feature=None).fit(csr_matrix(rows), labels)
    assert dense.predict(rows).shape == (15, 3)
    np.testing.assert_allclose(sparse.predict(csr_matrix(rows)), dense.predict(rows), atol=1e-9)


@pytest.mark.parametrize("epsilon", [-0.1, np.nan])
def test_bad_epsilon(epsilon: float) -> None:
    with pytest.raises(DataError, match="epsilon="):
        model(epsilon=epsilon).fit(X, Y)


class TestLaws(EstimatorLaws):
    is_certified = False  # it has no iterations to stop at; the gap is tested above
    is_linear = False
    averages_scale = False
    out_of_range = {"C": (0.0, -1.0), "epsilon": (-1.0,), "mu": (0.0,), "gamma": (-1.0, "wide"), "kernel": ("rbff",)}

    def make_estimator(self) -> MultiTaskSVR:
        return MultiTaskSVR(2.0, mu=0.5)

    def for_scaled_targets(self, estimator: MultiTaskSVR, factor: float) -> MultiTaskSVR:
        return clone(estimator).set_params(C=factor * estimator.C, epsilon=factor * estimator.epsilon)
