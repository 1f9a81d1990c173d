"""Solutions against values computed elsewhere, at the edges, and across the forms that the same problem may have."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csc_array

from taskloom.regularised import (
    ColumnNorm,
    EntryNorm,
    FusedRows,
    LogisticRisk,
    PartSum,
    RowNorm,
    SparseGroup,
    SpectralBox,
    SquaredRisk,
    SquaredTrace,
    TaskCoupling,
    TaskData,
    Trace,
    TraceBall,
    largest_alpha,
    least_squares,
    path,
    solve,
    with_coupling,
    with_ridge,
)

# The entries of the golden values that are convex penalties of section 1 to 6 without the couplings; copied.
GOLDEN = np.load(Path(__file__).with_name("golden.npz"), allow_pickle=False)
ENTRIES = {entry["key"]: entry["params"] for entry in json.loads(str(GOLDEN["meta_json"]))}
del ENTRIES["wide/sample/noic/capped_l1"]  # not convex

Parameters = Mapping[str, Any]


def temporal(p: Parameters, n_tasks: int) -> Any:
    differences = np.diff(np.eye(n_tasks), axis=0)
    precision = p["alpha_ridge"] * np.eye(n_tasks) + p["alpha_temporal"] * differences.T @ differences
    return with_coupling(RowNorm(p["alpha_group"]), TaskCoupling.of_matrix(precision))


def clusters(p: Parameters, n_tasks: int) -> SpectralBox:
    low, high, r = 1 / p["eps_within"], 1 / p["eps_between"], p["n_clusters"]
    return SpectralBox(low, high, (n_tasks - r + 1) * low + (r - 1) * high, p["eps_mean"])


def clusters_of_zhou(p: Parameters, n_tasks: int) -> SpectralBox:
    first, second = p["rho1"], p["rho2"]
    eta = second / first
    total = (n_tasks * eta + p["n_clusters"]) / (2 * first * eta * (1 + eta))
    return SpectralBox(1 / (2 * (first + second)), 1 / (2 * second), total)


def dirty(q: float) -> Callable[[Parameters, int], PartSum]:
    return lambda p, T: PartSum((RowNorm(p["alpha_shared"], q), EntryNorm(p["alpha_specific"])))


PENALTIES: dict[str, Callable[[Parameters, int], Any]] = {
    "lasso": lambda p, T: EntryNorm(p["alpha"]),
    "l1l2": lambda p, T: RowNorm(p["alpha"]),
    "l1linf": lambda p, T: RowNorm(p["alpha"], np.inf),
    "l1lq_q1.5": lambda p, T: RowNorm(p["alpha"], 1.5),
    "l1lq_q3": lambda p, T: RowNorm(p["alpha"], 3.0),
    "l1l2_ridge": lambda p, T: with_ridge(RowNorm(p["alpha"]), p["l2"]),
    "dirty_linf": dirty(np.inf),
    "dirty_l2": dirty(2.0),
    "trace": lambda p, T: Trace(p["alpha"]),
    "sparse_lowrank_pen": lambda p, T: PartSum((EntryNorm(p["alpha_sparse"]), Trace(p["alpha_trace"]))),
    "sparse_lowrank_con": lambda p, T: PartSum((EntryNorm(p["alpha_sparse"]), TraceBall(p["tau"]))),
    "rmtl": lambda p, T: PartSum((Trace(p["alpha_trace"]), ColumnNorm(p["alpha_outlier"]))),
    "rmtfl": lambda p, T: PartSum((RowNorm(p["alpha_feature"]), ColumnNorm(p["alpha_outlier"]))),
    "sq_trace(mtfl)": lambda p, T: SquaredTrace(p["alpha"]),
    "mtrl": lambda p, T: with_ridge(SquaredTrace(p["alpha_relation"]), p["alpha_ridge"]),
    "cluster_relaxed": clusters,
    "cmtl_zhou": clusters_of_zhou,
    "tgl": temporal,
    "cfsgl": lambda p, T: FusedRows(p["alpha_l1"], p["alpha_fused"], p["alpha_group"]),
}


def data_of(key: str) -> TaskData:
    name, way, intercept = key.split("/")[:3]
    X = GOLDEN[f"data/{name}/X"]
    if f"data/{name}/task" in GOLDEN:
        tasks, y = GOLDEN[f"data/{name}/task"], GOLDEN[f"data/{name}/y"]
        rows = [tasks == task for task in np.unique(tasks)]
        designs, targets = [X[chosen] for chosen in rows], [y[chosen] for chosen in rows]
    else:
        labelled = ~np.isnan(GOLDEN[f"data/{name}/Y"]).T
        designs = [X if chosen.all() else X[chosen] for chosen in labelled]
        targets = [column[chosen] for column, chosen in zip(GOLDEN[f"data/{name}/Y"].T, labelled, strict=True)]
    n, T = sum(map(len, targets)), len(targets)
    weights = [np.full(len(y), T / n if way == "sample" else 1 / len(y)) for y in targets]
    return TaskData(tuple(designs), tuple(targets), tuple(weights), intercept == "ic")


def problem_of(key: str) -> tuple[SquaredRisk | LogisticRisk, Any]:
    data, method = data_of(key), key.split("/")[3]
    risk = LogisticRisk(data) if ENTRIES[key].get("loss") == "logistic" else SquaredRisk(data)
    if method == "l1lq_rowq":
        return risk, RowNorm(ENTRIES[key]["alpha"], GOLDEN[f"{key.rpartition('/')[0]}/q"])
    return risk, PENALTIES[method](ENTRIES[key], data.n_tasks)


def is_unique(key: str) -> bool:
    """Columns 0 and 4 of ``edge`` are equal: norms of rows and entries leave open how they share."""
    return not (key.startswith("edge") and key.split("/")[3] in ("lasso", "l1l2", "l1linf"))


@pytest.mark.parametrize("key", sorted(ENTRIES))
def test_golden_values(key: str) -> None:
    risk, penalty = problem_of(key)
    solution = solve(risk, penalty, tol=1e-12)
    assert solution.converged
    assert solution.objective == pytest.approx(float(GOLDEN[f"{key}/obj"]), rel=1e-9)
    if is_unique(key):
        np.testing.assert_allclose(solution.coefficients, GOLDEN[f"{key}/A"], atol=5e-6)
    np.testing.assert_allclose(solution.intercepts, GOLDEN[f"{key}/b"], atol=5e-6)


WITH_THRESHOLD = sorted(key for key in ENTRIES if "lambda_max" in ENTRIES[key])


@pytest.mark.parametrize("key", WITH_THRESHOLD)
def test_largest_alpha(key: str) -> None:
    risk, penalty = problem_of(key)
    largest = largest_alpha(risk, penalty) * ENTRIES[key]["alpha"]
    assert largest == pytest.approx(ENTRIES[key]["lambda_max"], rel=1e-12)
    fields = {name: value for name, value in vars(penalty).items() if name != "alpha"}
    at_it = solve(risk, type(penalty)(largest, **fields))
    assert not at_it.coefficients.any()
    assert 0 <= at_it.gap <= 1e-10 * at_it.objective
    assert solve(risk, type(penalty)(0.999 * largest, **fields)).coefficients.any()


WITHOUT_NUMBA = [key for key in sorted(ENTRIES) if key.startswith("missing/sample/ic") and "lq" not in key]


@pytest.mark.parametrize("key", WITHOUT_NUMBA)
def test_golden_values_without_compiled_loops(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(least_squares, "IS_COMPILED", False)
    risk, penalty = problem_of(key)
    solution = solve(risk, penalty, tol=1e-12)
    assert solution.converged
    assert solution.objective == pytest.approx(float(GOLDEN[f"{key}/obj"]), rel=1e-9)
    np.testing.assert_allclose(solution.coefficients, GOLDEN[f"{key}/A"], atol=5e-6)


# -- larger problems, in several forms ----------------------------------------------------------------------------


def planted(*, n: int = 60, d: int = 90, T: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n, d)) + generator.normal(size=(n, 1)) + 2.0
    A = np.zeros((d, T))
    A[:8] = generator.normal(size=(8, T))
    return X, X @ A + generator.normal(size=(n, T))


def shared_data(X: np.ndarray, Y: np.ndarray, *, fit_intercept: bool = True) -> TaskData:
    weights = np.full(len(X), 1 / len(X))
    return TaskData((X,) * Y.shape[1], tuple(np.ascontiguousarray(Y.T)), (weights,) * Y.shape[1], fit_intercept)


def apart(data: TaskData) -> TaskData:
    """The same problem with a design of its own for every task."""
    return TaskData(tuple(X.copy() for X in data.designs), data.targets, data.weights, data.fit_intercept)


def as_sparse(data: TaskData) -> TaskData:
    one = csc_array(data.designs[0])
    return TaskData(
        (one,) * data.n_tasks if data.is_shared else tuple(map(csc_array, data.designs)),
        data.targets,
        data.weights,
        data.fit_intercept,
    )


X, Y = planted()
LARGEST = largest_alpha(SquaredRisk(shared_data(X, Y)), RowNorm(1.0))
VARIOUS = {
    "rows": RowNorm(0.1 * LARGEST),
    "rows_largest": RowNorm(0.2 * LARGEST, np.inf),
    "rows_mixed": RowNorm(0.1 * LARGEST, np.resize([1.0, 2.0, 3.0, np.inf], 90)),
    "entries": EntryNorm(0.1 * LARGEST),
    "elastic": with_ridge(RowNorm(0.05 * LARGEST), 0.1),
    "elastic_entries": with_ridge(EntryNorm(0.05 * LARGEST), 0.1),
    "elastic_and_free": with_ridge(RowNorm(0.05 * LARGEST, weights=np.resize([1.0, 0.0, 2.0], 90)), 0.1),
    "dirty": PartSum((RowNorm(0.15 * LARGEST, np.inf), EntryNorm(0.1 * LARGEST))),
    "dirty_2": PartSum((RowNorm(0.1 * LARGEST), EntryNorm(0.06 * LARGEST))),
    "sparse_group": SparseGroup(0.05 * LARGEST, 0.05 * LARGEST),
    "weighted": RowNorm(0.1 * LARGEST, weights=np.resize([1.0, 0.5, 2.0], 90)),
    "with_free": RowNorm(0.1 * LARGEST, weights=np.concatenate([np.zeros(4), np.ones(86)])),
}
EACH = pytest.mark.parametrize("name", sorted(VARIOUS))


@EACH
@pytest.mark.parametrize("is_logistic", [False, True], ids=["squared", "logistic"])
@pytest.mark.parametrize("fit_intercept", [False, True], ids=["without", "with_intercept"])
def test_all_forms_of_a_problem_agree(name: str, is_logistic: bool, fit_intercept: bool) -> None:
    data = shared_data(X, np.where(Y.mean(0) < Y, 1.0, -1.0) if is_logistic else Y, fit_intercept=fit_intercept)
    risk = LogisticRisk if is_logistic else SquaredRisk
    reference = solve(risk(data), VARIOUS[name], tol=1e-9)
    assert reference.converged
    assert reference.gap >= -1e-13
    for form in (apart(data), as_sparse(data), as_sparse(apart(data))):
        other = solve(risk(form), VARIOUS[name], tol=1e-9)
        assert other.converged
        assert other.objective == pytest.approx(reference.objective, rel=1e-8)
        np.testing.assert_allclose(other.coefficients, reference.coefficients, atol=2e-4)
        np.testing.assert_allclose(other.intercepts, reference.intercepts, atol=2e-3)


@EACH
def test_solvers_agree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    risk = SquaredRisk(apart(shared_data(X, Y)))
    compiled = solve(risk, VARIOUS[name], tol=1e-9)
    monkeypatch.setattr(least_squares, "IS_COMPILED", False)
    split = solve(SquaredRisk(risk.data), VARIOUS[name], tol=1e-9)
    monkeypatch.setattr(least_squares, "_FEW_FEATURES", 0)
    by_gradients = solve(SquaredRisk(risk.data), VARIOUS[name], tol=1e-9)
    for other in (split, by_gradients):
        assert other.converged
        assert other.objective == pytest.approx(compiled.objective, rel=1e-8)
        assert (other.coefficients != 0).any(axis=1).sum() == (compiled.coefficients != 0).any(axis=1).sum()


@EACH
def test_warm_starts_end_at_the_same_place(name: str) -> None:
    risk = SquaredRisk(shared_data(X, Y))
    begin = solve(risk, VARIOUS["dirty" if isinstance(VARIOUS[name], PartSum) else "entries"], tol=1e-3)
    cold, warm = (solve(risk, VARIOUS[name], tol=1e-11, start=start) for start in (None, begin))
    np.testing.assert_allclose(warm.coefficients, cold.coefficients, atol=2e-5)
    assert warm.objective == pytest.approx(cold.objective, rel=1e-10)


def test_same_input_same_bits() -> None:
    for risk in (SquaredRisk, LogisticRisk):
        data = shared_data(X, np.where(Y.mean(0) < Y, 1.0, -1.0))
        first, second = (solve(risk(data), RowNorm(0.02)) for _ in range(2))
        assert np.array_equal(first.coefficients, second.coefficients)
        assert np.array_equal(first.intercepts, second.intercepts)


def test_a_path_is_its_single_fits_and_falls() -> None:
    risk = SquaredRisk(shared_data(X, Y))
    alphas = LARGEST * np.logspace(0, -2, 12)
    solutions = path(risk, [RowNorm(alpha) for alpha in alphas], tol=1e-9)
    assert not solutions[0].coefficients.any()
    lengths = [np.linalg.norm(one.coefficients, axis=1).sum() for one in solutions]
    assert np.all(np.diff(lengths) > 0)
    single = solve(SquaredRisk(risk.data), RowNorm(alphas[7]), tol=1e-9)
    np.testing.assert_allclose(solutions[7].coefficients, single.coefficients, atol=1e-5)


def test_many_features_need_few_of_them() -> None:
    """More features than the working sets hold at first, shared and ragged, with residuals and Gram matrices."""
    X, Y = planted(n=50, d=1500, T=3, seed=3)
    largest = largest_alpha(SquaredRisk(shared_data(X, Y)), RowNorm(1.0))
    for share in (0.3, 0.02):
        shared = solve(SquaredRisk(shared_data(X, Y)), RowNorm(share * largest), tol=1e-8)
        ragged = solve(SquaredRisk(apart(shared_data(X, Y))), RowNorm(share * largest), tol=1e-8)
        assert shared.converged
        assert ragged.converged
        assert shared.objective == pytest.approx(ragged.objective, rel=1e-7)


def test_more_samples_than_features() -> None:
    X, Y = planted(n=800, d=60, T=4, seed=4)
    data = shared_data(X, Y)
    for penalty in (RowNorm(0.05), EntryNorm(0.05), PartSum((RowNorm(0.1), EntryNorm(0.06)))):
        solution = solve(SquaredRisk(data), penalty, tol=1e-10)
        assert solution.converged
        assert solve(SquaredRisk(apart(data)), penalty, tol=1e-10).objective == pytest.approx(solution.objective)


# -- weights, masks, edges ----------------------------------------------------------------------------------------


def test_weights_count_samples() -> None:
    generator = np.random.default_rng(5)
    counts = generator.integers(0, 3, len(X)).astype(float)
    repeated = np.repeat(np.arange(len(X)), counts.astype(int))
    weighted = TaskData((X,) * 5, tuple(Y.T), (counts / 60,) * 5)
    copies = TaskData((X[repeated],) * 5, tuple(Y[repeated].T), (np.full(len(repeated), 1 / 60),) * 5)
    for penalty in (RowNorm(1.0), Trace(2.0)):
        one, other = (solve(SquaredRisk(data), penalty, tol=1e-11) for data in (weighted, copies))
        np.testing.assert_allclose(one.coefficients, other.coefficients, atol=1e-6)
        np.testing.assert_allclose(one.intercepts, other.intercepts, atol=1e-5)


@pytest.mark.parametrize("is_sparse", [False, True])
def test_masked_coefficients_stay_zero(is_sparse: bool) -> None:
    """As if the rows of the penalty had only the entries that exist."""
    data = shared_data(X[:, :12], Y[:, :3])
    mask = np.random.default_rng(6).random((12, 3)) > 0.4
    mask[0] = True
    masked = (as_sparse(data) if is_sparse else data).masked(mask)
    for q in (2.0, np.inf):
        penalty = RowNorm(0.4, q)
        solution = solve(SquaredRisk(masked), penalty, tol=1e-11)
        assert solution.converged
        assert np.abs(solution.coefficients[~mask]).max() <= 1e-12  # exactly 0 with numba, to rounding without
        assert solution.coefficients[mask].any()
        G = SquaredRisk(data).at(solution.coefficients).dual.G * mask  # optimal among the masked ones
        assert penalty.gauge(G) <= 1 + 1e-4
        assert float(np.vdot(G, solution.coefficients)) == pytest.approx(penalty.value(solution.coefficients), rel=1e-4)


def test_free_features_are_least_squares_given_the_others() -> None:
    weights = np.concatenate([np.zeros(3), np.ones(87)])
    solution = solve(SquaredRisk(shared_data(X, Y)), RowNorm(0.3 * LARGEST, weights=weights), tol=1e-11)
    residuals = Y - X @ solution.coefficients - solution.intercepts
    np.testing.assert_allclose(X[:, :3].T @ residuals, 0, atol=1e-8)
    np.testing.assert_allclose(residuals.sum(0), 0, atol=1e-9)
    assert solution.coefficients[:3].all()


def test_free_features_without_enough_samples_change_least() -> None:
    """Columns that are not independent: of all solutions the one nearest to the start."""
    doubled = np.column_stack([X[:, :2], X[:, :2], X[:, 2:6]])
    weights = np.concatenate([np.zeros(4), np.ones(4)])
    solution = solve(SquaredRisk(shared_data(doubled, Y)), RowNorm(0.3 * LARGEST, weights=weights), tol=1e-11)
    np.testing.assert_allclose(solution.coefficients[:2], solution.coefficients[2:4], atol=1e-9)


def test_constant_features_get_nothing() -> None:
    constant = X.copy()
    constant[:, 3] = 0.1
    for penalty in (RowNorm(0.1), Trace(0.1), SquaredTrace(0.1)):
        solution = solve(SquaredRisk(shared_data(constant, Y)), penalty)
        assert np.abs(solution.coefficients[3]).max() <= 1e-12


def test_a_task_of_one_sample_and_one_without_weight() -> None:
    generator = np.random.default_rng(8)
    designs = tuple(generator.normal(size=(n, 4)) for n in (9, 1, 7))
    targets = tuple(generator.normal(size=n) for n in (9, 1, 7))
    weights = (np.full(9, 0.1), np.ones(1), np.zeros(7))
    for penalty in (RowNorm(0.05), EntryNorm(0.05), Trace(0.05), PartSum((RowNorm(0.07), EntryNorm(0.05)))):
        solution = solve(SquaredRisk(TaskData(designs, targets, weights)), penalty, tol=1e-10)
        assert solution.converged
        assert not solution.coefficients[:, 1:].any()
        assert solution.intercepts[1:].tolist() == [targets[1][0], 0.0]


def test_nothing_to_explain() -> None:
    for y in (np.zeros(60), np.full(60, 3.0)):
        for penalty in (RowNorm(0.1), SquaredTrace(0.1)):
            solution = solve(SquaredRisk(TaskData((X,), (y,), (np.ones(60),))), penalty)
            assert not solution.coefficients.any()
            assert solution.converged
            assert solution.intercepts[0] == pytest.approx(y[0])


def test_too_few_iterations_are_reported() -> None:
    for penalty in (RowNorm(0.01 * LARGEST), Trace(0.01 * LARGEST)):
        solution = solve(SquaredRisk(shared_data(X, Y)), penalty, tol=1e-12, max_iterations=2)
        assert not solution.converged
        assert solution.gap > 0
