"""Golden values: golden.npz has the entries data/ragged, data/clf, kernel/* of the oracle file of classical methods."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.kernel_ridge import KernelRidge

from taskloom.errors import DataError, TaskError
from taskloom.kernel import MultiTaskKernelRidge
from taskloom.linear import MeanRegularized
from taskloom.testing import EstimatorLaws

GOLDEN = np.load(Path(__file__).with_name("golden.npz"))
TASKS = GOLDEN["data/ragged/task"]
X = np.column_stack([TASKS, GOLDEN["data/ragged/X"]])
Y = GOLDEN["data/ragged/y"]
GENERATOR = np.random.default_rng(5)
ROWS = GENERATOR.normal(size=(14, 3))
TABLE = np.sin(ROWS @ GENERATOR.normal(size=(3, 4))) + np.arange(4)
GRAPH = np.array([[0, 1, 0, 0], [1, 0, 2, 0], [0, 2, 0, 0], [0, 0, 0, 0]], dtype=float)


def model(alpha: float = 0.2, **changed: object) -> MultiTaskKernelRidge:
    settings = {"task_feature": 0, **changed}
    if "task_precision" not in changed:
        settings.setdefault("coupling", 4.0)
    if "kernel" not in changed:
        settings.setdefault("gamma", 0.1)
    return MultiTaskKernelRidge(alpha, **settings)  # type: ignore[arg-type]


def test_golden_values_of_the_gaussian_kernel() -> None:
    fitted = model(fit_intercept=False).fit(X, Y)
    np.testing.assert_allclose(fitted.dual_coef_, GOLDEN["kernel/krr_mean_rbf/dual"], atol=1e-10)
    np.testing.assert_allclose(fitted.predict(X), GOLDEN["kernel/krr_mean_rbf/pred"], atol=1e-10)
    np.testing.assert_allclose(fitted.task_covariance_, GOLDEN["kernel/krr_mean_rbf/B"], atol=1e-14)
    assert fitted.objective_ == pytest.approx(float(GOLDEN["kernel/krr_mean_rbf/obj"]), rel=1e-12)


def test_golden_values_of_the_linear_kernel() -> None:
    fitted = model(kernel="linear", fit_intercept=False).fit(X, Y)
    np.testing.assert_allclose(fitted.coef_.T, GOLDEN["kernel/krr_mean_linear/A"], atol=1e-10)
    np.testing.assert_allclose(fitted.dual_coef_, GOLDEN["kernel/krr_mean_linear/dual"], atol=1e-10)
    assert fitted.objective_ == pytest.approx(float(GOLDEN["kernel/krr_mean_linear/obj"]), rel=1e-12)


@pytest.mark.parametrize("loss_weights", ["sample", "task", [1.0, 2.0, 0.5, 1.0]], ids=["sample", "task", "numbers"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_linear_kernel_is_the_coupled_ridge(fit_intercept: bool, loss_weights: object) -> None:
    weights = np.random.default_rng(6).uniform(0.5, 2.0, size=len(Y))
    changed = {"fit_intercept": fit_intercept, "loss_weights": loss_weights}
    dual = model(kernel="linear", **changed).fit(X, Y, sample_weight=weights)
    primal = MeanRegularized(0.2, coupling=4.0, task_feature=0, **changed).fit(X, Y, sample_weight=weights)
    np.testing.assert_allclose(dual.coef_, primal.coef_, atol=1e-10)
    np.testing.assert_allclose(dual.intercept_, primal.intercept_, atol=1e-10)
    assert dual.objective_ == pytest.approx(primal.objective_, rel=1e-10)


def test_uncoupled_tasks_are_kernel_ridge_each() -> None:
    fitted = model(coupling=1.0, fit_intercept=False, loss_weights="task").fit(X, Y)
    for task in range(4):
        rows, y = X[task == TASKS], Y[task == TASKS]
        alone = KernelRidge(alpha=0.2 * len(y), kernel="rbf", gamma=0.1).fit(rows[:, 1:], y)
        np.testing.assert_allclose(fitted.predict(rows), alone.predict(rows[:, 1:]), atol=1e-10)


def test_one_task_is_kernel_ridge() -> None:
    fitted = MultiTaskKernelRidge(0.1, gamma=0.3, fit_intercept=False).fit(ROWS, TABLE[:, 0])
    plain = KernelRidge(alpha=1.4, kernel="rbf", gamma=0.3).fit(ROWS, TABLE[:, 0])
    np.testing.assert_allclose(fitted.predict(ROWS), plain.predict(ROWS), atol=1e-12)


def test_strong_coupling_is_the_pooled_fit() -> None:
    """All functions are one, with the penalty (alpha T / 2) ||f||^2: kernel ridge with alpha N on all rows."""
    fitted = model(coupling=1e9, fit_intercept=False).fit(X, Y)
    pooled = KernelRidge(alpha=0.2 * len(Y), kernel="rbf", gamma=0.1).fit(X[:, 1:], Y)
    np.testing.assert_allclose(fitted.predict(X), pooled.predict(X[:, 1:]), atol=1e-7)


def test_a_complete_graph_is_the_mean() -> None:
    graph = model(graph=np.ones((4, 4)), coupling=0.75).fit(X, Y)
    np.testing.assert_allclose(graph.predict(X), model(coupling=1 + 4 * 0.75).fit(X, Y).predict(X), atol=1e-10)


def test_a_graph_and_its_precision_are_one_thing_and_its_parts_are_apart() -> None:
    laplacian = np.diag(GRAPH.sum(axis=1)) - GRAPH
    graph = model(graph=GRAPH, coupling=1.5).fit(X, Y)
    precision = model(task_precision=np.eye(4) + 1.5 * laplacian).fit(X, Y)
    np.testing.assert_allclose(graph.predict(X), precision.predict(X), atol=1e-10)
    moved = np.where(TASKS == 3, -Y, Y)
    others = X[TASKS < 3]
    np.testing.assert_allclose(
        model(graph=GRAPH, coupling=1.5).fit(X, moved).predict(others), graph.predict(others), atol=1e-10
    )


def long_form(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a table with one column per task, task by task, without missing labels."""
    rows = np.concatenate([np.column_stack([np.full(len(ROWS), task), ROWS]) for task in range(table.shape[1])])
    seen = ~np.isnan(table.T.ravel())
    return rows[seen], table.T.ravel()[seen]


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weights", [None, np.linspace(0.5, 2.0, 14)], ids=["plain", "weighted"])
def test_eigenbases_give_what_the_large_system_gives(fit_intercept: bool, weights: np.ndarray | None) -> None:
    changed = {"graph": GRAPH, "fit_intercept": fit_intercept, "loss_weights": [1.0, 2.0, 0.5, 1.0]}
    wide = model(task_feature=None, **changed).fit(ROWS, TABLE, sample_weight=weights)
    rows, y = long_form(TABLE)
    tall = model(**changed).fit(rows, y, sample_weight=None if weights is None else np.tile(weights, 4))
    np.testing.assert_allclose(wide.dual_coef_.T.ravel(), tall.dual_coef_, atol=1e-11)
    np.testing.assert_allclose(wide.intercept_, tall.intercept_, atol=1e-11)
    np.testing.assert_allclose(wide.predict(ROWS).T.ravel(), tall.predict(rows), atol=1e-11)
    assert wide.objective_ == pytest.approx(tall.objective_, rel=1e-11)


