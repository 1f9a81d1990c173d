"""Golden values: golden.npz has the entries data/ragged, data/clf, kernel/* of the oracle file of classical methods."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

from taskloom.errors import DataError, TaskError
from taskloom.kernel import MultiTaskKernel, MultiTaskSVC
from taskloom.task_column import TaskStratifiedKFold
from taskloom.testing import EstimatorLaws

GOLDEN = np.load(Path(__file__).with_name("golden.npz"))
X = np.column_stack([GOLDEN["data/clf/task"], GOLDEN["data/clf/X"]])
Y = GOLDEN["data/clf/y"]


def model(**changed: object) -> MultiTaskSVC:
    settings = {"C": 3.0, "kernel": "rbf", "gamma": 0.1, "mu": 2.0, "task_feature": 0, **changed}
    return MultiTaskSVC(settings.pop("C"), **settings)  # type: ignore[arg-type]


def test_golden_values() -> None:
    fitted = model().fit(X, Y)
    assert fitted.objective_ - fitted.dual_gap_ == pytest.approx(float(GOLDEN["kernel/svc_ep/obj"]), rel=1e-8)
    np.testing.assert_allclose(fitted.decision_function(X), GOLDEN["kernel/svc_ep/decision"], atol=1e-5)
    assert fitted.intercept_ == pytest.approx(GOLDEN["kernel/svc_ep/intercept"][0], abs=1e-5)
    dual = np.zeros(len(Y))
    dual[fitted.support_] = fitted.dual_coef_
    np.testing.assert_allclose(dual, GOLDEN["kernel/svc_ep/dual_coef"], atol=1e-4)


@pytest.mark.parametrize("C", [0.01, 1.0, 1e4])
def test_the_certificate_is_small_and_not_negative(C: float) -> None:
    fitted = model(C=C).fit(X, Y)
    assert -1e-12 * fitted.objective_ <= fitted.dual_gap_ <= 1e-8 * fitted.objective_


def test_equals_the_machine_of_scikit_learn_with_the_kernel() -> None:
    own = model().fit(X, Y)
    theirs = SVC(C=3.0, kernel=MultiTaskKernel(mu=2.0, gamma=0.1), tol=1e-9).fit(X, Y)
    np.testing.assert_allclose(own.decision_function(X), theirs.decision_function(X), atol=1e-6)


def test_one_task_is_the_plain_machine() -> None:
    """With one task the kernel is (1 + 1/mu) k."""
    own = MultiTaskSVC(1.0, mu=1.0, gamma=0.2).fit(X[:, 1:], Y)
    plain = SVC(C=2.0, gamma=0.2, tol=1e-9).fit(X[:, 1:], Y)
    np.testing.assert_allclose(own.decision_function(X[:, 1:]), plain.decision_function(X[:, 1:]), atol=1e-6)


def test_weights_are_repetitions_exactly() -> None:
    counts = np.random.default_rng(0).integers(0, 3, size=len(Y))
    weighted = model(gamma="scale").fit(X, Y, sample_weight=counts)
    repeated = model(gamma="scale").fit(np.repeat(X, counts, axis=0), np.repeat(Y, counts))
    np.testing.assert_allclose(weighted.decision_function(X), repeated.decision_function(X), atol=1e-9)


def test_labels_of_tasks_and_classes_are_what_the_user_says() -> None:
    frame = pd.DataFrame(X[:, 1:], columns=list("abcdef"))
    frame.insert(3, "school", np.array(["north", "east", "south"])[X[:, 0].astype(int)])
    fitted = model(task_feature="school").fit(frame, np.where(Y > 0, "yes", "no"))
    np.testing.assert_array_equal(fitted.tasks_, ["east", "north", "south"])
    plain = model().fit(X, Y)
    np.testing.assert_allclose(fitted.decision_function(frame), plain.decision_function(X), atol=1e-9)
    np.testing.assert_array_equal(fitted.predict(frame) == "yes", plain.predict(X) == 1)


def test_shared_rows_and_missing_labels_are_the_long_table() -> None:
    rows = X[:20, 1:]
    labels = np.where(rows @ np.random.default_rng(2).normal(size=(6, 3)) > 0, 1.0, 0.0)
    labels[3:9, 1] = np.nan
    wide = model(task_feature=None).fit(rows, labels)
    long = np.concatenate([np.column_stack([np.full(20, task), rows]) for task in range(3)])
    seen = ~np.isnan(labels.T.ravel())
    tall = model().fit(long[seen], labels.T.ravel()[seen])
    found = wide.decision_function(rows)
    np.testing.assert_allclose(found.T.ravel(), tall.decision_function(long), atol=1e-9)
    assert wide.predict(rows).shape == (20, 3)


def test_a_task_may_have_one_class() -> None:
    labels = np.where(X[:, 0] == 1, 1.0, Y)
    assert set(model().fit(X, labels).predict(X[X[:, 0] == 1])) <= {-1.0, 1.0}


def test_new_tasks_get_the_mean_of_all() -> None:
    fitted = model(unknown_task="mean").fit(X, Y)
    rows = X[:5, 1:]
    new = fitted.decision_function(np.column_stack([np.full(5, 99), rows]))
    each = [fitted.decision_function(np.column_stack([np.full(5, task), rows])) for task in range(3)]
    np.testing.assert_allclose(new, np.mean(each, axis=0), atol=1e-12)
    with pytest.raises(TaskError, match="99"):
        model().fit(X, Y).predict(np.column_stack([np.full(5, 99), rows]))


def test_one_grid_of_kernels_and_their_constants() -> None:
    """Constants that a kernel has not are ignored, as scikit-learn does: a product of both is a grid."""
    folds = TaskStratifiedKFold(2, task_feature=0)
    grid = {"kernel": ["linear", "rbf"], "gamma": [0.1, 1.0]}
    search = GridSearchCV(model(), grid, cv=folds, error_score="raise").fit(X, Y)
    linear = [
        score
        for score, one in zip(search.cv_results_["mean_test_score"], search.cv_results_["params"], strict=True)
        if one["kernel"] == "linear"
    ]
    assert linear[0] == linear[1]


def test_grid_search() -> None:
    folds = TaskStratifiedKFold(2, task_feature=0)
    search = GridSearchCV(model(), {"mu": [0.1, 10.0], "C": [0.1, 1.0]}, cv=folds).fit(X, Y)
    assert search.score(X, Y) > 0.8


def test_a_graph_without_edges_leaves_tasks_alone() -> None:
    free = model(task_kernel="graph", graph=np.zeros((3, 3))).fit(X, Y)
    np.testing.assert_array_equal(free.task_covariance_, np.eye(3))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"C": 0.0}, "C=0.0; expected a number above 0"),
        ({"mu": -1.0}, "mu=-1.0"),
        ({"gamma": "wide"}, "gamma='wide'"),
        ({"kernel": "rbff"}, "Did you mean 'rbf'"),
        ({"kernel": 3}, "kernel=3"),
        ({"unknown_task": "guess"}, "unknown_task='guess'"),
        ({"task_kernel": np.eye(2)}, r"task_kernel has shape \(2, 2\); expected \(3, 3\)"),
        (
            {"graph": np.ones((3, 3))},
            'graph is given, but task_kernel is .mean., .*; set task_kernel="graph", or leave',
        ),
        ({"task_kernel": np.eye(3), "graph": np.ones((3, 3))}, "graph is given, but task_kernel is numbers"),
        ({"task_kernel": "graph", "graph": np.ones((3, 2))}, r"graph has shape \(3, 2\)"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_parameters(changed: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        model(**changed).fit(X, Y)


def test_one_class_in_all_tasks() -> None:
    with pytest.raises(DataError, match="one class"):
        model().fit(X, np.ones(len(Y)))


class TestLaws(EstimatorLaws):
    is_certified = False  # it has no iterations to stop at; the gap is tested above
    is_linear = False
    averages_scale = False
    out_of_range = {"C": (0.0, -1.0), "mu": (0.0,), "gamma": (-1.0, "wide"), "kernel": ("rbff",)}

    def make_estimator(self) -> MultiTaskSVC:
        return MultiTaskSVC(2.0, mu=0.5)
