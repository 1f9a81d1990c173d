"""Golden values: golden_bayes.npz has the entries data/ragged and bayes/* of the oracle file of classical methods."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.utils.estimator_checks import check_estimator

from taskloom.errors import DataError, TaskError
from taskloom.linear import HierarchicalBayes, TaskPrior
from taskloom.testing import EstimatorLaws

GOLDEN = np.load(Path(__file__).with_name("golden_bayes.npz"))
TASKS = GOLDEN["data/ragged/task"]
X = np.column_stack([TASKS, GOLDEN["data/ragged/X"]])
Y = GOLDEN["data/ragged/y"]


def model(**changed: object) -> HierarchicalBayes:
    """The model of the golden values."""
    given = {
        "start": TaskPrior(np.zeros(8), np.eye(8), 1.0),
        "prior_degrees": 10.0,
        "prior_scale": 1.0,
        "fit_intercept": False,
        "task_feature": 0,
        **changed,
    }
    return HierarchicalBayes(**given)  # type: ignore[arg-type]


def test_golden_values_of_the_first_step() -> None:
    fitted = model(optimise=False).fit(X, Y)
    np.testing.assert_allclose(fitted.coef_.T, GOLDEN["bayes/em/post_mean_iter0"], atol=1e-12)
    for task in range(4):
        np.testing.assert_allclose(
            fitted.posterior_covariance(task), GOLDEN["bayes/em/post_cov_iter0"][task], atol=1e-12
        )
    assert fitted.n_iter_ == 0


@pytest.mark.filterwarnings("ignore:the evidence still rises")
def test_golden_values_of_two_hundred_steps() -> None:
    fitted = model()
    path = []
    for _ in range(200):
        fitted.set_params(max_iter=1).fit(X, Y)
        path.append([fitted.log_evidence_path_[0], fitted.evidence_path_[0]])
        fitted.set_params(start=fitted.prior_)
    np.testing.assert_allclose(path, GOLDEN["bayes/em/trace"], atol=1e-10)
    np.testing.assert_allclose(fitted.prior_.mean, GOLDEN["bayes/em/m"], atol=1e-10)
    np.testing.assert_allclose(fitted.prior_.covariance, GOLDEN["bayes/em/Sigma"], atol=1e-10)
    np.testing.assert_allclose(fitted.coef_.T, GOLDEN["bayes/em/post_mean"], atol=1e-10)
    assert fitted.noise_variance_ == pytest.approx(float(GOLDEN["bayes/em/sigma2"]), rel=1e-10)


def test_many_steps_are_steps_one_by_one() -> None:
    whole = model(max_iter=7, tol=1e-300)
    with pytest.warns(ConvergenceWarning):
        whole.fit(X, Y)
    np.testing.assert_allclose(whole.evidence_path_, GOLDEN["bayes/em/trace"][:8, 1], rtol=1e-12)


@given(
    seed=st.integers(0, 2**32 - 1),
    n_tasks=st.integers(1, 6),
    n_features=st.integers(1, 8),
    form=st.sampled_from(["full", "diagonal", "spherical"]),
    prior_tasks=st.sampled_from([0.0, 0.3, 5.0]),
)
@settings(max_examples=40)
@pytest.mark.filterwarnings("ignore:the mean of the tasks has")
def test_the_evidence_never_falls(seed: int, n_tasks: int, n_features: int, form: str, prior_tasks: float) -> None:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 12, size=n_tasks)
    tasks = np.repeat(np.arange(n_tasks), sizes)
    rows = generator.normal(size=(len(tasks), n_features)) * 10 ** generator.uniform(-1, 1, size=n_features)
    y = generator.normal(size=len(tasks)) * 10 ** generator.uniform(-2, 2)
    fitted = HierarchicalBayes(form, prior_tasks=prior_tasks, task_feature=0, max_iter=500)  # type: ignore[arg-type]
    fitted.fit(np.column_stack([tasks, rows]), y)
    steps = np.diff(fitted.evidence_path_)
    assert (steps >= -1e-9 * np.abs(fitted.evidence_path_).max()).all()


def test_a_fixed_spherical_prior_is_ridge() -> None:
    """Variance tau and mean 0: ridge with alpha = v / tau on the sum of squares."""
    fitted = model(optimise=False, start=TaskPrior(np.zeros(8), 0.5 * np.eye(8), 0.2)).fit(X, Y)
    for task in range(4):
        alone = Ridge(alpha=0.2 / 0.5, fit_intercept=False).fit(X[task == TASKS, 1:], Y[task == TASKS])
        np.testing.assert_allclose(fitted.coef_[task], alone.coef_, atol=1e-10)


def test_tasks_that_hardly_differ_are_pooled() -> None:
    """Sigma held near epsilon by many prior degrees: the nearer, the smaller epsilon."""
    pooled = LinearRegression(fit_intercept=False).fit(X[:, 1:], Y).coef_
    distances = []
    for epsilon in (1e-2, 1e-3):
        degrees = 1e8
        held = HierarchicalBayes(
            "spherical",
            prior_degrees=degrees,
            prior_scale=degrees * epsilon,
            fit_intercept=False,
            max_iter=4000,
            tol=1e-15,
            task_feature=0,
        )
        held.fit(X, Y)
        distances.append(np.abs(held.coef_ - pooled).max())
    assert distances[1] < 0.4 * distances[0]
    assert distances[1] < 0.05 * np.abs(pooled).max()


def test_it_finds_what_the_tasks_have_in_common() -> None:
    generator = np.random.default_rng(1)
    mean, covariance = np.array([1.0, -2.0, 0.5]), np.array([[0.5, 0.3, 0.0], [0.3, 0.5, 0.0], [0.0, 0.0, 0.01]])
    coefficients = generator.multivariate_normal(mean, covariance, size=300)
    rows = generator.normal(size=(300, 8, 2))
    y = np.einsum("tnd,td->tn", rows, coefficients[:, :2]) + coefficients[:, 2:] + 0.3 * generator.normal(size=(300, 8))
    table = np.column_stack([np.repeat(np.arange(300), 8), rows.reshape(-1, 2)])
    fitted = HierarchicalBayes(task_feature=0).fit(table, y.ravel())
    np.testing.assert_allclose(fitted.prior_.mean, mean, atol=0.1)
    np.testing.assert_allclose(fitted.prior_.covariance, covariance, atol=0.1)
    assert fitted.noise_variance_ == pytest.approx(0.09, rel=0.1)


@pytest.mark.parametrize("form", ["full", "diagonal", "spherical"])
def test_predictions_fall_where_they_say(form: str) -> None:
    """95 % of new labels of known and of new tasks lie within 1.96 standard deviations."""
    generator = np.random.default_rng(2)
    coefficients = np.array([1.0, -1.0]) + 0.5 * generator.normal(size=(600, 2))
    tasks = np.repeat(np.arange(600), 12)
    rows = generator.normal(size=(len(tasks), 2))
    y = (rows * coefficients[tasks]).sum(axis=1) + 0.4 * generator.normal(size=len(tasks))
    is_new, is_test = tasks >= 200, np.arange(len(tasks)) % 12 >= 5
    table = np.column_stack([tasks, rows])
    fitted = HierarchicalBayes(form, task_feature=0, unknown_task="mean")  # type: ignore[arg-type]
    fitted.fit(table[~is_new & ~is_test], y[~is_new & ~is_test])
    for asked in (is_test & ~is_new, is_new):
        mean, deviation = fitted.predict(table[asked], return_std=True)
        covered = np.abs(y[asked] - mean) < 1.96 * deviation
        assert 0.935 < covered.mean() < 0.965


def test_deviations_are_those_of_the_posterior() -> None:
    fitted = model().fit(X, Y)
    asked = X[TASKS == 2][:5]
    mean, deviation = fitted.predict(asked, return_std=True)
    _, without = fitted.predict(asked, return_std=True, include_noise=False)
    covariance = fitted.posterior_covariance(2)
    expected = np.einsum("nd,de,ne->n", asked[:, 1:], covariance, asked[:, 1:])
    np.testing.assert_allclose(without**2, expected, rtol=1e-10)
    np.testing.assert_allclose(deviation**2, expected + fitted.noise_variance_, rtol=1e-10)
    np.testing.assert_allclose(mean, asked[:, 1:] @ fitted.coef_[2], rtol=1e-10)


def test_a_new_task_is_a_draw_from_the_prior() -> None:
    fitted = model(unknown_task="mean").fit(X, Y)
    rows = X[:4, 1:]
    mean, deviation = fitted.predict(np.column_stack([np.full(4, 9), rows]), return_std=True)
    np.testing.assert_allclose(mean, rows @ fitted.prior_.mean, rtol=1e-12)
    spread = np.einsum("nd,de,ne->n", rows, fitted.prior_.covariance, rows)
    np.testing.assert_allclose(deviation**2, spread + fitted.noise_variance_, rtol=1e-12)
    np.testing.assert_array_equal(fitted.posterior_covariance(), fitted.prior_.covariance)
    with pytest.raises(TaskError, match="9"):
        model().fit(X, Y).predict([[9, *rows[0]]])
    with pytest.raises(TaskError, match="task 9 was not"):
        fitted.posterior_covariance(9)


def test_a_learnt_prior_serves_tasks_that_come_later() -> None:
    """One sample of a new task, with the prior as it is, moves it from the mean towards the sample."""
    learnt = model().fit(X, Y)
    later = model(start=learnt.prior_, optimise=False).fit(np.append(9, X[0, 1:])[None], Y[:1] + 5.0)
    before, after = X[0, 1:] @ learnt.prior_.mean, later.predict([[9, *X[0, 1:]]])[0]
    assert before < after < Y[0] + 5.0


def test_shared_rows_and_missing_labels() -> None:
    generator = np.random.default_rng(3)
    rows = generator.normal(size=(12, 3))
    table = rows @ generator.normal(size=(3, 5)) + 0.1 * generator.normal(size=(12, 5))
    table[2:6, 1] = np.nan
    wide = HierarchicalBayes().fit(rows, table)
    long = np.concatenate([np.column_stack([np.full(12, task), rows]) for task in range(5)])
    seen = ~np.isnan(table.T.ravel())
    tall = HierarchicalBayes(task_feature=0).fit(long[seen], table.T.ravel()[seen])
    means, deviations = wide.predict(rows, return_std=True)
    others, other_deviations = tall.predict(long, return_std=True)
    np.testing.assert_allclose(means.T.ravel(), others, atol=1e-8)
    np.testing.assert_allclose(deviations.T.ravel(), other_deviations, atol=1e-8)
    assert wide.score(rows, table) > 0.9


def test_a_task_without_labels_has_the_prior() -> None:
    generator = np.random.default_rng(4)
    rows = generator.normal(size=(12, 3))
    table = rows @ generator.normal(size=(3, 5))
    table[:, 2] = np.nan
    with pytest.warns(UserWarning, match="no labels"):
        fitted = HierarchicalBayes().fit(rows, table)
    np.testing.assert_allclose(np.append(fitted.coef_[2], fitted.intercept_[2]), fitted.prior_.mean, atol=1e-10)
    np.testing.assert_allclose(fitted.posterior_covariance(2), fitted.prior_.covariance, atol=1e-10)


# -- the prior of the mean -------------------------------------------------------------------------------------------


def few_rows(n_features: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Six tasks on 40 rows whose errors go together, and 200 further rows; columns and labels near one scale."""
    generator = np.random.default_rng(3)
    rows, coef = generator.normal(size=(240, n_features)), generator.normal(size=(n_features, 6)) / np.sqrt(60)
    table = rows @ coef + 0.8 * generator.normal(size=(240, 1)) + 0.1 * generator.normal(size=(240, 6))
    return rows[:40], table[:40], rows[40:], table[40:]