def test_missing_labels_are_rows_left_out() -> None:
    table = TABLE.copy()
    table[2:5, 1] = np.nan
    wide = model(task_feature=None).fit(ROWS, table)
    rows, y = long_form(table)
    tall = model().fit(rows, y)
    np.testing.assert_allclose(wide.predict(ROWS).T.ravel(), tall.predict(long_form(TABLE)[0]), atol=1e-11)
    assert (wide.dual_coef_[2:5, 1] == 0).all()


def test_a_task_without_labels_borrows() -> None:
    table = TABLE.copy()
    table[:, 1] = np.nan
    with pytest.warns(UserWarning, match="no labels"):
        fitted = model(task_feature=None, coupling=100.0).fit(ROWS, table)
    assert fitted.intercept_[1] == 0
    assert np.abs(fitted.predict(ROWS)[:, 1]).max() > 0.01


def test_the_large_matrix_is_never_formed() -> None:
    rows = np.random.default_rng(7).normal(size=(120, 2))
    table = np.random.default_rng(8).normal(size=(120, 60))
    tracemalloc.start()
    MultiTaskKernelRidge().fit(rows, table)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * (120 * 60) ** 2 / 50


@pytest.mark.parametrize("alpha", [1e-8, 0.1, 1e6])
def test_the_certificate_is_small_and_not_negative(alpha: float) -> None:
    for fitted in (model(alpha).fit(X, Y), model(alpha, task_feature=None).fit(ROWS, TABLE)):
        scale = 0.5 * float(Y @ Y) + 0.5 * float((TABLE**2).sum())
        assert abs(fitted.dual_gap_) <= 1e-9 * scale
        assert fitted.dual_gap_ >= -1e-12 * scale


