"""Convex quadratic losses of the same parameters, whose Pareto set is known in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from taskloom._rng import numpy_stream
from taskloom.errors import DataError

__all__ = ["ConvexQuadratics", "convex_quadratics"]


@dataclass(frozen=True, eq=False)
class ConvexQuadratics:
    """Losses l_k = (theta - a_k)^T A_k (theta - a_k) / 2 with positive definite A_k.

    The Pareto set is { theta(w) : w on the simplex }, theta(w) the minimum of the weighted sum of the losses::

        theta(w) = (sum_k w_k A_k)^-1 sum_k w_k A_k a_k

    Args:
        curvatures: A, shape (K, P, P), symmetric positive definite.
        minima: a, shape (K, P).

    Example:
        >>> two = ConvexQuadratics(torch.eye(2).expand(2, 2, 2), torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        >>> two.losses(torch.ones(2)), two.pareto_point([0.75, 0.25])
        (tensor([0.5000, 2.5000]), tensor([0.5000, 0.0000]))
    """

    curvatures: Tensor
    minima: Tensor

    def losses(self, theta: Tensor) -> Tensor:
        """All losses at theta: (P,) -> (K,), with a graph."""
        away = theta - self.minima  # (K, P)
        return 0.5 * (away * (self.curvatures @ away.unsqueeze(-1)).squeeze(-1)).sum(-1)

    def jacobian(self, theta: Tensor) -> Tensor:
        """Gradient of each loss at theta, one per row: (P,) -> (K, P), no graph."""
        return (self.curvatures @ (theta.detach() - self.minima).unsqueeze(-1)).squeeze(-1)

    def pareto_point(self, weights: Tensor | Sequence[float]) -> Tensor:
        """Minimum theta(w), shape (P,), of the losses weighted by w, shape (K,): non-negative, not all 0."""
        w = torch.as_tensor(weights, dtype=self.curvatures.dtype)
        if w.shape != self.minima.shape[:1] or not bool((w >= 0).all() and w.sum() > 0):
            raise DataError(
                f"pareto_point(): expected {len(self.minima)} non-negative weights, not all 0, found {w.tolist()}"
            )
        weighted = w[:, None, None] * self.curvatures
        right = (weighted @ self.minima.unsqueeze(-1)).sum(0).squeeze(-1)  # (P,)
        point: Tensor = torch.linalg.solve(weighted.sum(0), right)
        return point


def convex_quadratics(
    n_tasks: int = 3, n_parameters: int = 5, *, condition: float = 10.0, spread: float = 1.0, seed: int = 0
) -> ConvexQuadratics:
    """Draw convex quadratic losses that share their parameters.

    Each A_k has a random basis and eigenvalues from 1 to ``condition``, evenly on a logarithmic scale; minima a_k are
    normal.

    Args:
        n_tasks: number of losses K.
        n_parameters: number of parameters P.
        condition: largest over smallest eigenvalue of each A_k, at least 1.
        spread: standard deviation of the coordinates of a_k.
        seed: base seed.

    Returns:
        the problem, in float64.

    Raises:
        DataError: a number out of its range.

    Example:
        >>> problem = convex_quadratics(3, 4)
        >>> middle = problem.pareto_point([1.0, 1.0, 1.0])
        >>> problem.jacobian(middle).sum(0).abs().max() < 1e-12  # the sum of the losses is least there
        tensor(True)
    """
    if min(n_tasks, n_parameters) < 1 or not condition >= 1 or not spread >= 0:
        raise DataError(
            "n_tasks and n_parameters must be positive, condition at least 1 and spread not negative, found "
            f"n_tasks={n_tasks}, n_parameters={n_parameters}, condition={condition}, spread={spread}"
        )
    random = numpy_stream(seed, "convex_quadratics")
    eigenvalues = np.geomspace(1.0, condition, n_parameters)
    bases = np.linalg.qr(random.standard_normal((n_tasks, n_parameters, n_parameters)))[0]
    curvatures = (bases * eigenvalues) @ bases.transpose(0, 2, 1)
    minima = spread * random.standard_normal((n_tasks, n_parameters))
    return ConvexQuadratics(
        torch.from_numpy((curvatures + curvatures.transpose(0, 2, 1)) / 2), torch.from_numpy(minima)
    )
