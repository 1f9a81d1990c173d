"""Generated regressions have the relations that were asked for."""

from __future__ import annotations

import numpy as np
import pytest

from taskloom.data.problems import related_regression
from taskloom.errors import DataError


def test_noise_free_tasks_have_the_stated_weights():
    problem = related_regression(3, n_rows=50, noise=0.0)
    for place, task in enumerate(problem.data.tasks):
        found = np.linalg.lstsq(problem.data.inputs, problem.data.targets[task.name], rcond=None)[0]
        assert found == pytest.approx(problem.coefficients[:, place], abs=1e-10)


def test_each_data_set_has_its_own_rows_and_weights():
    problem = related_regression(3, n_rows=50, noise=0.0, layout="multi_data_set")
    data = problem.data
    assert (data.layout, data.n_rows, data.common_target) == ("multi_data_set", 150, True)
    for place, task in enumerate(data.tasks):
        rows = data.rows_of(task.name)
        found = np.linalg.lstsq(data.inputs[rows], data.targets[task.name][rows], rcond=None)[0]
        assert found == pytest.approx(problem.coefficients[:, place], abs=1e-10)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_weights_are_related_as_asked(correlation):
    inner = []
    for seed in range(200):
        w = related_regression(2, n_rows=1, rank=10, correlation=correlation, seed=seed).coefficients
        inner.append([w[:, 0] @ w[:, 1], w[:, 0] @ w[:, 0]])
    assert np.mean(inner, axis=0) == pytest.approx([correlation, 1.0], abs=0.12)


def test_rank():
    problem = related_regression(8, n_rows=1, rank=3, correlation=0.2)
    assert np.linalg.matrix_rank(problem.coefficients) == 3


def test_missing_labels():
    data = related_regression(2, n_rows=1000, labelled_share=0.3).data
    assert [round(float(data.mask[task.name].mean()), 1) for task in data.tasks] == [0.3, 0.3]


def test_parameters_are_checked():
    for changes in ({"correlation": 1.5}, {"labelled_share": 0.0}, {"rank": 11}, {"n_tasks": 0}, {"noise": -1.0}):
        with pytest.raises(DataError):
            related_regression(**changes)
