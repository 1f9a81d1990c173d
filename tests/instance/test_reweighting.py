"""Golden values: golden.npz has the entries data/ragged and instance/* of the oracle file of classical methods."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier, is_regressor
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeRegressor

from taskloom.errors import DataError, TaskError
from taskloom.instance import TaskReweighting
from taskloom.task_column import TaskStratifiedKFold
from taskloom.testing import EstimatorLaws

GOLDEN = np.load(Path(__file__).with_name("golden.npz"))
TASKS = GOLDEN["data/ragged/task"]
X = np.column_stack([TASKS, GOLDEN["data/ragged/X"]])
Y = GOLDEN["data/ragged/y"]
N = len(Y)
LABELS = np.where(np.median(Y) < Y, "high", "low")

quiet = pytest.mark.filterwarnings("ignore:the weights of:UserWarning", "ignore:.*effective samples:UserWarning")


class Certain(ClassifierMixin, BaseEstimator):
    """Knows the task of every sample it has seen, and is sure of it: the limit of perfect separation."""

    def fit(self, phi: np.ndarray, tasks: np.ndarray, sample_weight: np.ndarray | None = None) -> Certain:
        self.classes_ = np.unique(tasks)
        self.known_ = {row.tobytes(): task for row, task in zip(phi, tasks, strict=True)}
        return self

    def predict_proba(self, phi: np.ndarray) -> np.ndarray:
        found = np.array([self.known_[row.tobytes()] for row in phi])
        return (found[:, None] == self.classes_).astype(float)


def test_golden_values() -> None:
    learner = Ridge(alpha=0.1 * N, fit_intercept=False, solver="cholesky")
    model = TaskReweighting(learner, n_folds=None, task_feature=0).fit(X, Y)
    A = np.column_stack([one.coef_ for one in model.estimators_])
    np.testing.assert_allclose(model.weights_, GOLDEN["instance/dist_match/r"], atol=1e-8)
    np.testing.assert_allclose(model.effective_sample_size_, GOLDEN["instance/dist_match/ess"], atol=1e-7)
    np.testing.assert_allclose(A, GOLDEN["instance/dist_match/A"], atol=1e-8)
    misses = Y[:, None] - X[:, 1:] @ A
    value = (model.weights_ * misses**2).sum() / (2 * N) + 0.05 * (A**2).sum()
    assert value == pytest.approx(float(GOLDEN["instance/dist_match/obj"]), rel=1e-8)
    np.testing.assert_allclose(model.pool_means_, 1.0, atol=1e-5)


@quiet
def test_the_power_zero_is_one_pooled_fit() -> None:
    model = TaskReweighting(Ridge(2.0), gamma=0.0, task_feature=0).fit(X, Y)
    pooled = Ridge(2.0).fit(X[:, 1:], Y)
    for learner in model.estimators_:
        np.testing.assert_allclose(learner.coef_, pooled.coef_, atol=1e-12)
    np.testing.assert_array_equal(model.effective_sample_size_, N)


def test_perfect_separation_is_one_fit_per_task() -> None:
    """Weights N / n_t on own samples: the penalty of ridge, relative to N, is that of the task relative to n_t."""
    model = TaskReweighting(
        Ridge(0.1 * N, fit_intercept=False), task_classifier=Certain(), n_folds=None, task_feature=0
    ).fit(X, Y)
    for task in range(4):
        own = task == TASKS
        np.testing.assert_allclose(model.weights_[own, task], N / own.sum(), rtol=1e-12)
        assert (model.weights_[~own, task] == 0).all()
        alone = Ridge(0.1 * own.sum(), fit_intercept=False).fit(X[own, 1:], Y[own])
        np.testing.assert_allclose(model.estimators_[task].coef_, alone.coef_, atol=1e-10)


@quiet
def test_tasks_that_are_alike_share_all_samples() -> None:
    generator = np.random.default_rng(0)
    tasks, rows = np.repeat(np.arange(3), 60), generator.normal(size=(180, 3))
    y = rows @ [1.0, -1.0, 2.0] + 0.1 * generator.normal(size=180)
    model = TaskReweighting(Ridge(), task_feature=0).fit(np.column_stack([tasks, rows]), y)
    assert (model.effective_sample_size_ > 160).all()


def test_tasks_that_differ_in_their_labels_weigh_each_other_less() -> None:
    generator = np.random.default_rng(1)
    tasks, rows = np.repeat(np.arange(2), 100), generator.normal(size=(200, 1))
    y = np.where(tasks == 0, 1.0, -1.0) * rows[:, 0] + 0.1 * generator.normal(size=200)
    table = np.column_stack([tasks, rows])
    blind = TaskReweighting(Ridge(), task_feature=0).fit(table, y)
    seeing = TaskReweighting(Ridge(), features="interaction", task_feature=0).fit(table, y)
    assert (seeing.effective_sample_size_ < 0.8 * blind.effective_sample_size_).all()
    assert seeing.score(table, y) > blind.score(table, y) + 0.3
    assert seeing.estimators_[0].coef_[0] > 0.7
    assert seeing.estimators_[1].coef_[0] < -0.7


def test_cross_fitted_weights_are_less_sure() -> None:
    generator = np.random.default_rng(2)
    tasks, rows = np.repeat(np.arange(3), 15), generator.normal(size=(45, 12))
    y = rows[:, 0] + 0.1 * generator.normal(size=45)
    table = np.column_stack([tasks, rows])
    sure = TaskReweighting(Ridge(), n_folds=None, task_feature=0).fit(table, y)
    with pytest.warns(UserWarning, match="mean off 1 by more than 0.05"):
        fair = TaskReweighting(Ridge(), task_feature=0).fit(table, y)
    own = np.eye(3, dtype=bool)[tasks]
    # the tasks are alike: what a classifier sees in its own training samples is chance
    assert sure.weights_[own].mean() > 1.3
    assert fair.weights_[own].mean() == pytest.approx(1.0, abs=0.1)


@quiet
@quiet
def test_fewer_samples_than_folds() -> None:
    table, y = X[[0, 1, -2, -1]], Y[[0, 1, -2, -1]]
    with pytest.warns(UserWarning, match="n_folds=5, but tasks of more than one sample have 4 in all"):
        found = TaskReweighting(Ridge(), rescale=True, task_feature=0).fit(table, y)
    plain = TaskReweighting(Ridge(), rescale=True, n_folds=None, task_feature=0).fit(table, y)
    np.testing.assert_array_equal(found.weights_, plain.weights_)


def test_cutting_and_rescaling() -> None:
    cut = TaskReweighting(Ridge(), r_max=1.5, n_folds=None, task_feature=0).fit(X, Y)
    assert cut.weights_.max() == 1.5
    assert (cut.pool_means_ < 0.95).any()
    rescaled = TaskReweighting(Ridge(), r_max=1.5, n_folds=None, rescale=True, task_feature=0).fit(X, Y)
    np.testing.assert_allclose(rescaled.weights_.mean(axis=0), 1.0, rtol=1e-12)
    np.testing.assert_allclose(rescaled.effective_sample_size_, cut.effective_sample_size_, rtol=1e-12)


def test_it_warns_of_tasks_with_few_samples_that_count() -> None:
    generator = np.random.default_rng(3)
    rows = np.concatenate([generator.normal(size=(40, 1)), 50 + generator.normal(size=(3, 1))])
    table = np.column_stack([np.repeat([0, 1], [40, 3]), rows])
    with pytest.warns(UserWarning, match="fewer than 5 effective samples"):
        model = TaskReweighting(Ridge(), n_folds=None, task_feature=0).fit(table, rows[:, 0])
    assert model.effective_sample_size_[1] < 5


@quiet
def test_classes() -> None:
    model = TaskReweighting(LogisticRegression(), features="interaction", task_feature=0).fit(X, LABELS)
    assert is_classifier(model)
    assert list(model.classes_) == ["high", "low"]
    assert set(model.predict(X)) == {"high", "low"}
    assert model.score(X, LABELS) > 0.8
    probabilities = model.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    np.testing.assert_array_equal(probabilities[:, 1] > 0.5, model.decision_function(X) > 0)
    for row in range(0, N, 9):
        own = model.estimators_[TASKS[row]].predict_proba(X[row : row + 1, 1:])
        np.testing.assert_allclose(probabilities[row], own[0], atol=1e-12)


@quiet
def test_what_the_learner_cannot_do_is_not_offered() -> None:
    machine = TaskReweighting(LinearSVC(), task_feature=0).fit(X, LABELS)
    assert not hasattr(machine, "predict_proba")
    assert machine.decision_function(X).shape == (N,)
    assert not hasattr(TaskReweighting(Ridge()), "decision_function")
    assert is_regressor(TaskReweighting(Ridge()))


@quiet
@pytest.mark.parametrize(
    "learner",
    [DecisionTreeRegressor(max_depth=2, random_state=0), make_pipeline(StandardScaler(), Ridge())],
    ids=["tree", "pipeline"],
)
def test_any_learner(learner: BaseEstimator) -> None:
    model = TaskReweighting(learner, features=Nystroem(n_components=10, random_state=0), task_feature=0).fit(X, Y)
    assert model.score(X, Y) > 0.3


@quiet
def test_searches_over_the_learner() -> None:
    search = GridSearchCV(
        TaskReweighting(Ridge(), task_feature=0),
        {"estimator__alpha": [0.1, 10.0], "gamma": [0.0, 1.0]},
        cv=TaskStratifiedKFold(2, task_feature=0),
    ).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@quiet
def test_frames_and_text_labels_of_tasks() -> None:
    frame = pd.DataFrame(X[:, 1:], columns=list("abcdefgh"))
    frame["clinic"] = np.array(["n", "e", "s", "w"])[TASKS]
    model = TaskReweighting(Ridge(), task_feature="clinic", n_folds=None).fit(frame, Y)
    assert list(model.tasks_) == ["e", "n", "s", "w"]
    plain = TaskReweighting(Ridge(), task_feature=0, n_folds=None).fit(X, Y)
    np.testing.assert_allclose(model.predict(frame), plain.predict(X), atol=1e-5)


@quiet
def test_shared_rows_and_missing_labels() -> None:
    table = X[:20, 1:] @ np.random.default_rng(4).normal(size=(8, 3))
    table[2:6, 0] = np.nan
    model = TaskReweighting(Ridge()).fit(X[:20, 1:], table)
    assert model.predict(X[:20, 1:]).shape == (20, 3)
    assert model.weights_.shape == (20, 3, 3)
    assert (model.weights_[2:6, 0] == 0).all()


@quiet
def test_folds_may_be_shuffled() -> None:
    first, again, other = (
        TaskReweighting(Ridge(), task_feature=0, random_state=seed).fit(X, Y).weights_ for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@quiet
def test_a_task_of_one_sample_is_always_in_training() -> None:
    rows, y = np.vstack([X, [9, *X[0, 1:]]]), np.append(Y, 1.0)
    model = TaskReweighting(Ridge(), task_feature=0).fit(rows, y)
    assert model.weights_[-1, 4] > 0
    assert (model.weights_[:, 4] > 0).all()


@quiet
def test_a_task_without_labels_is_fitted_on_the_pool() -> None:
    table = X[:20, 1:] @ np.random.default_rng(5).normal(size=(8, 3))
    table[:, 1] = np.nan
    with pytest.warns(UserWarning, match="no labels"):
        model = TaskReweighting(Ridge()).fit(X[:20, 1:], table)
    pooled = Ridge().fit(np.tile(X[:20, 1:], (2, 1)), table[:, [0, 2]].T.ravel())
    np.testing.assert_allclose(model.estimators_[1].coef_, pooled.coef_, atol=1e-10)


@quiet
def test_new_tasks_get_the_mean_of_all() -> None:
    model = TaskReweighting(Ridge(), task_feature=0, unknown_task="mean").fit(X, Y)
    rows = X[:3, 1:]
    mean = np.mean([learner.predict(rows) for learner in model.estimators_], axis=0)
    np.testing.assert_allclose(model.predict(np.column_stack([np.full(3, 9), rows])), mean, atol=1e-12)
    with pytest.raises(TaskError, match="9"):
        model.set_params(unknown_task="error").predict([[9, *rows[0]]])


def test_learners_without_weights_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match="KNeighborsRegressor takes no sample_weight"):
        TaskReweighting(KNeighborsRegressor(), task_feature=0).fit(X, Y)
    with pytest.raises(TypeError, match="KNeighborsRegressor takes no sample_weight"):
        TaskReweighting(make_pipeline(StandardScaler(), KNeighborsRegressor()), task_feature=0).fit(X, Y)


def test_one_class_among_the_samples_that_count() -> None:
    labels = np.where(TASKS == 1, "low", LABELS)
    with pytest.raises(DataError, match="task 1 has a single class"):
        TaskReweighting(LogisticRegression(), task_classifier=Certain(), n_folds=None, task_feature=0).fit(X, labels)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"gamma": 1.5}, "gamma=1.5; expected a number from 0"),
        ({"r_max": 0.5}, "r_max=0.5"),
        ({"n_folds": 1}, "n_folds=1"),
        ({"features": "kernel"}, "features='kernel'"),
        ({"features": 3}, "features=3"),
        ({"unknown_task": "pool"}, "unknown_task='pool'"),
    ],
    ids=["gamma", "cut", "folds", "word", "number", "unknown"],
)
def test_bad_parameters(changed: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        TaskReweighting(Ridge(), task_feature=0, **changed).fit(X, Y)  # type: ignore[arg-type]


def test_the_learner_given_is_not_touched() -> None:
    learner = Ridge()
    TaskReweighting(learner, gamma=0.0, n_folds=None, task_feature=0).fit(X, Y)
    assert not hasattr(learner, "coef_")
    assert clone(TaskReweighting(LinearRegression())).estimator is not None


@quiet
class TestLaws(EstimatorLaws):
    is_certified = False
    is_linear = False
    averages_scale = False  # the classifier of tasks has a penalty
    out_of_range = {"gamma": (-0.1, 2.0), "r_max": (0.0,), "n_folds": (1, 0.5), "features": ("kernel",)}

    def make_estimator(self) -> TaskReweighting:
        return TaskReweighting(Ridge(), n_folds=None)


@quiet
class TestLawsOfClassifiers(EstimatorLaws):
    is_certified = False
    is_linear = False
    averages_scale = False

    def make_estimator(self) -> TaskReweighting:
        return TaskReweighting(LogisticRegression(tol=1e-8), n_folds=None)
