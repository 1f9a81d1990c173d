from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.linear_model import Lasso
from sklearn.utils.estimator_checks import check_estimator

from taskloom.linear import (
    IncompleteMultiSource,
    IncompleteMultiSourceClassifier,
    MultiTaskGroupLasso,
    MultiTaskLasso1Classifier,
)
from taskloom.regularised import RowNorm, SquaredRisk, TaskData, solve

RNG = np.random.default_rng(67)
FULL = RNG.normal(size=(70, 6))
Y = FULL @ [1.5, 0.0, 0.0, -1.0, 0.5, 0.0] + 0.1 * RNG.normal(size=70)
SOURCES = np.array(["a", "a", "b", "b", "b", "c"])
PATTERNS = np.array([[0, 1, 0], [1, 0, 1], [1, 1, 0], [1, 1, 1]], dtype=bool)
OF_ROW = np.arange(70) % 4
X = np.where(PATTERNS[OF_ROW][:, np.searchsorted(["a", "b", "c"], SOURCES)], FULL, np.nan)
TIGHT = {"sources": SOURCES, "tol": 1e-12}


@pytest.mark.parametrize("estimator", [IncompleteMultiSource(), IncompleteMultiSourceClassifier()], ids=str)
def test_scikit_learn_finds_nothing(estimator: IncompleteMultiSource) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(estimator, on_skip=None)


@pytest.mark.parametrize("q", [1.0, 2.0, np.inf])
def test_it_is_the_group_lasso_whose_rows_have_only_what_exists(q: float) -> None:
    """Against masked data, and by the optimality of what exists."""
    model = IncompleteMultiSource(0.2, q=q, **TIGHT).fit(X, Y)
    assert (model.patterns_ == PATTERNS).all()
    rows = [np.flatnonzero(m == OF_ROW) for m in range(4)]
    exists = PATTERNS[:, np.searchsorted(["a", "b", "c"], SOURCES)].T
    whole = TaskData(
        tuple(FULL[i] for i in rows), tuple(Y[i] for i in rows), tuple(np.full(len(i), 1 / len(i)) for i in rows)
    )
    solution = solve(SquaredRisk(whole.masked(exists)), RowNorm(0.2, q), tol=1e-12)
    assert_allclose(model.coef_.T, solution.coefficients, atol=1e-6)
    assert_allclose(model.intercept_, solution.intercepts, atol=1e-6)
    assert model.objective_ == pytest.approx(solution.objective, rel=1e-9)
    assert not model.coef_.T[~exists].any()
    assert model.coef_.T[exists].any()
    G = SquaredRisk(whole).at(model.coef_.T).dual.G * exists
    assert RowNorm(0.2, q).gauge(G) <= 1 + 1e-4
    assert float((G * model.coef_.T).sum()) == pytest.approx(RowNorm(0.2, q).value(model.coef_.T), rel=1e-4)


def test_sources_that_never_meet_are_lassos_by_themselves() -> None:
    apart = FULL.copy()
    apart[:30, 3:] = np.nan
    apart[30:, :3] = np.nan
    model = IncompleteMultiSource(0.2, tol=1e-12).fit(apart, Y)
    first = Lasso(0.2, tol=1e-10).fit(FULL[:30, :3], Y[:30])
    second = Lasso(0.2, tol=1e-10).fit(FULL[30:, 3:], Y[30:])
    assert_allclose(model.coef_[1, :3], first.coef_, atol=1e-6)
    assert_allclose(model.coef_[0, 3:], second.coef_, atol=1e-6)
    expected = np.r_[first.predict(FULL[:30, :3]), second.predict(FULL[30:, 3:])]
    assert_allclose(model.predict(apart), expected, atol=1e-6)


def test_whole_rows_are_one_lasso() -> None:
    model = IncompleteMultiSource(0.3, tol=1e-12).fit(FULL, Y)
    assert model.patterns_.tolist() == [[True]]
    assert_allclose(model.coef_[0], Lasso(0.3, tol=1e-10).fit(FULL, Y).coef_, atol=1e-6)


def test_the_same_sources_in_all_tasks_are_the_group_lasso() -> None:
    """Patterns that differ by a source without influence: the other columns are those of two tasks."""
    marked = np.column_stack([FULL, np.where(np.arange(70) < 25, 0.0, np.nan)])
    for weights in ("task", "sample"):
        model = IncompleteMultiSource(0.2, tol=1e-12, loss_weights=weights).fit(marked, Y)
        tasks = (np.arange(70) < 25).astype(float)
        group = MultiTaskGroupLasso(0.2, tol=1e-12, loss_weights=weights, task_feature=0)
        assert_allclose(model.coef_[:, :6], group.fit(np.column_stack([tasks, FULL]), Y).coef_, atol=1e-6)