def test_a_flat_mean_with_few_rows_is_warned_of_and_a_prior_helps() -> None:
    rows, table, further, truth = few_rows()
    with pytest.warns(UserWarning, match="31 coefficients and a flat prior, and X has 40 rows .* set prior_tasks=1"):
        flat = HierarchicalBayes().fit(rows, table)
    held = HierarchicalBayes(prior_tasks=1.0, prior_scale=1.0).fit(rows, table)
    errors = [float(np.mean((model.predict(further) - truth) ** 2)) for model in (flat, held)]
    assert errors[0] > 1.5 * truth.var()
    assert errors[1] < 1.1 * truth.var()


def test_the_warning_is_for_flat_means_that_are_learnt_from_few_rows() -> None:
    rows, table, _, _ = few_rows()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = HierarchicalBayes(prior_tasks=0.5).fit(rows, table)
        HierarchicalBayes(start=fitted.prior_, optimise=False).fit(rows, table)
        HierarchicalBayes().fit(rows[:, :10], table)


def test_mean_and_covariance_are_the_top_of_evidence_and_density() -> None:
    rows, table, _, _ = few_rows(4)
    settings: dict[str, object] = {"prior_tasks": 2.0, "tol": 1e-14, "max_iter": 5000}
    top = HierarchicalBayes(**settings).fit(rows, table)  # type: ignore[arg-type]
    prior = top.prior_
    for mean, covariance in (
        (prior.mean + 0.02, prior.covariance),
        (prior.mean - 0.02 * np.arange(5), prior.covariance),
        (prior.mean, 1.1 * prior.covariance),
        (prior.mean, prior.covariance + 0.003 * np.eye(5)),
        (prior.mean, 0.9 * prior.covariance),
    ):
        start = TaskPrior(mean, covariance, prior.noise_variance)
        near = HierarchicalBayes(start=start, optimise=False, **settings).fit(rows, table)  # type: ignore[arg-type]
        assert near.evidence_path_[0] < top.evidence_path_[-1]


