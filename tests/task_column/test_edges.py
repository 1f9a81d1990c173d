"""What every estimator of several tasks does at the edges of its input: the same refusals, in the same words."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone, is_classifier
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils import get_tags

from taskloom import linear
from taskloom.cluster import SharedSubspaceClustering
from taskloom.gp import ICMGaussianProcess
from taskloom.instance import TaskReweighting
from taskloom.kernel import MultiTaskKernelRidge, MultiTaskKernelRidgeCV, MultiTaskSVC, MultiTaskSVR

pytestmark = pytest.mark.filterwarnings("ignore:.*hyperparameters had not converged", "ignore:.*have a mean off 1")

RNG = np.random.default_rng(29)
TASKS = np.repeat([0, 1, 2], [11, 12, 9])
FEATURES = RNG.normal(size=(32, 4)) + 1.0
NUMBERS = FEATURES @ [1.0, -1.0, 0.5, 0.0] + TASKS + 0.3 * RNG.normal(size=32)
MEDIANS = np.array([np.median(NUMBERS[:11]), np.median(NUMBERS[11:23]), np.median(NUMBERS[23:])])
CLASSES = (MEDIANS[TASKS] < NUMBERS).astype(int)
X = np.column_stack([TASKS, FEATURES])

# Beside the linear models, whose edges are tested with them.
OTHERS: dict[str, Any] = {
    "svc": MultiTaskSVC(),
    "svr": MultiTaskSVR(),
    "kernel_ridge": MultiTaskKernelRidge(),
    "kernel_ridge_cv": MultiTaskKernelRidgeCV(),
    "process": ICMGaussianProcess(kernel=RBF(2.0), max_iter=15),
    "reweighting": TaskReweighting(Ridge(), n_folds=None),
    "reweighting classifier": TaskReweighting(LogisticRegression(tol=1e-8), n_folds=None),
    "bayes": linear.HierarchicalBayes(),
    "go_mtl": linear.GOMTL(2),
    "go_mtl classifier": linear.GOMTLClassifier(2),
    "wasserstein": linear.MultiTaskWasserstein(),
    "wasserstein classifier": linear.MultiTaskWassersteinClassifier(tol=1e-10),
    "clusters": SharedSubspaceClustering(2, n_components=1),
}
SOURCES = {"sources": linear.IncompleteMultiSource(), "sources classifier": linear.IncompleteMultiSourceClassifier()}
LINEAR: dict[str, Any] = {
    "group_lasso": linear.MultiTaskGroupLasso(),
    "group_lasso classifier": linear.MultiTaskGroupLassoClassifier(),
    "lasso": linear.MultiTaskLasso1(),
    "dirty": linear.DirtyModel(),
    "stages": linear.MultiStageFeature(),
    "trace": linear.TraceNorm(),
    "squared_trace": linear.SquaredTraceNorm(),
    "sparse_low_rank": linear.SparseLowRank(),
    "robust_low_rank": linear.RobustLowRank(),
    "robust_feature": linear.RobustFeature(),
    "coupled": linear.TaskCoupledRidge(),
    "mean": linear.MeanRegularized(),
    "mean classifier": linear.MeanRegularizedClassifier(),
    "graph": linear.GraphRegularized(graph="path"),
    "known_clusters": linear.ClusteredTasks(2),
    "temporal": linear.TemporalGroupLasso(),
    "fused": linear.FusedSparseGroupLasso(),
    "mean_cv": linear.MeanRegularizedCV(),
    "group_lasso_cv": linear.MultiTaskGroupLassoCV(),
}
WITH_COLUMN = {**OTHERS, **LINEAR}
ALL = {**WITH_COLUMN, **SOURCES}
LABELLED = [name for name in ALL if name != "clusters"]
SUPERVISED = [name for name in OTHERS if name != "clusters"]
CLASSIFIERS = [name for name in ALL if is_classifier(ALL[name])]


def labels(name: str) -> Any:
    return CLASSES if is_classifier(ALL[name]) else NUMBERS


def table(name: str) -> Any:
    return FEATURES if name in SOURCES else X


def new(name: str, **parameters: Any) -> Any:
    column = {} if name in SOURCES else {"task_feature": 0}
    return clone(ALL[name]).set_params(**{**column, **parameters})


def respond(fitted: Any, rows: Any) -> Any:
    """Predictions, those of classifiers before they are rounded."""
    method = fitted.decision_function if hasattr(fitted, "decision_function") else fitted.predict
    return np.asarray(method(rows))


def put(values: Any, place: Any, value: Any) -> Any:
    found = np.array(values, dtype=np.float64)
    found[place] = value
    return found


def in_objects(parts: list[Any]) -> Any:
    found = np.empty(len(parts), dtype=object)
    found[:] = parts
    return found


# -- fit refuses, and says what it found and what to do -------------------------------------------------------------

TABLES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "NaN": (lambda X: put(X, (4, 2), np.nan), "X contains NaN"),
    "infinity": (lambda X: put(X, (4, 2), np.inf), "X contains infinity"),
    "text": (lambda X: np.where(np.arange(X.shape[1]) == 2, "low", X.astype(object)), "X does not hold numbers.*'low'"),
    "list of arrays": (lambda X: [X[:11], X[11:]], "X is a list of 2 arrays; expected one table"),
    "object array of arrays": (lambda X: in_objects([X[:11], X[11:]]), "X is an object array of 2 arrays; expected"),
    "dict of arrays": (lambda X: {"north": X[:11], "south": X[11:]}, "X is a dict of 2 entries; expected one table"),
    "three axes": (lambda X: np.stack([X, X]), r"X is an array of shape \(2, 32, .\); expected one table"),
    "one axis": (lambda X: X[:, 1], "2D array|X has 1 axes; expected a table of two"),
    "no rows": (lambda X: X[:0], "0 sample"),
    "fewer rows": (lambda X: X[:-1], "inconsistent numbers of samples"),
}
COLUMNS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "scaled": (lambda X: X / 3, r"non-integer values; was X scaled\? use TaskStandardScaler.*0\.333333 in row 11"),
    "NaN": (lambda X: put(X, (3, 0), np.nan), "task column holds nan in row 3; every row belongs to a task"),
    "alone": (lambda X: X[:, :1], "0 feature"),
    "text and numbers": (lambda X: np.column_stack([in_objects(["a", *X[1:, 0]]), X[:, 1:]]), "mixes text and numbers"),
}
TARGETS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "NaN": (lambda y: put(y, 4, np.nan), r"y contains NaN.*row 4"),
    "infinity": (lambda y: put(y, 4, np.inf), "y contains infinity"),
    "None": (lambda y: in_objects([None, *y[1:]]), "y contains NaN.*row 0"),
    "None among text": (lambda y: in_objects([None, *np.where(y[1:] > 0.5, "a", "b")]), "text|does not hold numbers"),
    "fewer": (lambda y: y[:-1], "inconsistent numbers of samples"),
    "two columns": (lambda y: np.column_stack([y, y]), r"y has shape \(32, 2\).*one label"),
    "list of arrays": (
        lambda y: [y[:11], y[11:]],
        "y is a list of 2 arrays; expected one label for each row|inhomogen",
    ),
    "nothing": (lambda y: None, "requires y to be passed"),
}
WEIGHTS: dict[str, tuple[Any, str]] = {
    "negative": (put(np.ones(32), 4, -1), r"sample_weight is negative in row 4 \(-1\); expected numbers of at least 0"),
    "NaN": (put(np.ones(32), 4, np.nan), "sample_weight contains NaN"),
    "infinity": (put(np.ones(32), 4, np.inf), "sample_weight contains infinity"),
    "all zero": (np.zeros(32), "sample_weight is zero for every label"),
    "fewer": (np.ones(31), r"sample_weight has shape \(31,\); expected \(32,\)"),
    "two columns": (np.ones((32, 2)), r"sample_weight has shape \(32, 2\); expected \(32,\)"),
    "text": (np.full(32, "a"), "sample_weight does not hold numbers"),
}


@pytest.mark.parametrize("case", TABLES)
@pytest.mark.parametrize("name", ALL)
def test_a_table_that_is_none(name: str, case: str) -> None:
    change, message = TABLES[case]
    if name in SOURCES and case == "NaN":
        pytest.skip("rows may lack whole sources")
    if name == "clusters" and case == "fewer rows":
        pytest.skip("it looks at no labels")
    with pytest.raises(ValueError, match=message) as caught:
        new(name).fit(change(table(name)), labels(name))
    if "expected one table" in message:
        assert ("numpy.hstack" if name in SOURCES else "X, y = stack_tasks(Xs, ys)") in str(caught.value)


@pytest.mark.parametrize("case", COLUMNS)
@pytest.mark.parametrize("name", WITH_COLUMN)
def test_a_task_column_that_is_none(name: str, case: str) -> None:
    change, message = COLUMNS[case]
    with pytest.raises(ValueError, match=message):
        new(name).fit(change(X), labels(name))


@pytest.mark.parametrize("case", TARGETS)
@pytest.mark.parametrize("name", LABELLED)
def test_labels_that_are_none(name: str, case: str) -> None:
    change, message = TARGETS[case]
    with pytest.raises(ValueError, match=message):
        new(name).fit(table(name), change(labels(name)))


@pytest.mark.parametrize("case", WEIGHTS)
@pytest.mark.parametrize("name", LABELLED)
def test_weights_that_are_none(name: str, case: str) -> None:
    weights, message = WEIGHTS[case]
    with pytest.raises(ValueError, match=message):
        new(name).fit(table(name), labels(name), sample_weight=weights)


@pytest.mark.parametrize("name", LABELLED)
def test_labels_of_the_wrong_kind(name: str) -> None:
    if is_classifier(ALL[name]):
        with pytest.raises(ValueError, match="Unknown label type: continuous"):
            new(name).fit(table(name), NUMBERS)
        with pytest.raises(ValueError, match=r"Only binary classification.*0, 1, 2"):
            new(name).fit(table(name), np.arange(32) % 3)
    else:
        with pytest.raises(ValueError, match="y does not hold numbers"):
            new(name).fit(table(name), np.where(CLASSES, "high", "low"))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_one_class_only(name: str) -> None:
    with pytest.raises(ValueError, match=r"one class|single class"):
        new(name).fit(table(name), np.ones(32, dtype=int))


def test_one_class_in_a_task() -> None:
    """Where every task has an intercept of its own it has no best value; elsewhere the other tasks say the rest."""
    classes = np.where(TASKS == 1, 1, CLASSES)
    for name in ("go_mtl classifier", "wasserstein classifier", "group_lasso classifier", "mean classifier"):
        with pytest.raises(ValueError, match=r"task 1 has a single class.*single_class=\"constant\""):
            new(name).fit(X, classes)
        constant = new(name, single_class="constant").fit(X, classes)
        assert (constant.predict(X)[TASKS == 1] == 1).all()
    for name in ("svc", "reweighting classifier"):
        assert np.isfinite(respond(new(name).fit(X, classes), X)).all()


@pytest.mark.parametrize("name", [name for name in ALL if not get_tags(ALL[name]).input_tags.sparse])
def test_sparse_tables_where_none_is_taken(name: str) -> None:
    with pytest.raises(TypeError, match=r"Sparse data was passed for X, but dense data is required.*toarray\(\)"):
        new(name).fit(csr_array(table(name)), labels(name))


# -- predict refuses ------------------------------------------------------------------------------------------------

ASKED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "NaN": (lambda X: put(X, (1, 2), np.nan), "X contains NaN"),
    "infinity": (lambda X: put(X, (1, 2), np.inf), "X contains infinity"),
    "fewer columns": (lambda X: X[:, :3], "X has 3 features, but .* is expecting"),
    "one row": (lambda X: X[0], r"reshape\(1, -1\)"),
    "list of arrays": (lambda X: [X, X], "X is a list of 2 arrays; expected one table"),
}
ASKED_COLUMN: dict[str, tuple[Callable[[Any], Any], str]] = {
    "scaled": (lambda X: X + 0.5, r"non-integer values; was X scaled\? use TaskStandardScaler.*0\.5 in row 0"),
    "text": (lambda X: np.column_stack([np.full(3, "north", dtype=object), X[:, 1:]]), "write the labels as in fit"),
    "unseen": (lambda X: put(X, (1, 0), 17), r"not in the data of fit: 17 \(fitted: 0, 1, 2\).*TaskStratifiedKFold"),
}


@pytest.mark.parametrize("name", [*OTHERS, *SOURCES])
def test_rows_that_cannot_be_predicted(name: str) -> None:
    fitted = new(name).fit(table(name), labels(name))
    for change, message in [*ASKED.values(), *([] if name in SOURCES else ASKED_COLUMN.values())]:
        with pytest.raises(ValueError, match=message):
            fitted.predict(change(table(name)[:3]))


@pytest.mark.parametrize("name", OTHERS)
def test_unseen_tasks_and_what_else_there_is(name: str) -> None:
    """The message names a way that the estimator has, and this way answers; for the tasks of fit nothing changes."""
    fitted = new(name).fit(X, labels(name))
    asked = put(X[:3], (1, 0), 17)
    other = "shared" if name == "clusters" else "mean"
    with pytest.raises(ValueError, match=f'unknown_task="{other}"'):
        fitted.predict(asked)
    with pytest.raises(ValueError, match=rf'unknown_task=\'guess\'; expected "error" or "{other}"'):
        new(name, unknown_task="guess").fit(X, labels(name))
    found = respond(new(name, unknown_task=other).fit(X, labels(name)), asked)
    assert np.isfinite(found).all()
    assert_array_equal(found[[0, 2]], respond(fitted, X[:3])[[0, 2]])


# -- legal, if odd --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OTHERS)
def test_labels_of_tasks_and_tables_of_objects(name: str) -> None:
    expected = respond(new(name).fit(X, labels(name)), X)
    names = np.array(["north", "south", "west"])[TASKS].astype(object)
    text = np.column_stack([names, FEATURES])
    assert_allclose(respond(new(name).fit(text, labels(name)), text), expected, atol=1e-8)
    objects = X.astype(object)
    assert_allclose(respond(new(name).fit(objects, labels(name).astype(object)), objects), expected, atol=1e-8)
    if is_classifier(ALL[name]):
        words = np.where(CLASSES, "yes", "no")
        assert_allclose(respond(new(name).fit(X, words), X), expected, atol=1e-8)
        assert set(new(name).fit(X, words.astype(object)).predict(X)) <= {"yes", "no"}


@pytest.mark.parametrize("name", OTHERS)
def test_tasks_of_one_row_constant_columns_and_few_rows(name: str) -> None:
    y = labels(name)
    single = {} if name not in ("go_mtl classifier", "wasserstein classifier") else {"single_class": "constant"}
    one = np.vstack([X, [[9, 1.0, 2.0, 3.0, 4.0]]])
    constant = X.copy()
    constant[:, 4], constant[TASKS == 0, 2] = 3.0, -2.0
    wide = np.column_stack([X, np.random.default_rng(5).normal(size=(32, 60))])
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for rows, targets in ((one, np.append(y, y[0])), (constant, y), (wide, y)):
            answers = respond(new(name, **single).fit(rows, targets), rows)
            assert not np.isnan(answers).any()
            assert np.isfinite(answers[:32]).all()


@pytest.mark.parametrize("name", OTHERS)
def test_a_single_task_in_all_forms(name: str) -> None:
    rows, y = FEATURES[:11], labels(name)[:11]
    long = respond(new(name).fit(X[:11], y), X[:11])
    plain = new(name, task_feature=None)
    assert_allclose(respond(clone(plain).fit(rows, y), rows), long, atol=1e-8)
    if name != "clusters":
        column = respond(clone(plain).fit(rows, y[:, None]), rows)
        assert column.shape == (11, 1)
        assert_allclose(column[:, 0], long, atol=1e-8)


@pytest.mark.parametrize("name", SUPERVISED)
def test_missing_labels(name: str) -> None:
    """They are the rows that the long table lacks; a task without any is predicted from the others; none is no data."""
    rows, y = FEATURES[:11], np.column_stack([labels(name)[:11], labels(name)[11:22]]).astype(float)
    y[2:5, 1] = np.nan
    one = {"alphas": [0.1]} if name == "kernel_ridge_cv" else {}  # rows and labels left out choose different ones
    wide = new(name, task_feature=None, **one).fit(rows, y)
    there = ~np.isnan(y.T.ravel())
    stacked = np.column_stack([np.repeat([0, 1], 11), np.vstack([rows, rows])])
    long = new(name, **one).fit(stacked[there], y.T.ravel()[there])
    assert_allclose(respond(wide, rows).T.ravel(), respond(long, stacked), atol=1e-7)
    with pytest.warns(UserWarning, match="no labels .* for the tasks 2"):
        third = new(name, task_feature=None).fit(rows, np.column_stack([y, np.full(11, np.nan)]))
    assert third.predict(rows).shape == (11, 3)
    assert np.isfinite(respond(third, rows)).all()
    for value, message in ((np.nan, "every label of y is missing"), (np.inf, "y contains infinity")):
        with pytest.raises(ValueError, match=message):
            new(name, task_feature=None).fit(rows, np.full((11, 2), value))
    if is_classifier(ALL[name]):
        with pytest.raises(ValueError, match="use task_scores"):
            wide.score(rows, y)
    else:
        assert np.isfinite(wide.score(rows, y))


@pytest.mark.parametrize("name", [*SUPERVISED, *SOURCES])
def test_weights_are_counts_of_rows(name: str) -> None:
    """0 is a row that is not there, 2 one that is there twice; a task of zeros is one without labels."""
    rows, y = table(name), labels(name)
    counts = np.random.default_rng(3).integers(0, 3, 32)
    weighted = new(name).fit(rows, y, sample_weight=counts.astype(float))
    repeated = new(name).fit(np.repeat(rows, counts, axis=0), np.repeat(y, counts))
    assert_allclose(respond(weighted, rows), respond(repeated, rows), rtol=1e-5, atol=1e-6)
    if name in SOURCES:
        return
    with pytest.warns(UserWarning, match="no labels .* for the tasks 2"):
        without = new(name).fit(X, y, sample_weight=(TASKS < 2).astype(float))
    assert without.tasks_.tolist() == [0, 1, 2]
    assert np.isfinite(respond(without, X)).all()


# -- parameters out of range ----------------------------------------------------------------------------------------

RANGES: dict[str, dict[str, tuple[Any, ...]]] = {
    "svc": {
        "C": (0.0, -1.0, math.inf),
        "mu": (0.0, -1.0),
        "gamma": (-1.0, "wide", [1.0]),
        "degree": (-1,),
        "offset": (-1.0,),
        "kernel": ("rbff", 3),
        "task_kernel": ("tree", np.eye(2), -np.eye(3), [["a"]]),
        "tol": (0.0,),
    },
    "svr": {"C": (0.0,), "epsilon": (-0.1, math.inf), "mu": (0.0,), "task_kernel": ([[1.0], [1.0, 2.0]],)},
    "kernel_ridge": {
        "alpha": (0.0, -1.0, math.inf),
        "coupling": (0.0, -1.0),
        "graph": ("path", -np.ones((3, 3)), np.eye(2)),
        "task_precision": ("identity", -np.eye(3), np.eye(4)),
        "loss_weights": ("rows", [1.0], [1.0, -1.0, 1.0]),
    },
    "kernel_ridge_cv": {"alphas": ([], [0.0], "all", [-1.0]), "average": ("median",)},
    "process": {
        "rank": (-1, 4, 0.5),
        "noise": (0.0, -1.0, [0.1], "low"),
        "task_variances": (-1.0, [1.0], "low"),
        "task_factors": (np.ones((3, 2)), "alike", np.full((3, 1), np.nan)),
        "max_iter": (0,),
        "n_restarts": (-1,),
        "kernel": ("rbf",),
    },
    "reweighting": {
        "gamma": (-0.1, 1.5),
        "r_max": (0.5, -math.inf),
        "n_folds": (1, 0.5, "all"),
        "features": ("kernel", 3),
        "task_classifier": (Ridge(), "logistic"),
    },
    "bayes": {
        "prior_degrees": (4.0, math.inf, "many"),
        "prior_scale": (0.0, -np.eye(5), np.eye(3), "wide"),
        "covariance": ("banded",),
        "start": (3.0, "prior"),
        "max_iter": (0, 1.5),
        "tol": (0.0,),
    },
    "go_mtl": {"n_latent": (0, 4, 1.5), "alpha_sparse": (0.0, -1.0), "alpha_basis": (0.0, -1.0), "max_iter": (0, 1.5)},
    "wasserstein classifier": {"alpha_transport": (0.0,), "single_class": ("guess",), "max_iter": (0, 1.5)},
    "wasserstein": {
        "alpha_sparse": (-1.0, math.inf),
        "alpha_transport": (0.0, -1.0),
        "epsilon": (0.0,),
        "gamma": (0.0,),
        "cost": (np.eye(4), np.zeros((3, 3)), "line"),
    },
    "sources": {
        "alpha": (-1.0,),
        "q": (0.5, "max"),
        "sources": (["a", "b"],),
        "loss_weights": ("rows",),
        "unknown_pattern": ("guess",),
    },
    "sources classifier": {"single_class": ("guess",), "max_iter": (0, 1.5)},
    "clusters": {
        "n_clusters": (0, 33, 1.5),
        "n_components": (0, 5),
        "within_weight": (-0.1, 1.5),
        "n_init": (0,),
        "max_iter": (0,),
    },
}


@pytest.mark.parametrize(("name", "parameter"), [(name, one) for name, ranges in RANGES.items() for one in ranges])
def test_parameters_out_of_range(name: str, parameter: str) -> None:
    for value in RANGES[name][parameter]:
        with pytest.raises(ValueError, match=rf"\b{parameter}\b.*(expected|kernel over tasks|is unknown|eigenvalue)"):
            new(name, **{parameter: value}).fit(table(name), labels(name))


@pytest.mark.parametrize("name", ALL)
def test_numbers_that_are_none(name: str) -> None:
    """Whatever is a number by default is refused by its name where it is text, a truth value or not a number."""
    for parameter, default in ALL[name].get_params(deep=False).items():
        if isinstance(default, bool) or not isinstance(default, int | float) or parameter == "random_state":
            continue
        for value in ("many", True, np.nan):
            if parameter == "noise" or (parameter == "task_variances" and value is True):
                continue  # one for each task is legal too
            with pytest.raises(ValueError, match=rf"\b{parameter}\b"):
                new(name, **{parameter: value}).fit(table(name), labels(name))


# Parameters of which nothing would come beside others; what makes them useless is said.
UNUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "mu, numbers": (MultiTaskSVR(), {"task_kernel": np.eye(3), "mu": 0.5}, "mu=0.5 .* beside a task_kernel of numbers"),
    "coupling": (
        MultiTaskKernelRidge(),
        {"task_precision": np.eye(3), "coupling": 4.0},
        "coupling=4.0 .* beside a task_precision",
    ),
    "coupling, cv": (
        MultiTaskKernelRidgeCV(),
        {"task_precision": np.eye(3), "coupling": 4.0},
        "coupling=4.0 .* beside a task_precision",
    ),
    "restarts": (
        ICMGaussianProcess(),
        {"optimise": False, "n_restarts": 1},
        "n_restarts=1 .* beside optimise=False",
    ),
    "form": (
        linear.HierarchicalBayes("diagonal"),
        {"start": linear.TaskPrior(np.zeros(5), np.eye(5), 1.0), "optimise": False},
        "covariance='diagonal' .* beside a start that is kept",
    ),
    "mean": (
        linear.ClusteredTasks(2),
        {"formulation": "cmtl", "eps_mean": 0.05},
        r"eps_mean=0.05 .* beside formulation=\"cmtl\"",
    ),
    "turns": (linear.ClusteredTasks(2), {"n_init": 3}, "n_init=3 .* beside relaxation=True"),
    "turns, known": (linear.ClusteredTasks(), {"clusters": [0, 1, 1], "n_init": 3}, "n_init=3 .* beside clusters"),
    "relaxation, known": (
        linear.ClusteredTasksClassifier(),
        {"clusters": [0, 1, 1], "relaxation": False},
        "relaxation=False .* beside clusters",
    ),
    "trace": (linear.SparseLowRank(), {"tau": 2.0, "alpha_trace": 0.5}, "alpha_trace=0.5 .* beside tau=2"),
    "trace classifier": (linear.SparseLowRankClassifier(), {"tau": 2.0, "alpha_trace": 0.1}, "alpha_trace=0.1"),
    "length": (linear.MultiTaskGroupLassoCV(), {"alphas": [0.1], "n_alphas": 5}, "n_alphas=5 .* beside alphas"),
    "end": (linear.DirtyModelCV(), {"alphas": [0.1], "eps": 0.1}, "eps=0.1 .* beside alphas"),
    "one fold": (
        linear.TraceNormCV(),
        {"cv": [(np.arange(0, 32, 2), np.arange(1, 32, 2))], "one_standard_error": True},
        "one_standard_error=True, but cv gives one fold",
    ),
}


@pytest.mark.parametrize("case", UNUSED)
def test_parameters_of_which_nothing_would_come(case: str) -> None:
    model, parameters, message = UNUSED[case]
    y = CLASSES if is_classifier(model) else NUMBERS
    with pytest.raises(ValueError, match=message):
        clone(model).set_params(task_feature=0, **parameters).fit(X, y)


def test_the_defaults_of_unused_parameters_are_no_wish() -> None:
    for model in (
        MultiTaskSVR(task_kernel=np.eye(3), mu=1),
        MultiTaskKernelRidge(task_precision=np.eye(3), coupling=10),
        linear.SparseLowRankClassifier(tau=2.0, alpha_trace=0.01),
        linear.ClusteredTasks(clusters=[0, 1, 1], n_init=10),
    ):
        y = CLASSES if is_classifier(model) else NUMBERS
        assert np.isfinite(respond(clone(model).set_params(task_feature=0).fit(X, y), X)).all()


@pytest.mark.parametrize("name", ["process", "bayes"])
def test_deviations_without_noise_where_none_are_asked_for(name: str) -> None:
    fitted = new(name).fit(X, NUMBERS)
    with pytest.raises(ValueError, match="include_noise=False does nothing beside return_std=False"):
        fitted.predict(X, include_noise=False)
    for argument in ("return_std", "include_noise"):
        with pytest.raises(ValueError, match=f"{argument}='no'; expected True or False"):
            fitted.predict(X, **{argument: "no"})


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if "single_class" in ALL[name].get_params()])
def test_one_class_without_intercepts(name: str) -> None:
    """It has a best value then, unless the user wants it constant."""
    if name in SOURCES:
        rows, classes = put(FEATURES, (slice(0, 11), slice(0, 2)), np.nan), np.where(TASKS == 0, 1, CLASSES)
    else:
        rows, classes = X, np.where(TASKS == 0, 1, CLASSES)
    constant = new(name, single_class="constant", fit_intercept=False).fit(rows, classes)
    assert (constant.predict(rows)[:11] == 1).all()
    assert np.isinf(constant.decision_function(rows)[:11]).all()
    free = new(name, single_class="error", fit_intercept=False).fit(rows, classes)
    assert np.isfinite(free.decision_function(rows)).all()


def flags(name: str) -> list[str]:
    parameters = ALL[name].get_params(deep=False).items()
    return [parameter for parameter, default in parameters if isinstance(default, bool)]


@pytest.mark.parametrize(("name", "parameter"), [(name, one) for name in ALL for one in flags(name)])
def test_flags_that_are_none(name: str, parameter: str) -> None:
    """Text would count as true, ``"no"`` too."""
    for value in ("no", None, 2, [True]):
        with pytest.raises(ValueError, match=rf"\b{parameter}=.*expected True or False"):
            new(name, **{parameter: value}).fit(table(name), labels(name))


@pytest.mark.parametrize("name", ALL)
def test_flags_of_other_types(name: str) -> None:
    """Truth values of NumPy and the numbers 0 and 1 are what they say."""
    plain = {one: ALL[name].get_params(deep=False)[one] for one in flags(name)}
    if not plain:
        return
    answers = []
    for kind in (bool, np.bool_, int):
        model = new(name, **{parameter: kind(value) for parameter, value in plain.items()})
        answers.append(respond(model.fit(table(name), labels(name)), table(name)))
    assert_array_equal(answers[1], answers[0])
    assert_array_equal(answers[2], answers[0])


@pytest.mark.parametrize("learner", ["ridge", 3, None], ids=["text", "number", "nothing"])
def test_learners_that_are_none(learner: Any) -> None:
    with pytest.raises(TypeError, match="expected a regressor or a two-class classifier"):
        TaskReweighting(learner, task_feature=0).fit(X, NUMBERS)