def test_the_classifier_is_its_twin() -> None:
    apart = FULL.copy()
    apart[:30, 3:] = np.nan
    apart[30:, :3] = np.nan
    labels = np.where(Y > 0, "high", "low")
    model = IncompleteMultiSourceClassifier(0.05, tol=1e-10).fit(apart, labels)
    first = MultiTaskLasso1Classifier(0.05, tol=1e-10).fit(FULL[:30, :3], labels[:30])
    assert_allclose(model.coef_[1, :3], first.coef_[0], atol=1e-5)
    assert_allclose(model.predict_proba(apart)[:30], first.predict_proba(FULL[:30, :3]), atol=1e-5)
    assert (model.predict(apart)[:30] == first.predict(FULL[:30, :3])).all()
    assert_allclose(model.decision_function(apart)[:30], first.decision_function(FULL[:30, :3]), atol=1e-4)
    assert model.classes_.tolist() == ["high", "low"]


def test_sources_are_found_by_what_is_missing_together() -> None:
    named, found = IncompleteMultiSource(0.1, **TIGHT).fit(X, Y), IncompleteMultiSource(0.1, tol=1e-12).fit(X, Y)
    assert found.sources_.tolist() == [0, 1, 2]
    assert (found.patterns_ == named.patterns_).all()
    assert_allclose(found.predict(X), named.predict(X))
    table = pd.DataFrame(X, columns=list("uvwxyz"))
    assert_allclose(clone(found).fit(table, Y).predict(table), found.predict(X))


def test_order_and_weights_of_rows() -> None:
    model = IncompleteMultiSource(0.1, **TIGHT).fit(X, Y)
    order, counts = RNG.permutation(70), RNG.integers(1, 3, 70)
    assert_allclose(clone(model).fit(X[order], Y[order]).coef_, model.coef_, atol=1e-6)
    repeated = clone(model).fit(np.repeat(X, counts, axis=0), np.repeat(Y, counts))
    assert_allclose(clone(model).fit(X, Y, sample_weight=counts.astype(float)).coef_, repeated.coef_, atol=1e-6)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


def test_rows_with_more_sources_than_any_row_of_fit() -> None:
    model = IncompleteMultiSource(0.1, unknown_pattern="part", **TIGHT).fit(X[OF_ROW < 2], Y[OF_ROW < 2])
    whole = FULL[:5]
    without_c = np.where(SOURCES == "c", np.nan, whole)  # b is the only pattern that is a part of it
    assert_allclose(model.predict(without_c), model.predict(np.where(SOURCES == "b", whole, np.nan)))
    strict = clone(model).set_params(unknown_pattern="error").fit(X[OF_ROW < 2], Y[OF_ROW < 2])
    with pytest.raises(ValueError, match=r"row 0 .* the sources a, b, c, .*patterns of fit: 0: b; 1: a, c\).*part"):
        strict.predict(whole)
    with pytest.raises(ValueError, match="row 0 of X has the sources c"):
        model.predict(np.where(SOURCES == "c", whole, np.nan))


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        (
            "row 4 lacks 1 of the 2 columns of source 'a'",
            {"X": np.where(np.arange(70)[:, None] + 10 * np.arange(6) == 14, np.nan, FULL)[:14], "y": Y[:14]},
        ),
        (
            "only in 1 rows .first: row 7.*leave these rows out",
            {"X": np.where(np.arange(70)[:, None] == 7, np.nan, FULL)},
        ),
        ("infinity", {"X": np.where(FULL > 2, np.inf, FULL)}),
        ("a label for each of the 6 columns", {"sources": ["a", "b"]}),
        ("alpha=-1", {"alpha": -1.0}),
        ("q=0.5", {"q": 0.5}),
        ('loss_weights=.rows.; expected "task"', {"loss_weights": "rows"}),
        ("unknown_pattern='guess'", {"unknown_pattern": "guess"}),
        ("tol=0", {"tol": 0.0}),
        (r"y has shape \(70, 2\)", {"y": np.column_stack([Y, Y])}),
        ("Input y contains NaN", {"y": np.where(np.arange(70) == 3, np.nan, Y)}),
    ],
)
def test_what_is_refused(message: str, changes: dict[str, object]) -> None:
    settings = {"sources": SOURCES} | {name: value for name, value in changes.items() if name not in ("X", "y")}
    with pytest.raises(ValueError, match=message):
        IncompleteMultiSource(**settings).fit(changes.get("X", X), changes.get("y", Y))


def test_a_pattern_of_one_class() -> None:
    labels = (Y > 0) | (OF_ROW == 0)
    with pytest.raises(ValueError, match=r"task 0 has a single class.*patterns of sources here: 0: b; 1: a, c"):
        IncompleteMultiSourceClassifier(sources=SOURCES, single_class="error").fit(X, labels)
    model = IncompleteMultiSourceClassifier(sources=SOURCES).fit(X, labels)
    assert model.predict(X)[OF_ROW == 0].all()