def test_many_tasks_of_prior_hold_the_mean_to_its_centre() -> None:
    rows, table, _, _ = few_rows(4)
    mean = HierarchicalBayes(prior_tasks=1e9).fit(rows, table + 7.0).prior_.mean
    np.testing.assert_allclose(mean, [0, 0, 0, 0, np.mean(table + 7.0)], atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"prior_tasks": -1.0}, "prior_tasks=-1.0; expected a number of at least 0"),
        ({"covariance": "banded"}, "covariance='banded'"),
        ({"prior_degrees": 7.0}, "prior_degrees=7.0; expected a number above 7 .D - 1"),
        ({"prior_scale": 0.0}, "expected a positive number or a positive definite matrix"),
        ({"prior_scale": np.eye(3)}, r"prior_scale has shape \(3, 3\)"),
        ({"start": TaskPrior(np.zeros(3), np.eye(3), 1.0)}, r"start has a mean of shape \(3,\)"),
        ({"start": TaskPrior(np.zeros(8), np.eye(8), 0.0)}, "start needs a positive noise_variance"),
        ({"start": TaskPrior(np.zeros(8), -np.eye(8), 1.0)}, "positive semi-definite covariance"),
        ({"max_iter": 0}, "max_iter=0"),
        ({"tol": 0.0}, "tol=0.0"),
        ({"unknown_task": "prior"}, "unknown_task='prior'"),
    ],
    ids=["tasks", "form", "degrees", "zero", "shape", "start", "noise", "negative", "steps", "tol", "word"],
)
def test_bad_parameters(changed: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        model(**changed).fit(X, Y)


def test_it_says_when_it_stops_early() -> None:
    with pytest.warns(ConvergenceWarning, match="still rises after max_iter=2"):
        model(max_iter=2).fit(X, Y)


@pytest.mark.filterwarnings("ignore:the mean of the tasks has")  # the laws' tables are small
class TestLaws(EstimatorLaws):
    is_certified = False  # the evidence is not concave
    averages_scale = False  # twice the samples are twice the evidence
    out_of_range = {"prior_degrees": (0.0,), "prior_scale": (-1.0,), "covariance": ("banded",)}

    def make_estimator(self) -> HierarchicalBayes:
        return HierarchicalBayes(tol=1e-14, max_iter=20_000)

    def test_scikit_learn_finds_nothing(self) -> None:
        """With the tolerances that it has by default: the laws need a prior that hardly depends on where it stops."""
        for form in ("full", "diagonal", "spherical"):
            check_estimator(HierarchicalBayes(form), on_skip=None)

    def test_constant_and_equal_features_are_legal(self) -> None:
        """A constant feature is a second intercept here: both have a prior, and share what there is."""
        table = self._table()
        features = table.features.copy()
        features[:, 1] = 3.0
        features[:, 2] = features[:, 0]
        fitted = self._fit(table.using(features=features))
        assert np.isfinite(fitted.predict(table.using(features=features).X)).all()
        np.testing.assert_allclose(fitted.coef_[:, 2], fitted.coef_[:, 0], rtol=1e-6)
