r"""Derivatives of kernels of scikit-learn, contracted with a matrix instead of held as a tensor.

For stationary kernels ``K_ab = phi(r_ab)`` with ``r_ab^2 = sum_j (x_aj - x_bj)^2 / l_j^2`` the derivative in log l_j is
``psi(r_ab) (x_aj - x_bj)^2 / l_j^2`` with ``psi = -phi'(r) / r``, and with ``H = matrix * psi`` and row sums h

    sum_ab H_ab (x_aj - x_bj)^2 = 2 (sum_a h_a x_aj^2 - x_j' H x_j)

which is one product of matrices. Sums and products of kernels follow by their rules.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, Product, Sum, WhiteKernel

from taskloom.gp._observations import Array

__all__ = ["contracted_slopes"]


def contracted_slopes(kernel: Any, inputs: Array, *, matrix: Array, values: Array | None = None) -> Array:
    """``sum_ab matrix_ab dK_ab / dtheta_p`` for every parameter of the kernel.

    Args:
        kernel: the kernel; of kinds that are not known here, the tensor of all derivatives is made.
        inputs: (n, d).
        matrix: (n, n), symmetric.
        values: K, (n, n), where it is known already.

    Returns:
        (p,) in the order of ``kernel.theta``.
    """
    kind = type(kernel)
    if kind is Sum:
        parts = [contracted_slopes(part, inputs, matrix=matrix) for part in (kernel.k1, kernel.k2)]
        return np.concatenate(parts)
    if kind is Product:
        first = contracted_slopes(kernel.k1, inputs, matrix=matrix * kernel.k2(inputs))
        return np.concatenate([first, contracted_slopes(kernel.k2, inputs, matrix=matrix * kernel.k1(inputs))])
    if kind is ConstantKernel:
        return np.full(len(kernel.theta), kernel.constant_value * float(matrix.sum()))
    if kind is WhiteKernel:
        return np.full(len(kernel.theta), kernel.noise_level * float(np.trace(matrix)))
    if kind is RBF or (kind is Matern and kernel.nu in (1.5, 2.5)):
        return _by_lengthscale(kernel, inputs, matrix=matrix, values=values)
    _, slopes = kernel(inputs, eval_gradient=True)  # (n, n, p)
    return np.tensordot(matrix, slopes, axes=([0, 1], [0, 1]))


def _by_lengthscale(kernel: Any, inputs: Array, *, matrix: Array, values: Array | None) -> Array:
    if kernel.hyperparameter_length_scale.fixed:
        return np.zeros(0)
    scaled = (inputs - inputs.mean(axis=0)) / kernel.length_scale
    both = matrix * _radial_slopes(kernel, scaled, kernel(inputs) if values is None else values)
    by_feature = 2 * (both.sum(axis=1) @ scaled**2 - (scaled * (both @ scaled)).sum(axis=0))
    slopes: Array = by_feature if kernel.anisotropic else by_feature.sum(keepdims=True)
    return slopes


def _radial_slopes(kernel: Any, scaled: Array, values: Array) -> Array:
    """Psi at every pair of rows, (n, n)."""
    if type(kernel) is RBF:
        return values
    squares = (scaled**2).sum(axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * scaled @ scaled.T, 0.0))
    reach = np.sqrt(2 * kernel.nu) * distances
    decay = np.exp(-reach)
    slopes: Array = 3 * decay if kernel.nu == 1.5 else 5 / 3 * (1 + reach) * decay
    return slopes
