"""What every linear estimator does at the edges: tasks of one row or none, constant columns, one task, few rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning

from taskloom import linear
from taskloom.task_column import TaskStratifiedKFold

RNG = np.random.default_rng(73)
FEATURES = RNG.normal(size=(24, 4)) + 1.0
TASKS = np.repeat([0, 1, 2], [11, 12, 1])
X = np.column_stack([TASKS, FEATURES])
Y = FEATURES @ [1.0, -1.0, 0.5, 0.0] + TASKS + 0.3 * RNG.normal(size=24)
SHARED, GAPS = FEATURES[:12], np.column_stack([Y[:12], Y[12:], np.full(12, np.nan)])

# No information about a task leaves its coefficients at 0, since each costs something by itself.
NORMS: dict[str, Any] = {
    "group_lasso": linear.MultiTaskGroupLasso(0.05),
    "group_lasso_inf": linear.MultiTaskGroupLasso(0.05, q=np.inf, l2=0.1),
    "lasso": linear.MultiTaskLasso1(0.05),
    "dirty": linear.DirtyModel(0.05, alpha_specific=0.04),
    "multi_stage": linear.MultiStageFeature(0.05, theta=5.0),
    "trace": linear.TraceNorm(0.05),
    "squared_trace": linear.SquaredTraceNorm(0.05),
    "sparse_low_rank": linear.SparseLowRank(0.05, alpha_trace=0.08),
    "robust_low_rank": linear.RobustLowRank(0.05, alpha_outlier=0.04),
    "robust_feature": linear.RobustFeature(0.05, alpha_outlier=0.04),
    "go_mtl": linear.GOMTL(2, alpha_sparse=0.05, alpha_basis=0.05),
}
# Or it is filled in from the other tasks.
COUPLINGS: dict[str, Any] = {
    "mean": linear.MeanRegularized(0.05, coupling=5.0),
    "graph": linear.GraphRegularized(0.05, graph="path", coupling=5.0),
    "clusters": linear.ClusteredTasks(2, eps_mean=0.05, eps_between=0.1, eps_within=0.5),
    "known_clusters": linear.ClusteredTasks(clusters=[0, 1, 1], eps_mean=0.05, eps_between=0.1, eps_within=0.5),
    "coupled": linear.TaskCoupledRidge(0.05, task_precision=1.5 * np.eye(3) - 0.4),
    "temporal": linear.TemporalGroupLasso(0.02, alpha_temporal=0.5, alpha_ridge=0.01),
    "fused": linear.FusedSparseGroupLasso(0.02, alpha_fused=0.1, alpha_group=0.02),
    "bayes": linear.HierarchicalBayes(),
}
ALL = {**NORMS, **COUPLINGS}
CLASSIFIERS: dict[str, Any] = {
    name: getattr(linear, f"{type(model).__name__}Classifier")(
        **{key: value for key, value in model.get_params().items() if key != "single_class"}
    )
    for name, model in ALL.items()
    if hasattr(linear, f"{type(model).__name__}Classifier")
}


def fit(model: Any, X: Any, y: Any, **parameters: Any) -> Any:
    return clone(model).set_params(**parameters).fit(X, y)


@pytest.mark.parametrize("name", ALL)
def test_a_task_of_one_row(name: str) -> None:
    """Its centred row is 0: the penalty alone decides, and the intercept meets the row."""
    model = fit(ALL[name], X, Y, task_feature=0, tol=1e-9)
    if name in NORMS:
        assert_allclose(model.coef_[2], 0, atol=1e-9)
    else:
        assert model.coef_[2].any()
    if name != "bayes":
        assert_allclose(model.predict(X[-1:]), Y[-1:], atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_a_task_without_a_label(name: str) -> None:
    with pytest.warns(UserWarning, match="no labels .* for the tasks 2") as caught:
        model = fit(ALL[name], SHARED, GAPS)
    assert sum("no labels" in str(one.message) for one in caught) == 1
    assert model.predict(SHARED).shape == (12, 3)
    assert np.isfinite(model.predict(SHARED)).all()
    if name in NORMS:
        assert_allclose(model.coef_[2], 0, atol=1e-9)
    else:
        assert model.coef_[2].any()
    if name != "bayes":
        assert model.intercept_[2] == 0
    with warnings.catch_warnings():  # and the others are as if it were not there, c_t included
        warnings.simplefilter("ignore")
        others = fit(ALL[name], SHARED, GAPS[:, :2], tol=1e-10) if name in ("lasso", "group_lasso", "trace") else None
        if others is not None:
            assert_allclose(fit(model, SHARED, GAPS, tol=1e-10).coef_[:2], others.coef_, atol=1e-6)


@pytest.mark.parametrize("name", [*ALL, *(f"{name} classifier" for name in CLASSIFIERS)])
def test_constant_columns_and_few_rows(name: str) -> None:
    """Columns that are constant everywhere, or in one task only, and more columns than rows."""
    base = CLASSIFIERS[name.removesuffix(" classifier")] if name.endswith("classifier") else ALL[name]
    wide = np.column_stack([X[:23], np.full(23, 3.0), RNG.normal(size=(23, 20))])
    wide[:11, 2] = -2.0
    y = (Y[:23] > np.repeat([np.median(Y[:11]), np.median(Y[11:23])], [11, 12])) if "classifier" in name else Y[:23]
    other = {"task_precision": 1.5 * np.eye(2) - 0.4} if name.startswith("coupled") else {}
    other |= {"clusters": [0, 1]} if name.startswith("known_clusters") else {}
    model = fit(base, wide, y, task_feature=0, **other)
    assert np.isfinite(model.coef_).all()
    if name != "bayes":
        assert_allclose(model.coef_[:, 4], 0, atol=1e-9)
    if name in ("group_lasso", "group_lasso_inf", "lasso", "dirty", "multi_stage", "robust_feature"):
        assert_allclose(model.coef_[0, 1], 0, atol=1e-9)  # low rank may fill it in


@pytest.mark.parametrize("name", ALL)
def test_a_column_for_a_vector(name: str) -> None:
    with pytest.warns(DataConversionWarning, match="column-vector"):
        long = fit(ALL[name], X, Y[:, None], task_feature=0)
    assert_allclose(long.predict(X), fit(ALL[name], X, Y, task_feature=0).predict(X), atol=1e-9)
    one = {"task_precision": np.eye(1)} if name == "coupled" else {}
    one |= {"clusters": [0]} if name == "known_clusters" else {"n_clusters": 1} if name == "clusters" else {}
    assert fit(ALL[name], FEATURES, Y[:, None], **one).predict(FEATURES).shape == (24, 1)
    assert fit(ALL[name], FEATURES, Y, **one).predict(FEATURES).shape == (24,)


@pytest.mark.parametrize("name", ["group_lasso", "trace", "mean", "clusters", "go_mtl", "bayes"])
def test_tables_of_objects_and_labels_that_are_text(name: str) -> None:
    expected = fit(ALL[name], X, Y, task_feature=0).predict(X)
    assert_allclose(fit(ALL[name], X.astype(object), Y.astype(object), task_feature=0).predict(X), expected, atol=1e-9)
    with pytest.raises(ValueError, match="y does not hold numbers"):
        fit(ALL[name], X, np.where(Y > 0, "high", "low"), task_feature=0)
    if name in CLASSIFIERS:
        text = np.where(Y[:23] > Y[:23].mean(), "high", "low")
        model = fit(CLASSIFIERS[name], X[:23], text, task_feature=0)
        assert set(model.predict(X[:23])) == {"high", "low"}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_large_margins_do_not_overflow(name: str) -> None:
    classes = np.arange(23) % 2
    rows = np.column_stack([X[:23, 0], X[:23, 1:] + np.where(classes, 1e4, -1e4)[:, None]])
    other = {"task_precision": 1.5 * np.eye(2) - 0.4} if name == "coupled" else {}
    other |= {"clusters": [0, 1]} if name == "known_clusters" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        model = fit(CLASSIFIERS[name], rows, classes, task_feature=0, max_iter=200, **other)
        probabilities = model.predict_proba(rows * [1.0, 100.0, 100.0, 100.0, 100.0])
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(probabilities).all()
    assert (model.predict(rows) == classes).all()


@pytest.mark.parametrize("name", ["mean", "trace"])
def test_a_fold_that_lacks_a_task(name: str) -> None:
    """``fit`` takes the tasks that are there; ``predict`` refuses the others, and splitting by task avoids it."""
    model = fit(ALL[name], X[:11], Y[:11], task_feature=0)
    assert model.tasks_.tolist() == [0]
    with pytest.raises(ValueError, match=r"not in the data of fit: 1, 2 .*TaskStratifiedKFold"):
        model.predict(X)
    for train, test in TaskStratifiedKFold(3, task_feature=0).split(X[:23]):
        assert set(TASKS[test]) <= set(TASKS[train])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (linear.MultiTaskGroupLasso(-0.1), "alpha=-0.1; expected a number of at least 0"),
        (linear.MultiTaskGroupLasso(q=0.5), "q=0.5; expected a number from 1 to infinity"),
        (linear.DirtyModel(q=0.9), "q=0.9; expected a number from 1 to infinity"),
        (linear.TraceNorm(-1.0), "alpha=-1.0; expected a number of at least 0"),
        (linear.MeanRegularized(-1.0), "alpha=-1.0; expected a number of at least 0"),
        (linear.MeanRegularized(coupling=0.0), "coupling=0.0; expected a number above 0"),
        (linear.GraphRegularized(graph="path", coupling=-1.0), "coupling=-1.0; expected a number of at least 0"),
        (linear.GraphRegularized(graph=-np.ones((3, 3))), "graph"),
        (linear.ClusteredTasks(4), "n_clusters=4; .*3"),
        (
            linear.TaskCoupledRidge(task_precision=-np.eye(3)),
            "task_precision has the eigenvalue -1; expected a positive definite",
        ),
        (linear.GOMTL(4), "n_latent=4; .*3"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_parameters_out_of_range_say_the_range(model: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(model, X, Y, task_feature=0)


@pytest.mark.parametrize("name", ["group_lasso", "lasso", "dirty", "trace"])
def test_no_penalty_at_all(name: str) -> None:
    """The least-squares solution of each task with the smallest coefficients; classifiers refuse."""
    strengths = [key for key in ALL[name].get_params() if key.startswith("alpha")]
    free = dict.fromkeys(strengths, 0.0)
    with pytest.warns(UserWarning, match="sklearn.linear_model.LinearRegression"):
        model = fit(ALL[name], X, Y, task_feature=0, **free)
    for task in range(3):
        rows, y = FEATURES[task == TASKS], Y[task == TASKS]
        least = np.linalg.lstsq(rows - rows.mean(axis=0), y - y.mean())[0]
        assert_allclose(model.coef_[task], least, atol=1e-9)
    with pytest.raises(ValueError, match="may have no solution"):
        fit(CLASSIFIERS[name], X[:23], Y[:23] > Y[:23].mean(), task_feature=0, **free)


@pytest.mark.parametrize("name", ["group_lasso", "lasso", "dirty", "trace", "robust_low_rank"])
@pytest.mark.parametrize("loss_weights", ["sample", "task", [1.0, 2.0, 5.0]], ids=["sample", "task", "numbers"])
def test_the_largest_strength_is_that_of_its_loss_weights(name: str, loss_weights: Any) -> None:
    """Tasks of different sizes: a grid for one way of weighing them does not serve another."""
    model = clone(ALL[name]).set_params(task_feature=0, loss_weights=loss_weights, tol=1e-10)
    strengths = [key for key in model.get_params() if key.startswith("alpha")]
    factor = linear.largest_strength(model, X, y=Y)
    for share, is_zero in ((1.0, True), (0.999, False)):
        scaled = {key: share * factor * model.get_params()[key] for key in strengths}
        assert (not fit(model, X, Y, **scaled).coef_.any()) == is_zero
