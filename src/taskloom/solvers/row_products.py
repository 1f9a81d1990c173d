"""Inner products of a few long rows, on one core.

A matrix product of K rows of P numbers with themselves costs K^2 P multiplications, reads K P numbers, and needs half
of the multiplications. Libraries tile it for square matrices: with K from 2 to 40 they reach a third of what a core
can do and less. Here every stretch of columns that fits into the first caches is multiplied two rows by four; the sums
of a stretch are kept in the precision of the rows and added up in float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taskloom.solvers._compiled import IS_COMPILED, compiled_in_any_order

__all__ = ["IS_COMPILED", "inner_products"]

Array = NDArray[np.float64]
Numbers = NDArray[np.float32] | NDArray[np.float64]

_COLUMNS = 1 << 10  # of a stretch: 40 rows of them fit into the second cache


def inner_products(left: Numbers, right: Numbers) -> Array:
    """``left @ right.T``, added up in float64.

    Args:
        left: shape (a, P), columns next to each other in memory.
        right: shape (b, P), of the same dtype; the same object where half of the products do.

    Returns:
        shape (a, b).

    Example:
        >>> inner_products(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 1.0]]))
        array([[3.],
               [7.]])
    """
    if not IS_COMPILED or left.size == 0 or right.size == 0:
        return left.astype(np.float64) @ right.astype(np.float64).T
    products, is_symmetric = np.zeros((len(left), len(right))), left is right
    _add_products(*_flat(left), *_flat(right), left.shape[1], is_symmetric, products)
    if is_symmetric:
        lower = np.tril_indices(len(left), -1)
        products[lower] = products.T[lower]
    return products


def _flat(rows: Numbers) -> tuple[Numbers, int]:
    """The memory from the first number to the last, and how far apart rows begin."""
    step = rows.strides[0] // rows.itemsize
    length = (len(rows) - 1) * step + rows.shape[1]
    return np.lib.stride_tricks.as_strided(rows[0], (length,), (rows.itemsize,)), step


@compiled_in_any_order
def _add_products(
    left: Numbers, left_step: int, right: Numbers, right_step: int, n_columns: int, is_symmetric: bool, products: Array
) -> None:
    """Add all products, or at least those of rows i and j >= i."""
    n_left, n_right = products.shape
    zero = left.dtype.type(0)
    for first in range(0, n_columns, _COLUMNS):
        width = min(_COLUMNS, n_columns - first)
        for i in range(0, n_left, 2):
            a = left[i * left_step + first :][:width]
            b = left[min(i + 1, n_left - 1) * left_step + first :][:width]
            for j in range(i if is_symmetric else 0, n_right, 4):
                x = right[j * right_step + first :][:width]
                y = right[min(j + 1, n_right - 1) * right_step + first :][:width]
                z = right[min(j + 2, n_right - 1) * right_step + first :][:width]
                w = right[min(j + 3, n_right - 1) * right_step + first :][:width]
                ax, ay, az, aw, bx, by, bz, bw = zero, zero, zero, zero, zero, zero, zero, zero
                for p in range(width):
                    ax += a[p] * x[p]
                    ay += a[p] * y[p]
                    az += a[p] * z[p]
                    aw += a[p] * w[p]
                    bx += b[p] * x[p]
                    by += b[p] * y[p]
                    bz += b[p] * z[p]
                    bw += b[p] * w[p]
                of_a, of_b = (ax, ay, az, aw), (bx, by, bz, bw)
                for place in range(min(4, n_right - j)):
                    products[i, j + place] += of_a[place]
                    if i + 1 < n_left:
                        products[i + 1, j + place] += of_b[place]
