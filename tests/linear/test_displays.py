"""Displays draw what was fitted; drawn without a screen."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from taskloom.errors import DataError
from taskloom.gp import ICMGaussianProcess
from taskloom.kernel import MultiTaskSVR
from taskloom.linear import (
    ClusteredTasks,
    CoefficientDisplay,
    DirtyModel,
    MeanRegularized,
    MultiTaskGroupLasso,
    MultiTaskGroupLassoClassifier,
    MultiTaskLasso1,
    RegularisationPathDisplay,
    SquaredTraceNorm,
    TaskRelationDisplay,
    TraceNorm,
    TraceNormClassifier,
    largest_strength,
)

mpl.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture
def table():
    """Six tasks in two opposed kinds, five features, with a task column of names."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(120, 5)), columns=list("abcde"))
    frame.insert(2, "task", np.array([f"t{number}" for number in range(6)])[np.arange(120) % 6])
    sign = np.where(np.arange(120) % 2 == 0, 1.0, -1.0)
    return frame, sign * (frame["a"] - 2 * frame["d"]) + 0.1 * random.normal(size=120)


@pytest.mark.parametrize("estimator", [TraceNorm(3.0), MultiTaskGroupLasso(2.0), TraceNormClassifier(0.5)])
def test_strength_that_leaves_nothing(estimator, table):
    x, y = table
    y = y > 0 if "Classifier" in type(estimator).__name__ else y
    estimator.set_params(task_feature="task")
    factor = largest_strength(estimator, x, y=y)
    assert not hasattr(estimator, "n_features_in_")
    with pytest.raises(DataError, match="give positive ones"):
        largest_strength(TraceNorm(0.0, task_feature="task"), x, y=y)
    alpha = estimator.alpha
    assert not estimator.set_params(alpha=1.0001 * factor * alpha).fit(x, y).coef_.any()
    assert estimator.set_params(alpha=0.99 * factor * alpha).fit(x, y).coef_.any()


def test_path(table):
    x, y = table
    model = MultiTaskGroupLasso(0.05, task_feature="task", tol=1e-8)
    display = RegularisationPathDisplay.from_estimator(model, x, y=y)
    assert not hasattr(model, "coef_")
    assert display.names == list("abcde")
    assert display.sizes.shape == (30, 5)
    assert not display.sizes[0].any()
    assert (np.diff(display.alphas) < 0).all()
    place = 12
    fitted = MultiTaskGroupLasso(display.alphas[place], task_feature="task", tol=1e-8).fit(x, y)
    np.testing.assert_allclose(display.sizes[place], np.linalg.norm(fitted.coef_, axis=0), atol=1e-4)
    for line, sizes in zip(display.lines_, display.sizes.T, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), sizes)
    assert display.ax_.get_xscale() == "log"
    assert len(display.ax_.lines) == 6  # one marks the strength of the estimator
    _, ax = plt.subplots()
    again = display.plot(ax=ax, largest=1)
    assert again.ax_ is ax
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["d"]


def test_path_of_given_strengths(table):
    x, y = table
    display = RegularisationPathDisplay.from_estimator(
        DirtyModel(task_feature=2), x, y=y, alphas=[0.1, 1.0], parameter="alpha_shared"
    )
    assert display.alphas.tolist() == [1.0, 0.1]
    assert display.names == list("abcde")


def test_paths_that_there_are_not(table):
    x, y = table
    with pytest.raises(DataError, match="no strength that makes all coefficients 0; give the strengths as alphas="):
        RegularisationPathDisplay.from_estimator(MeanRegularized(task_feature="task"), x, y=y)
    with pytest.raises(DataError, match="has no parameter 'alpha'; expected a linear estimator"):
        RegularisationPathDisplay.from_estimator(DirtyModel(task_feature="task"), x, y=y)
    with pytest.raises(DataError, match="of a pipeline the last step"):
        RegularisationPathDisplay.from_estimator(make_pipeline(TraceNorm()), x, y=y)
    for alphas in ([], [0.0], [np.nan]):
        with pytest.raises(DataError, match="expected positive numbers"):
            RegularisationPathDisplay.from_estimator(TraceNorm(task_feature="task"), x, y=y, alphas=alphas)


def test_relations(table):
    x, y = table
    display = TaskRelationDisplay.from_estimator(MeanRegularized(1e-3, coupling=1.0, task_feature="task").fit(x, y))
    kinds = display.order_ % 2
    assert len(np.flatnonzero(np.diff(kinds))) == 1  # tasks of one kind are side by side
    drawn = display.image_.get_array()
    np.testing.assert_allclose(np.diag(drawn), 1.0)
    assert drawn[0, -1] < -0.9
    assert [text.get_text() for text in display.ax_.get_xticklabels()] == [f"t{task}" for task in display.order_]


