"""Derivatives of a kernel of scikit-learn, contracted with a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.gaussian_process.kernels import RBF

from taskloom.gp._observations import Array

__all__ = ["contracted_slopes"]


def contracted_slopes(kernel: Any, inputs: Array, *, values: Array, matrix: Array) -> Array:
    """``sum_ab matrix_ab dK_ab / dtheta_p`` for every parameter of the kernel.

    For :class:`RBF` without a tensor of all derivatives: with ``H = matrix * K``, row sums h and lengthscale l_j,

        sum_ab H_ab (x_aj - x_bj)^2 / l_j^2 = 2 (sum_a h_a x_aj^2 - x_j' H x_j) / l_j^2

    Args:
        kernel: the kernel.
        inputs: (n, d).
        values: K, (n, n).
        matrix: (n, n), symmetric.

    Returns:
        (p,).
    """
    if type(kernel) is not RBF:
        _, slopes = kernel(inputs, eval_gradient=True)  # (n, n, p)
        return np.tensordot(matrix, slopes, axes=([0, 1], [0, 1]))
    if kernel.hyperparameter_length_scale.fixed:
        return np.zeros(0)
    scaled = (inputs - inputs.mean(axis=0)) / kernel.length_scale
    both = matrix * values
    by_feature = 2 * (both.sum(axis=1) @ scaled**2 - (scaled * (both @ scaled)).sum(axis=0))
    summed: Array = by_feature if kernel.anisotropic else by_feature.sum(keepdims=True)
    return summed