# -- leaving out one label -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_left_out_labels_are_predicted_as_without_them(fit_intercept: bool) -> None:
    """The factors c_t stay as they are when a label goes, which is the refit with alpha N / (N - 1)."""
    found = model(fit_intercept=fit_intercept).leave_one_out(X, Y)
    n = len(Y)
    for row in (0, 13, 30, 55):
        kept = np.arange(n) != row
        other = model(0.2 * n / (n - 1), fit_intercept=fit_intercept).fit(X[kept], Y[kept])
        assert other.predict(X[row : row + 1])[0] == pytest.approx(found[row], abs=1e-9)


def table_of(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels and weights of tasks that share their rows."""
    table, weights = TABLE.copy(), np.ones((14, 4))
    if kind == "missing labels":
        table[2:5, 1] = table[3, 0] = np.nan
    if kind == "weights of labels":
        weights = np.random.default_rng(3).uniform(0.2, 1.0, size=(14, 4))
    return (table[:, :2], weights[:, :2]) if kind == "two tasks" else (table, weights)


@pytest.mark.parametrize("kind", ["grid", "two tasks", "missing labels", "weights of labels"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_rows_are_left_out_of_all_tasks(fit_intercept: bool, kind: str) -> None:
    """The other labels of a row would tell about the one to be predicted, which those of a new row cannot."""
    table, weights = table_of(kind)
    totals = np.where(np.isnan(table), 0.0, weights).sum(axis=0)
    changed = {"fit_intercept": fit_intercept, "task_feature": None}
    found = model(**changed).leave_one_out(ROWS, table, sample_weight=weights)
    for row in (0, 3, 9):
        kept = np.arange(14) != row
        remaining = np.where(np.isnan(table), 0.0, weights)[kept].sum(axis=0)
        factors = table.shape[1] * remaining / totals.sum()  # c_t as in the fit of all
        other = model(loss_weights=factors, **changed).fit(ROWS[kept], table[kept], sample_weight=weights[kept])
        is_known = np.isfinite(table[row])
        np.testing.assert_allclose(found[row][is_known], other.predict(ROWS[[row]])[0][is_known], atol=1e-9)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(table))


@pytest.mark.parametrize("missing", [False, True], ids=["all labels", "missing labels"])
def test_rows_with_a_weight_of_two_are_two_rows(missing: bool) -> None:
    counts, table = (
        np.random.default_rng(10).integers(1, 4, size=14),
        table_of("missing labels" if missing else "grid")[0],
    )
    weighted = model(task_feature=None).leave_one_out(ROWS, table, sample_weight=counts, alphas=[0.01, 1.0])
    repeated = model(task_feature=None).leave_one_out(
        np.repeat(ROWS, counts, axis=0), np.repeat(table, counts, axis=0), alphas=[0.01, 1.0]
    )
    np.testing.assert_allclose(np.repeat(weighted, counts, axis=1), repeated, atol=1e-9)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_labels_and_rows_are_the_same_to_uncoupled_tasks(fit_intercept: bool) -> None:
    weights = np.linspace(0.5, 2.5, 14)
    changed = {"coupling": 1.0, "fit_intercept": fit_intercept}
    wide = model(task_feature=None, **changed).leave_one_out(ROWS, TABLE, sample_weight=weights, alphas=[0.01, 1.0])
    rows, y = long_form(TABLE)
    tall = model(**changed).leave_one_out(rows, y, sample_weight=np.tile(weights, 4), alphas=[0.01, 1.0])
    assert wide.shape == (2, 14, 4)
    np.testing.assert_allclose(wide.transpose(0, 2, 1).reshape(2, -1), tall, atol=1e-10)


def test_a_weight_of_two_is_two_labels_one_of_which_is_left_out() -> None:
    counts = np.random.default_rng(9).integers(1, 4, size=len(Y))
    weighted = model().leave_one_out(X, Y, sample_weight=counts)
    repeated = model().leave_one_out(np.repeat(X, counts, axis=0), np.repeat(Y, counts))
    np.testing.assert_allclose(np.repeat(weighted, counts), repeated, atol=1e-9)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_repeated_rows_are_put_together_and_nothing_changes(fit_intercept: bool) -> None:
    """Labels that differ at equal rows: the sparse path keeps all samples, the dense one the distinct points."""
    generator = np.random.default_rng(11)
    rows = X[generator.integers(0, 40, size=90)]
    y, weights = generator.normal(size=90), generator.uniform(0.5, 2.5, size=90)
    changed = {"fit_intercept": fit_intercept, "kernel": "linear"}
    merged = model(**changed).fit(rows, y, sample_weight=weights)
    plain = model(**changed).fit(csr_matrix(rows), y, sample_weight=weights)
    assert len(merged._inputs) < len(plain._inputs.toarray()) == 90
    for name in ("dual_coef_", "coef_", "intercept_"):
        np.testing.assert_allclose(getattr(merged, name), getattr(plain, name), atol=1e-9)
    assert merged.objective_ == pytest.approx(plain.objective_, rel=1e-11)
    assert abs(merged.dual_gap_) < 1e-11 * merged.objective_
    np.testing.assert_allclose(
        model(**changed).leave_one_out(rows, y, sample_weight=weights),
        model(**changed).leave_one_out(csr_matrix(rows), y, sample_weight=weights),
        atol=1e-9,
    )


def test_a_label_that_alone_determines_an_intercept_cannot_be_left_out() -> None:
    rows, y = np.vstack([X, [9, *X[0, 1:]]]), np.append(Y, 3.0)
    assert np.isnan(model().leave_one_out(rows, y)[-1])
    assert np.isfinite(model(fit_intercept=False).leave_one_out(rows, y)).all()
    assert np.isnan(MultiTaskKernelRidge().leave_one_out(ROWS[:1], TABLE[:1])).all()
    table = TABLE.copy()
    table[1:, 2] = np.nan
    found = MultiTaskKernelRidge().leave_one_out(ROWS, table)
    assert np.isnan(found[0]).tolist() == [False, False, True, False]


# -- input -----------------------------------------------------------------------------------------------------------


def test_new_tasks_get_the_mean_of_all() -> None:
    fitted = model(unknown_task="mean").fit(X, Y)
    rows = X[:3, 1:]
    each = [fitted.predict(np.column_stack([np.full(3, task), rows])) for task in range(4)]
    np.testing.assert_allclose(
        fitted.predict(np.column_stack([np.full(3, 8), rows])), np.mean(each, axis=0), atol=1e-12
    )
    with pytest.raises(TaskError, match="8"):
        model().fit(X, Y).predict([[8, *rows[0]]])


def test_the_order_of_rows_does_not_matter() -> None:
    order = np.random.default_rng(10).permutation(len(Y))
    mixed = model().fit(X[order], Y[order])
    plain = model().fit(X, Y)
    np.testing.assert_allclose(mixed.dual_coef_, plain.dual_coef_[order], atol=1e-10)
    np.testing.assert_allclose(mixed.predict(X), plain.predict(X), atol=1e-10)


def test_sparse_rows() -> None:
    np.testing.assert_allclose(
        model().fit(csr_matrix(X), Y).predict(csr_matrix(X)), model().fit(X, Y).predict(X), atol=1e-10
    )


def test_a_singular_precision_gets_a_ridge_and_a_warning() -> None:
    laplacian = np.diag(GRAPH.sum(axis=1)) - GRAPH
    with pytest.warns(UserWarning, match="task_precision is singular"):
        fitted = model(task_precision=laplacian + np.diag([0, 0, 0, 1.0])).fit(X, Y)
    assert np.isfinite(fitted.predict(X)).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"alpha": 0.0}, "alpha=0.0; expected a number above 0"),
        ({"alpha": -1.0}, "alpha=-1.0; expected a number above 0"),
        ({"coupling": 0.0}, "coupling=0.0; expected a number above 0 .1: independent tasks"),
        ({"graph": GRAPH, "coupling": -1.0}, "coupling=-1.0; expected a number of at least 0 .with a graph"),
        ({"graph": -GRAPH}, "graph holds the weight -2"),
        ({"graph": GRAPH[:3, :3]}, r"graph has shape \(3, 3\); expected \(4, 4\)"),
        ({"task_precision": -np.eye(4)}, "task_precision has the eigenvalue -1"),
        ({"task_precision": np.triu(np.ones((4, 4)))}, "task_precision is not symmetric"),
        ({"task_precision": np.full((4, 4), np.nan)}, "holds NaN"),
        ({"task_precision": np.eye(4), "graph": GRAPH}, "both given"),
        ({"loss_weights": "size"}, "loss_weights"),
        ({"unknown_task": "zero"}, "unknown_task='zero'"),
    ],
    ids=[
        "alpha", "negative alpha", "coupling", "graph coupling", "signed", "size", "negative precision",
        "asymmetric", "nan", "two", "loss weights", "unknown task",
    ],
)  # fmt: skip
def test_bad_parameters(changed: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        model(**changed).fit(X, Y)  # type: ignore[arg-type]


class TestLaws(EstimatorLaws):
    is_certified = False  # it has no iterations to stop at; the gap is tested above
    is_linear = False
    out_of_range = {"alpha": (0.0, -1.0), "coupling": (0.0,), "gamma": (-1.0, "wide"), "kernel": ("rbff",)}

    def make_estimator(self) -> MultiTaskKernelRidge:
        return MultiTaskKernelRidge(0.05, coupling=3.0)


class TestLawsOfTheLinearKernel(TestLaws):
    is_linear = True

    def make_estimator(self) -> MultiTaskKernelRidge:
        return MultiTaskKernelRidge(0.05, kernel="linear", coupling=3.0)
