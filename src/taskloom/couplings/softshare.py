"""Squared distances between the parameters of task networks (soft parameter sharing).

With theta_t the parameters of task t and mean their average over the K tasks::

    pairwise  sum_(i<j) ||theta_i - theta_j||^2  =  K sum_t ||theta_t - mean||^2
    centre    sum_t ||theta_t - centre||^2
    graph     sum_(i<j) a_ij ||theta_i - theta_j||^2
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from taskloom.couplings.base import ParameterCoupling
from taskloom.errors import TaskError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CentreDistance", "GraphDistance", "PairwiseDistance"]


@dataclass(frozen=True)
class PairwiseDistance(ParameterCoupling):
    """Squared distance between the networks of every two tasks; every two tasks attract each other equally.

        strength * sum_(i<j) ||theta_i - theta_j||^2

    Computed through the mean, so the cost is linear in the number of tasks. Biases and affine vectors of
    normalisation layers are included, running statistics are not (they are no parameters). With ``strength=0`` the
    tasks are independent; as it grows, the networks become equal. Plain gradient descent diverges when
    ``learning_rate * strength * K > 1``; use :meth:`taskloom.nn.SoftSharing.proximal_step` there.

    Args:
        strength: lambda, 0 or more; default 1e-3 (our choice).

    Cost:
        O(K P) for K networks of P parameters.

    Differs from the paper:
        the paper ties two parsers by this distance; the sum over all pairs is the direct extension to K tasks.

    Source:
        L. Duong, T. Cohn, S. Bird, P. Cook, Low Resource Dependency Parsing: Cross-lingual Parameter Sharing in a
        Neural Network Parser, ACL-IJCNLP 2015.

    Example:
        >>> import torch
        >>> three = torch.tensor([[0.0], [1.0], [3.0]])  # 1 + 9 + 4
        >>> PairwiseDistance(strength=1.0)({"weight": three})
        tensor(14.)
    """

    def distance(self, stacks: Mapping[str, Tensor], centre: Mapping[str, Tensor] | None = None) -> Tensor:
        """Sum over all pairs of the squared distance; scalar."""
        total: Tensor | None = None
        for stack in stacks.values():
            term = stack.shape[0] * (stack - stack.mean(0, keepdim=True)).square().sum()
            total = term if total is None else total + term
        assert total is not None
        return total

    def prox(self, stacks: Mapping[str, Tensor], step: float | Tensor) -> dict[str, Tensor]:
        """``mean + (theta_t - mean) / (1 + 2 step K)``: never overshoots, however strong the coupling."""
        moved = {}
        for name, stack in stacks.items():
            mean = stack.mean(0, keepdim=True)
            moved[name] = mean + (stack - mean) / (1 + 2 * step * stack.shape[0])
        return moved


@dataclass(frozen=True)
class CentreDistance(ParameterCoupling):
    """Squared distance of every task network to one common copy, which is learned too.

        strength * sum_t ||theta_t - centre||^2

    The common copy is a parameter that only this penalty reaches (``model.coupling_parameters()``). At its optimum
    it is the mean of the task networks, and the penalty is the pairwise one divided by K.

    Args:
        strength: lambda, 0 or more; default 1e-3 (our choice).

    Source:
        L. Duong, T. Cohn, S. Bird, P. Cook, ACL-IJCNLP 2015, for the distance; the common copy is that of
        T. Evgeniou, M. Pontil, Regularized Multi-Task Learning, KDD 2004.

    Example:
        >>> import torch
        >>> stacks = {"weight": torch.tensor([[0.0], [2.0]])}
        >>> CentreDistance(strength=1.0)(stacks, {"weight": torch.tensor([1.0])})
        tensor(2.)
    """

    needs_centre: ClassVar[bool] = True

    def distance(self, stacks: Mapping[str, Tensor], centre: Mapping[str, Tensor] | None = None) -> Tensor:
        """Sum over tasks of the squared distance to the centre; scalar."""
        if centre is None:
            raise TaskError("CentreDistance needs the common copy: call it with centre={name: tensor}")
        total: Tensor | None = None
        for name, stack in stacks.items():
            term = (stack - centre[name]).square().sum()
            total = term if total is None else total + term
        assert total is not None
        return total


@dataclass(frozen=True)
class GraphDistance(ParameterCoupling):
    """Squared distances along the edges of a graph that says which tasks are related.

        strength * sum_(i<j) a_ij ||theta_i - theta_j||^2

    Args:
        strength: lambda, 0 or more; default 1e-3 (our choice).
        similarity: a_ij, K rows of K non-negative numbers, symmetric; the diagonal does not matter.

    Raises:
        TaskError: the matrix is not square, not symmetric, or has a negative or infinite entry, or its size is not
            the number of tasks.

    Cost:
        one (K, K) by (K, P) product.

    Source:
        T. Evgeniou, C. A. Micchelli, M. Pontil, Learning Multiple Tasks with Kernel Methods, Journal of Machine
        Learning Research 6, 2005 (graph regularisation of task parameters).

    Example:
        >>> import torch
        >>> chain = ((0, 1, 0), (1, 0, 1), (0, 1, 0))
        >>> GraphDistance(strength=1.0, similarity=chain)({"weight": torch.tensor([[0.0], [1.0], [3.0]])})
        tensor(5.)
    """

    similarity: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        matrix = np.asarray(self.similarity, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise TaskError(f"similarity must be a square matrix, found shape {matrix.shape}; give K rows of K numbers")
        if not np.isfinite(matrix).all() or (matrix < 0).any():
            raise TaskError("similarity must have finite entries of 0 or more; leave an edge out with 0")
        if not np.array_equal(matrix, matrix.T):
            raise TaskError("similarity must be symmetric; use (a + a.T) / 2 of your matrix a")
        object.__setattr__(self, "similarity", tuple(tuple(float(entry) for entry in row) for row in matrix))

    def check(self, n_tasks: int) -> None:
        """Raise TaskError unless the matrix has one row per task."""
        if len(self.similarity) != n_tasks:
            raise TaskError(f"similarity is for {len(self.similarity)} tasks, but the model has {n_tasks}")

    def without(self, index: int) -> Self:
        """The graph without one of its tasks."""
        kept = np.delete(np.delete(np.asarray(self.similarity), index, axis=0), index, axis=1)
        return replace(self, similarity=tuple(map(tuple, kept.tolist())))

    def distance(self, stacks: Mapping[str, Tensor], centre: Mapping[str, Tensor] | None = None) -> Tensor:
        """Sum over edges of the weighted squared distance; scalar."""
        import torch

        laplacian = self._laplacian()
        total: Tensor | None = None
        for stack in stacks.values():
            # Equal networks must give exactly zero: the Laplacian ignores the mean, rounding does not.
            rows = (stack - stack.mean(0, keepdim=True)).flatten(1)
            matrix = torch.as_tensor(laplacian, dtype=rows.dtype, device=rows.device)
            term = (rows * (matrix @ rows)).sum()
            total = term if total is None else total + term
        assert total is not None
        return total

    def prox(self, stacks: Mapping[str, Tensor], step: float | Tensor) -> dict[str, Tensor]:
        """``(I + 2 step L)^-1 theta`` with L the Laplacian of the graph."""
        import torch

        moved = {}
        for name, stack in stacks.items():
            laplacian = torch.as_tensor(self._laplacian(), dtype=stack.dtype, device=stack.device)
            matrix = torch.eye(stack.shape[0], dtype=stack.dtype, device=stack.device) + 2 * step * laplacian
            moved[name] = torch.linalg.solve(matrix, stack.flatten(1)).reshape(stack.shape)
        return moved

    def _laplacian(self) -> np.ndarray:
        weights = np.array(self.similarity)
        np.fill_diagonal(weights, 0.0)
        laplacian: np.ndarray = np.diag(weights.sum(1)) - weights
        return laplacian