def test_relations_that_were_learned(table):
    x, y = table
    model = SquaredTraceNorm(task_feature="task").fit(x, y)
    np.testing.assert_array_equal(TaskRelationDisplay.from_estimator(model).relations, model.task_correlation_)
    clustered = ClusteredTasks(2, task_feature="task").fit(x, y)
    display = TaskRelationDisplay.from_estimator(clustered)
    assert (np.diff(clustered.labels_[display.order_]) >= 0).all()
    assert len(display.ax_.lines) == 2  # between the clusters


def test_relations_that_a_process_has_learned(table):
    x, y = table
    process = ICMGaussianProcess(task_feature="task", max_iter=20).fit(x[:60], y[:60])
    display = TaskRelationDisplay.from_estimator(process)
    np.testing.assert_array_equal(display.relations, process.task_correlation_)
    assert display.tasks == [f"t{task}" for task in range(6)]
    kinds = display.order_ % 2
    assert len(np.flatnonzero(np.diff(kinds))) == 1
    with pytest.raises(DataError, match="MultiTaskSVR has no coefficients of several tasks"):
        TaskRelationDisplay.from_estimator(MultiTaskSVR(task_feature="task").fit(x, y))


@pytest.mark.parametrize("model", [TraceNormClassifier(0.05), MultiTaskGroupLassoClassifier(0.05)], ids=repr)
def test_displays_of_classifiers(table, model):
    x, y = table
    model = model.set_params(task_feature="task").fit(x, y > 0)
    assert TaskRelationDisplay.from_estimator(model).relations.shape == (6, 6)
    np.testing.assert_array_equal(CoefficientDisplay.from_estimator(model).coef, model.coef_)
    path = RegularisationPathDisplay.from_estimator(model, x, y=y > 0, alphas=[0.1, 0.05])
    np.testing.assert_allclose(path.sizes[1], np.linalg.norm(model.coef_, axis=0), rtol=1e-2)


@pytest.mark.parametrize(
    "display",
    [
        RegularisationPathDisplay(np.array([1.0, 0.1]), np.array([[0.0], [2.0]])),
        TaskRelationDisplay(np.eye(2), ["a", "b"]),
        CoefficientDisplay(np.eye(2), ["a", "b"]),
    ],
    ids=lambda one: type(one).__name__,
)
def test_every_display_is_drawn_where_one_says(display):
    """``plot`` returns the display; ``ax_`` and ``figure_`` say where it is; without axes it makes its own."""
    figure, ax = plt.subplots()
    assert display.plot(ax=ax) is display
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert display.plot().ax_ is not ax


def test_a_task_without_coefficients_is_like_no_other():
    x = np.random.default_rng(0).normal(size=(40, 3))
    y = np.column_stack([x[:, 0], x[:, 1], 1e-3 * x[:, 2]])
    display = TaskRelationDisplay.from_estimator(MultiTaskLasso1(0.1).fit(x, y))
    assert display.relations[2].tolist() == [0.0, 0.0, 1.0]


def test_relations_that_there_are_not(table):
    x, y = table
    with pytest.raises(NotFittedError):
        TaskRelationDisplay.from_estimator(TraceNorm())
    with pytest.raises(DataError, match="no coefficients of several tasks"):
        TaskRelationDisplay.from_estimator(TraceNorm().fit(x[["a", "b"]], y))


def test_many_tasks_are_not_named():
    display = TaskRelationDisplay(np.eye(50), list(range(50))).plot()
    assert display.ax_.get_xlabel() == "task"
    assert not len(display.ax_.get_xticks())


def test_coefficients(table):
    x, y = table
    model = MultiTaskLasso1(0.2, task_feature="task").fit(x, y)
    display = CoefficientDisplay.from_estimator(model)
    drawn = display.image_.get_array()
    np.testing.assert_array_equal(drawn.mask, model.coef_ == 0)
    np.testing.assert_array_equal(drawn.compressed(), model.coef_[model.coef_ != 0])
    assert display.share_ == np.mean(model.coef_ != 0) < 1
    assert [text.get_text() for text in display.ax_.get_xticklabels()] == list("abcde")
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == [f"t{task}" for task in range(6)]


def test_parts_of_coefficients(table):
    x, y = table
    model = DirtyModel(0.3, task_feature="task").fit(x, y)
    for part in ("shared", "specific"):
        display = CoefficientDisplay.from_estimator(model, part=part)
        np.testing.assert_array_equal(display.coef, getattr(model, f"coef_{part}_"))
    with pytest.raises(DataError, match="part='shared': TraceNorm has no coef_shared_"):
        CoefficientDisplay.from_estimator(TraceNorm(task_feature="task").fit(x, y), part="shared")


def test_all_zero_coefficients_are_drawn(table):
    x, y = table
    display = CoefficientDisplay.from_estimator(MultiTaskLasso1(100.0, task_feature="task").fit(x, y))
    assert display.share_ == 0.0
    assert display.image_.get_array().mask.all()
