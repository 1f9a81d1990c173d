from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC, SVR, OneClassSVM

from taskloom.errors import DataError, TaskError
from taskloom.kernel import MultiTaskKernel
from taskloom.task_column import TaskStandardScaler, stack_tasks

GENERATOR = np.random.default_rng(0)
X = np.column_stack([np.repeat([0, 1, 2], 8), GENERATOR.normal(size=(24, 2))])
Y = X[:, 1] + 0.3 * X[:, 0] * X[:, 2]
LABELS = (Y > 0).astype(int)


def test_same_task_and_other_task() -> None:
    values, base = MultiTaskKernel(mu=2.0, gamma=0.5)(X), rbf_kernel(X[:, 1:], gamma=0.5)
    same = X[:, :1] == X[:, 0]
    np.testing.assert_allclose(values[same], 1.5 * base[same], rtol=1e-14)
    np.testing.assert_allclose(values[~same], 0.5 * base[~same], rtol=1e-14)


def test_the_task_column_is_wherever_it_is_said_to_be() -> None:
    last = np.column_stack([X[:, 1:], X[:, 0]])
    np.testing.assert_array_equal(MultiTaskKernel(task_feature=-1)(last), MultiTaskKernel()(X))


def test_numbers_for_the_tasks_follow_their_labels() -> None:
    B = np.array([[1.0, 0.5, 0.0], [0.5, 2.0, 0.25], [0.0, 0.25, 3.0]])
    plain = MultiTaskKernel("linear", task_kernel=B)(X)
    renamed = np.column_stack([X[:, 0] * 10 + 7, X[:, 1:]])
    np.testing.assert_array_equal(MultiTaskKernel("linear", task_kernel=B, tasks=[7, 17, 27])(renamed), plain)
    swapped = MultiTaskKernel("linear", task_kernel=B[::-1, ::-1], tasks=[27, 17, 7])(renamed)
    np.testing.assert_array_equal(swapped, plain)


def test_a_complete_graph_is_the_mean_up_to_a_factor() -> None:
    mu = 0.7
    graph = MultiTaskKernel(task_kernel="graph", graph=np.ones((3, 3)), mu=mu)(X)
    np.testing.assert_allclose((1 + 3 / mu) * graph, MultiTaskKernel(mu=mu)(X), rtol=1e-12)


def test_parts_of_a_graph_do_not_know_each_other() -> None:
    graph = np.zeros((3, 3))
    graph[0, 1] = graph[1, 0] = 2.0
    values = MultiTaskKernel(task_kernel="graph", graph=graph)(X)
    assert (values[:16, 16:] == 0).all()
    assert (values[:8, 8:16] > 0).all()


@pytest.mark.parametrize("mu", [1e-3, 1.0, 1e3])
def test_positive_semi_definite(mu: float) -> None:
    assert np.linalg.eigvalsh(MultiTaskKernel(mu=mu, offset=1.0)(X))[0] > -1e-10


def test_free_tasks_are_independent() -> None:
    moved = Y.copy()
    moved[X[:, 0] == 2] *= -3.0
    first = X[X[:, 0] == 0]
    machine = KernelRidge(kernel=MultiTaskKernel(mu=1e9, gamma=0.5), alpha=0.1)
    before, after = (clone(machine).fit(X, y).predict(first) for y in (Y, moved))
    np.testing.assert_allclose(before, after, atol=1e-8)
    assert np.abs(machine.set_params(kernel__mu=1.0).fit(X, moved).predict(first) - before).max() > 0.01


def test_tied_tasks_are_one() -> None:
    """With C scaled by mu, small mu is the machine that does not see the tasks."""
    mu = 1e-7
    tied = SVR(kernel=MultiTaskKernel(mu=mu, gamma=0.5), C=5.0 * mu, tol=1e-9).fit(X, Y)
    pooled = SVR(kernel="rbf", gamma=0.5, C=5.0, tol=1e-9).fit(X[:, 1:], Y)
    np.testing.assert_allclose(tied.predict(X), pooled.predict(X[:, 1:]), atol=1e-5)


@pytest.mark.parametrize(
    "machine",
    [
        SVC(kernel=MultiTaskKernel()),
        SVR(kernel=MultiTaskKernel()),
        OneClassSVM(kernel=MultiTaskKernel()),
        KernelRidge(kernel=MultiTaskKernel()),
        GaussianProcessRegressor(kernel=MultiTaskKernel() + WhiteKernel(0.1)),
    ],
    ids=lambda machine: type(machine).__name__,
)
def test_machines_of_scikit_learn_take_it(machine: object) -> None:
    labels = LABELS if isinstance(machine, SVC) else Y
    fitted = clone(machine).fit(X, labels)
    gram = MultiTaskKernel()(X)
    if isinstance(machine, KernelRidge):
        np.testing.assert_allclose(fitted.predict(X), gram @ np.linalg.solve(gram + np.eye(24), Y), rtol=1e-8)
    assert fitted.predict(X).shape == (24,)


def test_standard_deviations_of_a_process_with_it() -> None:
    process = GaussianProcessRegressor(kernel=MultiTaskKernel(mu=0.5) + WhiteKernel(0.1)).fit(X, Y)
    _, deviation = process.predict(np.column_stack([np.full(3, 1.0), 100 + np.eye(3, 2)]), return_std=True)
    np.testing.assert_allclose(deviation**2, 1 + 1 / 0.5 + process.kernel_.k2.noise_level, rtol=1e-6)


