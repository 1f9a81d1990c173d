"""Golden values: golden.npz has the entries data/ragged, data/shared, gp/* of the oracle file of classical methods."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.model_selection import cross_val_score

from taskloom.errors import DataError, TaskError
from taskloom.gp import ICMGaussianProcess
from taskloom.task_column import TaskStratifiedKFold
from taskloom.testing import EstimatorLaws

GOLDEN = np.load(Path(__file__).with_name("golden.npz"))
TASKS = GOLDEN["data/ragged/task"]
X = np.column_stack([TASKS, GOLDEN["data/ragged/X"]])
Y = GOLDEN["data/ragged/y"]
ROWS, TABLE = GOLDEN["data/shared/X"], GOLDEN["data/shared/Y"]
RAGGED = {name: GOLDEN[f"gp/icm_ragged/{name}"] for name in ("W", "kappa", "noise", "X_test", "task_test")}


def fixed(**changed: object) -> ICMGaussianProcess:
    """The process of the golden values, without fitting hyperparameters."""
    settings = {
        "rank": 2,
        "kernel": RBF(2.5),
        "task_factors": RAGGED["W"],
        "task_variances": RAGGED["kappa"],
        "noise": RAGGED["noise"],
        "normalize_y": False,
        "optimise": False,
        "task_feature": 0,
        **changed,
    }
    return ICMGaussianProcess(settings.pop("rank"), **settings)  # type: ignore[arg-type]


def test_golden_values_where_tasks_have_their_own_rows() -> None:
    model = fixed().fit(X, Y)
    assert model.log_marginal_likelihood_ == pytest.approx(float(GOLDEN["gp/icm_ragged/obj"]), rel=1e-12)
    asked = np.column_stack([RAGGED["task_test"], RAGGED["X_test"]])
    mean, deviation = model.predict(asked, return_std=True, include_noise=False)
    np.testing.assert_allclose(mean, GOLDEN["gp/icm_ragged/mean"], atol=1e-12)
    np.testing.assert_allclose(deviation**2, GOLDEN["gp/icm_ragged/var"], atol=1e-12)
    _, noisy = model.predict(asked, return_std=True)
    np.testing.assert_allclose(noisy**2 - deviation**2, RAGGED["noise"][RAGGED["task_test"]], atol=1e-12)


def test_golden_values_where_tasks_share_their_rows() -> None:
    factors = np.linalg.cholesky(GOLDEN["gp/icm_shared/B"])
    model = fixed(rank=5, kernel=RBF(3.0), task_factors=factors, task_variances=0.0, noise=0.3, task_feature=None).fit(
        ROWS, TABLE
    )
    assert model.log_marginal_likelihood_ == pytest.approx(float(GOLDEN["gp/icm_shared/obj"]), rel=1e-12)
    np.testing.assert_allclose(model.predict(ROWS), GOLDEN["gp/icm_shared/post_mean"], atol=1e-11)
    np.testing.assert_allclose(model.task_covariance_, GOLDEN["gp/icm_shared/B"], atol=1e-12)


@pytest.mark.parametrize("task_feature", [None, 0])
def test_one_task_is_the_process_of_scikit_learn(task_feature: int | None) -> None:
    X_one, y_one = X[TASKS == 2, 1:], Y[TASKS == 2]
    theirs = GaussianProcessRegressor(ConstantKernel(0.7) * RBF(2.0), alpha=0.2, optimizer=None).fit(X_one, y_one)
    own = fixed(
        rank=1,
        kernel=RBF(2.0),
        task_factors=[[0.5]],
        task_variances=0.45,
        noise=0.2,
        task_feature=task_feature,
    )
    table = X_one if task_feature is None else np.column_stack([np.full(len(y_one), 7), X_one])
    own.fit(table, y_one)
    assert own.log_marginal_likelihood_ == pytest.approx(theirs.log_marginal_likelihood_value_, rel=1e-12)
    asked = X[:6, 1:]
    mean, deviation = theirs.predict(asked, return_std=True)
    table = asked if task_feature is None else np.column_stack([np.full(6, 7), asked])
    own_mean, own_deviation = own.predict(table, return_std=True, include_noise=False)
    np.testing.assert_allclose(own_mean, mean, atol=1e-12)
    np.testing.assert_allclose(own_deviation, deviation, atol=1e-12)


def test_without_noise_tasks_that_share_rows_do_not_help_each_other() -> None:
    """Autokrigeability: the mean of each task is that of the task alone; with noise it is not."""
    generator = np.random.default_rng(3)
    rows, asked = generator.normal(size=(8, 2)), generator.normal(size=(5, 2))
    labels = generator.normal(size=(8, 3))
    factors = generator.normal(size=(3, 2))

    def means(noise: float) -> tuple[np.ndarray, np.ndarray]:
        together = fixed(task_factors=factors, task_variances=0.1, kernel=RBF(1.0), noise=noise, task_feature=None)
        alone = fixed(rank=0, task_factors=None, task_variances=1.0, kernel=RBF(1.0), noise=noise, task_feature=None)
        return together.fit(rows, labels).predict(asked), alone.fit(rows, labels).predict(asked)

    together, alone = means(1e-10)
    np.testing.assert_allclose(together, alone, atol=1e-6)
    together, alone = means(0.5)
    assert np.abs(together - alone).max() > 0.05


def test_missing_labels_are_the_long_table() -> None:
    table = TABLE[:12].copy()
    table[3:6, 1] = table[0, 4] = np.nan
    changed = {"task_factors": np.ones((5, 2)), "task_variances": 0.3, "noise": np.linspace(0.1, 0.5, 5)}
    wide = fixed(**changed, task_feature=None).fit(ROWS[:12], table)
    long = np.concatenate([np.column_stack([np.full(12, task), ROWS[:12]]) for task in range(5)])
    seen = ~np.isnan(table.T.ravel())
    tall = fixed(**changed).fit(long[seen], table.T.ravel()[seen])
    assert wide.log_marginal_likelihood_ == pytest.approx(tall.log_marginal_likelihood_, rel=1e-12)
    means, deviations = wide.predict(ROWS[:12], return_std=True)
    tall_means, tall_deviations = tall.predict(long, return_std=True)
    np.testing.assert_allclose(means.T.ravel(), tall_means, atol=1e-12)
    np.testing.assert_allclose(deviations.T.ravel(), tall_deviations, atol=1e-12)


def test_fitting_finds_a_top_of_the_likelihood() -> None:
    model = ICMGaussianProcess(task_feature=0).fit(X, Y)
    value, gradient = model.log_marginal_likelihood(model.theta_, eval_gradient=True)
    assert value == pytest.approx(model.log_marginal_likelihood_, rel=1e-10)
    inside = ~np.isclose(model.theta_, model._packing.bounds.T).any(axis=0)
    assert np.abs(gradient[inside]).max() < 1e-3
    start = clone(model).set_params(optimise=False).fit(X, Y)
    assert model.log_marginal_likelihood_ > start.log_marginal_likelihood_ + 5
    assert model.n_iter_ > 5


def test_restarts_never_make_it_worse() -> None:
    once = ICMGaussianProcess(task_feature=0).fit(X, Y)
    more = ICMGaussianProcess(task_feature=0, n_restarts=2, random_state=0).fit(X, Y)
    assert more.log_marginal_likelihood_ >= once.log_marginal_likelihood_


def test_a_task_with_few_labels_learns_from_one_with_many() -> None:
    generator = np.random.default_rng(4)
    rows = np.linspace(0, 6, 40)[:, None]
    truth = np.sin(2 * rows)
    table = np.hstack([truth, 3.0 - 2.0 * truth]) + 0.05 * generator.normal(size=(40, 2))
    table[np.arange(40) % 7 != 0, 1] = np.nan
    together = ICMGaussianProcess().fit(rows, table)
    assert together.task_correlation_[0, 1] < -0.9
    error = np.abs(together.predict(rows)[:, 1] - (3.0 - 2.0 * truth[:, 0]))
    assert error.mean() < 0.3
    mean, deviation = together.predict(rows, return_std=True)
    assert (np.abs(mean[:, 0] - truth[:, 0]) < 4 * deviation[:, 0]).all()


def test_the_noise_of_each_task_is_found() -> None:
    generator = np.random.default_rng(5)
    rows = np.linspace(0, 6, 60)
    deviations = np.array([0.05, 0.5])
    tasks = np.repeat([0, 1], 60)
    y = np.sin(np.tile(rows, 2)) + deviations[tasks] * generator.normal(size=120)
    model = ICMGaussianProcess(task_feature=0).fit(np.column_stack([tasks, np.tile(rows, 2)]), y)
    found = np.sqrt(model.noise_) * model._scales
    np.testing.assert_allclose(found, deviations, rtol=0.25)
    shared = ICMGaussianProcess(task_feature=0, shared_noise=True).fit(np.column_stack([tasks, np.tile(rows, 2)]), y)
    assert shared.noise_[0] == shared.noise_[1]
    assert shared.log_marginal_likelihood_ < model.log_marginal_likelihood_


def test_independent_tasks_at_rank_zero() -> None:
    model = fixed(rank=0, task_factors=None, task_variances=1.0).fit(X, Y)
    moved = np.where(TASKS == 3, -Y, Y)
    first = X[TASKS == 0]
    np.testing.assert_array_equal(model.predict(first), clone(model).fit(X, moved).predict(first))
    np.testing.assert_array_equal(model.task_correlation_, np.eye(4))


def test_new_tasks_get_the_mean_of_all() -> None:
    model = fixed(unknown_task="mean", normalize_y=True).fit(X, Y)
    rows = X[:4, 1:]
    each = [model.predict(np.column_stack([np.full(4, task), rows])) for task in range(4)]
    mean, deviation = model.predict(np.column_stack([np.full(4, 9), rows]), return_std=True)
    np.testing.assert_allclose(mean, np.mean(each, axis=0), atol=1e-12)
    assert (deviation > 0).all()
    with pytest.raises(TaskError, match="9"):
        fixed().fit(X, Y).predict(np.column_stack([np.full(4, 9), rows]))


def test_a_task_without_labels_is_predicted_from_the_others() -> None:
    table = TABLE.copy()
    table[:, 2] = np.nan
    with pytest.warns(UserWarning, match="no labels"):
        model = ICMGaussianProcess().fit(ROWS, table)
    means, deviations = model.predict(ROWS, return_std=True)
    assert np.isfinite(means).all()
    assert deviations[:, 2].mean() > deviations[:, 0].mean()


def test_frames_with_text_labels_and_cross_validation() -> None:
    frame = pd.DataFrame(X[:, 1:], columns=list("abcdefgh"))
    frame.insert(2, "plot", np.array(["n", "e", "s", "w"])[TASKS])
    model = fixed(task_feature="plot", rank=1, task_factors=None, task_variances=0.4, noise=0.1, normalize_y=True)
    folds = TaskStratifiedKFold(3, task_feature="plot")
    assert np.isfinite(cross_val_score(model, frame, Y, cv=folds)).all()


def test_it_says_when_it_stops_early() -> None:
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        ICMGaussianProcess(task_feature=0, max_iter=2).fit(X, Y)


def test_it_says_when_it_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskloom.gp.icm._MANY_POINTS", 50)
    with pytest.warns(UserWarning, match="56 distinct points: .* cube in time"):
        fixed().fit(X, Y)


def test_points_too_near_for_the_noise_given() -> None:
    near = np.linspace(0, 1, 30)[:, None]
    with pytest.raises(DataError, match="not positive definite in double precision"):
        ICMGaussianProcess(optimise=False, kernel=RBF(1e6), noise=1e-300).fit(near, near[:, 0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rank": 5}, "rank=5; expected a whole number from 0 to the number of tasks, 4"),
        ({"rank": 1.0}, "rank=1.0"),
        ({"task_factors": np.ones((3, 2))}, r"task_factors has shape \(3, 2\)"),
        ({"task_variances": -0.1}, "task_variances=-0.1; expected finite numbers that are not negative"),
        ({"noise": [0.1, 0.2]}, r"noise has shape \(2,\); expected one number or 4"),
        ({"noise": 0.0}, "noise=0.0; expected finite numbers that are positive"),
        ({"kernel": "rbf"}, "kernel='rbf'; expected a kernel of sklearn"),
        ({"max_iter": 0}, "max_iter=0"),
        ({"n_restarts": -1}, "n_restarts=-1"),
        ({"unknown_task": "prior"}, "unknown_task='prior'"),
        ({"n_restarts": 2}, "n_restarts=2 does nothing beside optimise=False"),
        ({"noise": [0.1, 0.1, 0.1, 0.2], "shared_noise": True}, "differs by task, but shared_noise=True"),
    ],
    ids=[
        "large",
        "float",
        "shape",
        "negative",
        "count",
        "zero",
        "kernel",
        "iterations",
        "restarts",
        "word",
        "restarts of nothing",
        "noise",
    ],
)
def test_bad_parameters(changed: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        fixed(**changed).fit(X, Y)


class TestLaws(EstimatorLaws):
    is_certified = False  # the likelihood is not concave
    is_linear = False
    averages_scale = False  # twice the labels are twice the evidence
    out_of_range = {"rank": (-1, 4, 0.5), "noise": (0.0, [0.1, 0.1]), "task_variances": (-1.0,), "n_restarts": (-1,)}

    def make_estimator(self) -> ICMGaussianProcess:
        return ICMGaussianProcess(kernel=RBF(2.0, length_scale_bounds=(0.1, 100.0)))
