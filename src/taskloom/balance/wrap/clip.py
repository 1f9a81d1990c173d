"""A bound on the length of the direction."""

from __future__ import annotations

from taskloom.balance._max_norm import MaxNorm

__all__ = ["clip"]


def clip(max_norm: float) -> MaxNorm:
    """Link for the end of a chain that shortens the direction to a norm of at most ``max_norm``.

    For methods whose direction can be very long (Nash-MTL, FairGrad near Pareto stationary points). It bounds the
    gradient of the shared parameters; the gradient clipping of a trainer bounds that of all parameters.

        w <- w min(1, m / ||d||),    ||d||^2 = w^T G w

    Args:
        max_norm: m > 0.

    Returns:
        the link; it needs the Gramian and one row, so put it after a reducer.

    Raises:
        BalanceError: a max_norm that is not positive; at a step, more than one row.

    Cost:
        nothing beside methods that measure task gradients; after others, one backward pass per task.

    Example:
        >>> import torch
        >>> from taskloom.balance.base import chain
        >>> from taskloom.balance.reduce.sum import sum_
        >>> chain(sum_(), clip(1.0)).weights(torch.diag(torch.tensor([9.0, 16.0])))  # the sum has norm 5
        tensor([0.2000, 0.2000])
    """
    return MaxNorm(max_norm)
