"""Graphs of tasks: their Laplacians, and two ways to come by one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from taskloom.errors import DataError

__all__ = ["correlation_graph", "difference_graph", "graph_laplacian"]

Array = NDArray[np.float64]
ROUNDING = 1e-8


def graph_laplacian(weights: Any, *, signed: bool = False) -> Array:
    """Laplacian of a graph: degrees on the diagonal minus the weights.

    ``tr(A L A')`` is ``sum over edges of w_ij ||a_i - a_j||^2``. With ``signed``, an edge of negative weight pulls a_i
    towards minus a_j: the degrees are those of the absolute weights.

    Args:
        weights: (T, T), symmetric; the diagonal does not matter. Arrays or sparse matrices.
        signed: whether weights may be negative.

    Returns:
        (T, T), positive semi-definite.

    Raises:
        DataError: not square, not symmetric, not finite, or negative weights without ``signed``.

    Source:
        signed graphs: Kunegis et al., Spectral analysis of signed graphs for clustering, prediction and visualization,
        SDM 2010.

    Example:
        >>> graph_laplacian([[0, 1, 0], [1, 0, 2], [0, 2, 0]])
        array([[ 1., -1.,  0.],
               [-1.,  3., -2.],
               [ 0., -2.,  2.]])
    """
    matrix: Array = np.array(weights.toarray() if issparse(weights) else weights, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix).all():
        raise DataError(f"the graph has shape {matrix.shape}; expected finite weights of shape (tasks, tasks)")
    if np.abs(matrix - matrix.T).max(initial=0.0) > ROUNDING * np.abs(matrix).max(initial=0.0):
        raise DataError("the graph is not symmetric; a coupling of i to j is one of j to i: use (W + W') / 2")
    np.fill_diagonal(matrix, 0.0)
    if not signed and (matrix < 0).any():
        i, j = (int(place) for place in np.argwhere(matrix < 0)[0])
        raise DataError(
            f"the graph has the negative weight {matrix[i, j]:g} between the tasks at {i} and {j}; expected at least "
            "0. For tasks that are opposites: TaskCoupledRidge with "
            "task_precision=np.eye(T) + coupling * graph_laplacian(W, signed=True)"
        )
    return np.diag(np.abs(matrix).sum(axis=1)) - matrix


def difference_graph(differences: Any) -> Array:
    """The weights of a graph that is given by differences of tasks, one column per edge.

    Args:
        differences: (T, edges), columns ``c (e_i - e_j)``: an edge of weight c^2 between i and j.

    Returns:
        (T, T) weights.

    Raises:
        DataError: a column that is not the difference of two tasks.

    Example:
        >>> difference_graph([[1, 0], [-1, 2], [0, -2]])
        array([[0., 1., 0.],
               [1., 0., 4.],
               [0., 4., 0.]])
    """
    columns = np.asarray(differences, dtype=np.float64)
    if columns.ndim != 2:
        raise DataError(f"differences has shape {columns.shape}; expected (tasks, edges)")
    is_edge = (np.count_nonzero(columns, axis=0) == 2) & (np.abs(columns.sum(axis=0)) <= ROUNDING)
    if not is_edge.all():
        wrong = int(np.flatnonzero(~is_edge)[0])
        raise DataError(
            f"column {wrong} of differences is {columns[:, wrong]}; expected c in one row and -c in another"
        )
    products = columns @ columns.T
    np.fill_diagonal(products, 0.0)
    return np.abs(products)


def correlation_graph(coef: Any, *, threshold: float = 0.5) -> Array:
    """Connect tasks whose coefficients, fitted independently, point the same way.

    The mean of all tasks is taken off first, so that what they have in common does not connect all of them. Fit the
    independent models on the training part only.

    Args:
        coef: (T, d), as in ``coef_`` of independent models, for example ``MeanRegularized(coupling=1)``.
        threshold: tasks are connected if the cosine of their centred coefficients is larger; default 0.5.

    Returns:
        (T, T) weights 0 and 1.

    Raises:
        DataError: not two axes, or numbers that are not finite.

    Source:
        the graph of an example of the MALSAR toolbox (Zhou, Chen & Ye 2011), built from independent ridge models.

    Example:
        >>> correlation_graph([[1.0, 0.1], [1.1, 0.0], [-2.0, 0.3]])
        array([[0., 1., 0.],
               [1., 0., 0.],
               [0., 0., 0.]])
    """
    vectors = np.asarray(coef, dtype=np.float64)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise DataError(f"coef has shape {vectors.shape}; expected finite numbers of shape (tasks, features)")
    centred = vectors - vectors.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    directions = np.divide(centred, lengths, out=np.zeros(centred.shape), where=lengths > 0)
    weights: Array = (directions @ directions.T > threshold).astype(np.float64)
    np.fill_diagonal(weights, 0.0)
    return weights
