from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from taskloom.errors import DataError
from taskloom.linear import correlation_graph, difference_graph, graph_laplacian

W = np.array([[0.0, 2.0, 0.0], [2.0, 0.0, 0.5], [0.0, 0.5, 0.0]])


def test_the_laplacian_sums_squared_differences() -> None:
    A = np.random.default_rng(0).normal(size=(4, 3))
    expected = sum(W[i, j] * np.sum((A[:, i] - A[:, j]) ** 2) for i in range(3) for j in range(i))
    assert np.trace(A @ graph_laplacian(W) @ A.T) == pytest.approx(expected)
    np.testing.assert_array_equal(graph_laplacian(csr_array(W)), graph_laplacian(W))
    np.testing.assert_array_equal(graph_laplacian(W + 5 * np.eye(3)), graph_laplacian(W))


def test_a_negative_edge_pulls_to_the_opposite() -> None:
    signed = graph_laplacian([[0, -2], [-2, 0]], signed=True)
    a, b = 1.5, -0.5
    assert np.array([a, b]) @ signed @ [a, b] == pytest.approx(2 * (a + b) ** 2)
    assert np.linalg.eigvalsh(signed)[0] >= -1e-12


def test_differences_make_the_same_laplacian() -> None:
    R = np.array([[np.sqrt(2), 0.0], [-np.sqrt(2), np.sqrt(0.5)], [0.0, -np.sqrt(0.5)]])
    np.testing.assert_allclose(graph_laplacian(difference_graph(R)), R @ R.T)
    np.testing.assert_allclose(difference_graph(R), W)


def test_correlated_tasks_are_connected() -> None:
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(2, 30))
    coef = centres[[0, 0, 1, 1]] + 0.1 * rng.normal(size=(4, 30)) + 5  # and something all have in common
    np.testing.assert_array_equal(correlation_graph(coef), np.kron(np.eye(2), [[0, 1], [1, 0]]))
    assert not correlation_graph(np.zeros((3, 2))).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: graph_laplacian(np.ones((2, 3))), "expected finite weights of shape"),
        (lambda: graph_laplacian([[0, 1], [2, 0]]), "not symmetric"),
        (lambda: graph_laplacian([[0, -1], [-1, 0]]), r"negative weight -1 between the tasks at 0 and 1.*signed=True"),
        (lambda: difference_graph(np.eye(3)), "column 0 of differences"),
        (lambda: difference_graph([1.0, -1.0]), r"expected \(tasks, edges\)"),
        (lambda: correlation_graph([1.0]), r"expected finite numbers of shape \(tasks, features\)"),
    ],
    ids=["shape", "asymmetric", "negative", "no difference", "one axis", "no table"],
)
def test_what_is_no_graph(call: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()  # type: ignore[operator]
