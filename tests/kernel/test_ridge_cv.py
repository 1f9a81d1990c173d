from __future__ import annotations

import numpy as np
import pytest

from taskloom.errors import DataError
from taskloom.kernel import MultiTaskKernelRidge, MultiTaskKernelRidgeCV
from taskloom.testing import EstimatorLaws

GENERATOR = np.random.default_rng(0)
SIZES = [5, 9, 16]
TASKS = np.repeat([0, 1, 2], SIZES)
X = np.column_stack([TASKS, GENERATOR.uniform(-2, 2, size=30)])
Y = np.sin(2 * X[:, 1]) + 0.2 * TASKS + 0.3 * GENERATOR.normal(size=30)


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_errors_are_those_of_left_out_labels(average: str) -> None:
    model = MultiTaskKernelRidgeCV(average=average, gamma=1.0, task_feature=0).fit(X, Y)  # type: ignore[arg-type]
    left_out = MultiTaskKernelRidge(gamma=1.0, task_feature=0).leave_one_out(X, Y, alphas=model.alphas_)
    squares = (left_out - Y) ** 2
    expected = squares.mean(axis=1)
    if average == "macro":
        expected = np.mean([squares[:, task == TASKS].mean(axis=1) for task in range(3)], axis=0)
    np.testing.assert_allclose(model.mse_path_, expected, rtol=1e-12)
    assert model.alpha_ == model.alphas_[np.argmin(expected)]
    assert model.alphas_[-1] < model.alpha_ < model.alphas_[0]


def test_it_is_the_model_with_that_alpha() -> None:
    chosen = MultiTaskKernelRidgeCV([0.01, 0.1, 1.0], gamma=1.0, task_feature=0).fit(X, Y)
    plain = MultiTaskKernelRidge(chosen.alpha_, gamma=1.0, task_feature=0).fit(X, Y)
    np.testing.assert_array_equal(chosen.predict(X), plain.predict(X))
    np.testing.assert_array_equal(chosen.leave_one_out(X, Y), plain.leave_one_out(X, Y))


def test_one_standard_error_takes_the_simpler_model() -> None:
    best = MultiTaskKernelRidgeCV(gamma=1.0, task_feature=0).fit(X, Y)
    simple = MultiTaskKernelRidgeCV(gamma=1.0, one_standard_error=True, task_feature=0).fit(X, Y)
    assert simple.alpha_ > best.alpha_
    residuals = (best.leave_one_out(X, Y) - Y) ** 2
    limit = residuals.mean() + residuals.std() / np.sqrt(len(Y))
    position = int(np.flatnonzero(simple.alphas_ == simple.alpha_)[0])
    assert simple.mse_path_[position] <= limit < simple.mse_path_[position - 1]


def test_shared_rows_without_fitting_again() -> None:
    table = np.sin(X[:20, 1:]) + GENERATOR.normal(scale=0.1, size=(20, 5))
    model = MultiTaskKernelRidgeCV(gamma=1.0).fit(X[:20, 1:], table)
    assert model.predict(X[:20, 1:]).shape == (20, 5)
    assert model.score(X[:20, 1:], table) > 0.8


@pytest.mark.parametrize("n_missing", [0, 1])
def test_errors_that_tasks_share_are_no_reason_to_couple_them(n_missing: int) -> None:
    """The labels of other tasks predict the label of a row, but a new row comes without labels."""
    generator = np.random.default_rng(1)
    rows, coef = generator.normal(size=(40, 60)), generator.normal(size=(60, 4)) * np.geomspace(1, 0.1, 60)[:, None]
    table = rows @ coef + 2 * generator.normal(size=(40, 1))
    table[:n_missing, 0] = np.nan
    tall = np.column_stack([np.tile(np.arange(4), 40), np.repeat(rows, 4, axis=0)])
    known = np.isfinite(table.ravel())

    def errors(coupling: float) -> tuple[float, float]:
        of_rows = MultiTaskKernelRidgeCV(kernel="linear", coupling=coupling).fit(rows, table)
        of_labels = MultiTaskKernelRidgeCV(kernel="linear", coupling=coupling, task_feature=0)
        of_labels.fit(tall[known], table.ravel()[known])
        return of_rows.mse_path_.min(), of_labels.mse_path_.min()

    apart, coupled = errors(1.0), errors(10.0)
    assert apart[0] == pytest.approx(apart[1])
    assert coupled[0] > apart[0]
    assert coupled[1] < apart[1]


def test_labels_that_nothing_else_determines_do_not_count() -> None:
    rows, y = np.vstack([X, [7, 0.0]]), np.append(Y, 50.0)
    with_single = MultiTaskKernelRidgeCV([0.01, 0.1], gamma=1.0, coupling=1.0, loss_weights=np.ones(4), task_feature=0)
    assert np.isfinite(with_single.fit(rows, y).mse_path_).all()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (MultiTaskKernelRidgeCV([]), "all positive"),
        (MultiTaskKernelRidgeCV([1.0, 0.0]), "alphas=0.0; expected a number above 0 .each of them"),
        (MultiTaskKernelRidgeCV(average="median"), "average='median'"),  # type: ignore[arg-type]
    ],
    ids=["none", "zero", "average"],
)
def test_bad_parameters(model: MultiTaskKernelRidgeCV, message: str) -> None:
    with pytest.raises(DataError, match=message):
        model.fit(X, Y)


def test_nothing_to_choose_by() -> None:
    with pytest.raises(DataError, match="every task has 1 sample"):
        MultiTaskKernelRidgeCV(task_feature=0).fit([[0, 1.0], [1, 2.0]], [1.0, 2.0])
    with pytest.raises(DataError, match="alphas="):
        MultiTaskKernelRidgeCV().leave_one_out(X, Y)


class TestLaws(EstimatorLaws):
    is_certified = False
    is_linear = False
    averages_scale = False  # a label left out of two equal ones is known from the other
    out_of_range = {"alphas": ([], [0.0]), "average": ("median",), "coupling": (0.0,)}

    def make_estimator(self) -> MultiTaskKernelRidgeCV:
        return MultiTaskKernelRidgeCV([1e-4, 1.0], coupling=3.0)  # so few that rows and labels choose the same
