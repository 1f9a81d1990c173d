from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, Matern, RationalQuadratic, WhiteKernel

from taskloom.gp._covariance import contracted_slopes

KERNELS = {
    "rbf": RBF(1.5),
    "rbf per column": RBF([0.5, 1.5, 4.0]),
    "rbf fixed": RBF(1.5, length_scale_bounds="fixed"),
    "matern 1/2": Matern(1.5, nu=0.5),
    "matern 3/2": Matern([0.5, 1.5, 4.0], nu=1.5),
    "matern 5/2": Matern(1.5, nu=2.5),
    "sum": ConstantKernel(0.5) + Matern(2.0, nu=2.5) + WhiteKernel(0.3),
    "product": ConstantKernel(0.5) * RBF(2.0) * RBF([1.0, 2.0, 3.0]),
    "fixed parts": ConstantKernel(2.0, "fixed") * RBF(2.0) + WhiteKernel(0.3, "fixed"),
    "unknown kinds": RationalQuadratic(1.0, 0.7) * DotProduct() + RBF(1.0),
}


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_contracted_derivatives_are_those_of_the_tensor(kernel: Any) -> None:
    generator = np.random.default_rng(0)
    inputs, matrix = generator.normal(size=(9, 3)) + 5.0, generator.normal(size=(9, 9))
    matrix = matrix + matrix.T
    _, tensor = kernel(inputs, eval_gradient=True)
    expected = np.einsum("ab,abp->p", matrix, tensor)
    for values in (None, kernel(inputs)):
        found = contracted_slopes(kernel, inputs, matrix=matrix, values=values)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)
