from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_squared_error, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from taskloom.errors import DataError
from taskloom.linear import MeanRegularized, MeanRegularizedClassifier
from taskloom.task_column import TaskScorer, TaskStandardScaler, TaskStratifiedKFold, make_task_scorer, task_scores

RNG = np.random.default_rng(0)
TASKS = np.repeat([0, 1, 2], 12)
FEATURES = RNG.normal(size=(36, 3))
X = np.column_stack([TASKS, FEATURES])
Y = FEATURES @ [1.0, 2.0, 0.0] + TASKS * FEATURES[:, 0] + 0.1 * RNG.normal(size=36)


def test_one_value_per_task() -> None:
    model = MeanRegularized(0.01, task_feature=0).fit(X, Y)
    found = task_scores(model, X, y=Y, metric=mean_squared_error)
    predicted = model.predict(X)
    expected = {task: np.mean((Y - predicted)[task == TASKS] ** 2) for task in (0, 1, 2)}
    assert found == pytest.approx(expected)
    in_pipeline = make_pipeline(TaskStandardScaler(0), MeanRegularized(0.01, task_feature=0)).fit(X, Y)
    assert list(task_scores(in_pipeline, X, y=Y, metric=r2_score, task_feature=0)) == [0, 1, 2]


def test_shared_rows_with_gaps() -> None:
    targets = np.column_stack([Y, -Y, np.full(36, np.nan)])
    targets[3, 0] = np.nan
    with pytest.warns(UserWarning, match="no labels"):
        model = MeanRegularized(0.01).fit(FEATURES, targets)
    found = task_scores(model, FEATURES, y=targets, metric=mean_squared_error)
    assert list(found) == [0, 1]  # nothing to compare with in the last
    assert found[0] == pytest.approx(np.nanmean((targets - model.predict(FEATURES))[:, 0] ** 2))


def test_means_over_tasks_and_over_rows() -> None:
    model = MeanRegularized(0.01, task_feature=0).fit(X, Y)
    uneven = slice(5, 30)
    values = task_scores(model, X[uneven], y=Y[uneven], metric=mean_squared_error)
    macro, micro = (
        make_task_scorer(mean_squared_error, task_feature=0, average=average, greater_is_better=False)
        for average in ("macro", "micro")
    )
    assert macro(model, X[uneven], Y[uneven]) == pytest.approx(-np.mean(list(values.values())))
    assert micro(model, X[uneven], Y[uneven]) == pytest.approx(-mean_squared_error(Y[uneven], model.predict(X[uneven])))
    assert pickle.loads(pickle.dumps(macro))(model, X, Y) == macro(model, X, Y)


def test_probabilities_of_two_classes() -> None:
    labels = (Y > 0).astype(int)
    model = MeanRegularizedClassifier(0.01, task_feature=0).fit(X, labels)
    found = task_scores(model, X, y=labels, metric=log_loss, response="predict_proba")
    rows = TASKS == 1
    assert found[1] == pytest.approx(log_loss(labels[rows], model.predict_proba(X[rows])[:, 1]))
    two = np.column_stack([labels, 1 - labels])  # as many tasks as classes
    shared = MeanRegularizedClassifier(0.01).fit(FEATURES, two)
    found = task_scores(shared, FEATURES, y=two, metric=log_loss, response="predict_proba")
    assert found[1] == pytest.approx(log_loss(two[:, 1], shared.predict_proba(FEATURES)[:, 1]))


def test_searches_use_it() -> None:
    scorer = make_task_scorer(r2_score, task_feature=0)
    folds = TaskStratifiedKFold(3, task_feature=0)
    search = GridSearchCV(MeanRegularized(task_feature=0), {"alpha": [1e-3, 10.0]}, scoring=scorer, cv=folds).fit(X, Y)
    assert search.best_params_ == {"alpha": 1e-3}
    assert (cross_val_score(MeanRegularized(0.01, task_feature=0), X, Y, cv=folds) > 0.9).all()  # the default score


def test_undefined_values_are_left_out_and_named() -> None:
    model = MeanRegularized(0.01, task_feature=0).fit(X, Y)
    rows = [0, 1, 2, 12, 13, 24]

    def undefined_for_one(true: Any, predicted: Any) -> float:
        return r2_score(true, predicted) if len(true) > 1 else float("nan")

    with pytest.warns(UserWarning, match="undefined for the tasks 2"):
        found = make_task_scorer(undefined_for_one, task_feature=0)(model, X[rows], Y[rows])
    assert np.isfinite(found)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="average='mean'; expected \"macro\""):
        make_task_scorer(r2_score, task_feature=0, average="mean")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="average='mean'; expected \"macro\""):
        TaskScorer(r2_score, task_feature=0, average="mean")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="greater_is_better='no'; expected True or False"):
        make_task_scorer(r2_score, task_feature=0, greater_is_better="no")  # type: ignore[arg-type]
    model = MeanRegularized(0.01, task_feature=0).fit(X, Y)
    with pytest.raises(DataError, match=r"y has shape \(36, 1\) and the predictions have \(36,\)"):
        task_scores(model, X, y=Y[:, None], metric=r2_score)