def test_searches_and_pipelines_leave_the_column_whole() -> None:
    machine = make_pipeline(TaskStandardScaler(task_feature=0), SVR(kernel=MultiTaskKernel()))
    search = GridSearchCV(machine, {"svr__kernel__mu": [0.1, 10.0], "svr__kernel__gamma": [0.1, 1.0]}, cv=2)
    search.fit(X, Y)
    assert search.predict(X).shape == (24,)
    assert search.best_estimator_[-1].kernel.mu in (0.1, 10.0)


def test_frames_of_numbers_and_stacked_tables() -> None:
    table, y = stack_tasks([X[:8, 1:], X[8:, 1:]], [Y[:8], Y[8:]])
    array = SVR(kernel=MultiTaskKernel()).fit(table, y).predict(table)
    frame = pd.DataFrame(table, columns=["task", "a", "b"])
    np.testing.assert_array_equal(SVR(kernel=MultiTaskKernel()).fit(frame, y).predict(frame), array)


def test_base_kernels_may_be_functions() -> None:
    np.testing.assert_allclose(MultiTaskKernel(RBF(1.0))(X), MultiTaskKernel(gamma=0.5)(X), rtol=1e-12)


def test_a_new_task_has_what_all_share() -> None:
    new = np.column_stack([np.full(4, 9), X[:4, 1:]])
    np.testing.assert_allclose(MultiTaskKernel(mu=2.0)(new, X), 0.5 * rbf_kernel(new[:, 1:], X[:, 1:]), rtol=1e-14)


@pytest.mark.parametrize(
    ("kernel", "table", "error", "message"),
    [
        (MultiTaskKernel(), X + 0.5, TaskError, "non-integer values; was X scaled"),
        (MultiTaskKernel(mu=0.0), X, DataError, "mu=0.0; expected a number above 0"),
        (MultiTaskKernel(task_kernel="graph"), X, DataError, "needs graph="),
        (MultiTaskKernel(task_kernel="graph", graph=-np.ones((3, 3))), X, DataError, "graph holds the weight -1"),
        (MultiTaskKernel(graph=np.ones((3, 3))), X, DataError, "graph is given, but task_kernel is 'mean'"),
        (MultiTaskKernel(task_kernel=np.eye(3), graph=np.ones((3, 3))), X, DataError, "task_kernel is numbers"),
        (MultiTaskKernel(task_kernel="tree"), X, DataError, "task_kernel='tree'"),
        (MultiTaskKernel(task_kernel=-np.eye(3)), X, DataError, "positive semi-definite"),
        (MultiTaskKernel(task_kernel=[[1.0, 0.2], [0.1, 1.0]]), X, DataError, "not symmetric"),
        (MultiTaskKernel(task_kernel=np.eye(2)), X, TaskError, "holds 2, which is none of the 2 tasks"),
        (MultiTaskKernel("gauss"), X, DataError, "kernel='gauss' is unknown"),
        (MultiTaskKernel(lambda a, b: np.ones(3)), X, DataError, r"array of shape \(3,\) for tables of 24 and 24"),
        (MultiTaskKernel(task_feature="school"), X, DataError, "task_feature='school'"),
        (MultiTaskKernel(task_feature=3), X, DataError, "among the 3 columns"),
        (MultiTaskKernel(gamma=-1.0), X, DataError, "gamma=-1.0"),
        (MultiTaskKernel(task_kernel=np.eye(3), mu=0.5), X, DataError, "mu=0.5 does nothing beside a task_ker"),
        (MultiTaskKernel(tasks=[0, 1, 2]), X, DataError, 'tasks=.* does nothing beside task_kernel="mean"'),
        (MultiTaskKernel(), X[0], DataError, "X has 1 axes"),
        (MultiTaskKernel(), [X, X], DataError, r"X is a list of 2 arrays.*stack_tasks\(Xs, ys\)"),
        (MultiTaskKernel(), csr_array(X), DataError, r"X is sparse; expected X.toarray\(\), or MultiTaskSVC"),
        (MultiTaskKernel(), np.where(X == 1, "a", X.astype(object)), DataError, "X does not hold numbers"),
        (MultiTaskKernel(), np.where(np.arange(3) == 0, np.nan, X), TaskError, "task column holds nan in row 0"),
        (MultiTaskKernel(), np.where(np.arange(3) == 1, np.inf, X), ValueError, "infinity"),
        (MultiTaskKernel(offset=-1.0), X, DataError, "offset=-1.0; expected a number of at least 0"),
        (MultiTaskKernel(degree="two"), X, DataError, "degree='two'; expected a number"),
        (MultiTaskKernel(coef0=np.nan), X, DataError, "coef0=nan; expected a finite number"),
        (MultiTaskKernel(task_kernel=[["a"]]), X, DataError, r"task_kernel is \[\['a'\]\]; expected numbers of shape"),
    ],
    ids=[
        "scaled", "mu", "no graph", "signed graph", "graph, mean", "graph, numbers", "word",
        "negative", "asymmetric", "unknown task", "kernel",
        "function", "name", "position", "gamma",
        "unused mu", "unused tasks", "axes", "list", "sparse", "text", "no task", "infinity", "offset",
        "degree", "constant", "text kernel",
    ],
)  # fmt: skip
def test_bad_input(kernel: MultiTaskKernel, table: np.ndarray, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        kernel(table)
