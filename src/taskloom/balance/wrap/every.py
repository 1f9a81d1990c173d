"""Look at the gradients only at every k-th step and keep the weights in between."""

from __future__ import annotations

from taskloom.balance._every import Every
from taskloom.balance.base import Balancer, chain

__all__ = ["Every", "every"]


def every(interval: int, balancer: Balancer) -> Balancer:
    """Use a gradient method at every k-th step and its last weights in between: most of the effect, 1/k of the cost.

    Not exact: between two looks the weights are old.

        w_t = w(G_t) if t mod k = 0, else w_{t-1}

    Args:
        interval: k >= 1 steps.
        balancer: any balancer without parameters of its own that ends in weights.

    Returns:
        the balancer, ``chain(every(k, ...))``.

    Raises:
        BalanceError: a wrong interval, or a balancer that has parameters or makes directions from rows.

    Cost:
        that of the balancer at every k-th step, none in between.

    Distributed:
        as the balancer; all ranks look at the same steps.

    Example:
        >>> import torch
        >>> import taskloom as tl
        >>> balancer = every(2, tl.pcgrad())
        >>> opposed, orthogonal = torch.tensor([[1.0, -1.0], [-1.0, 4.0]]), torch.eye(2)
        >>> balancer.weights(opposed), balancer.weights(orthogonal), balancer.weights(orthogonal)
        (tensor([2.0000, 1.2500]), tensor([2.0000, 1.2500]), tensor([1., 1.]))
    """
    return chain(Every(interval, balancer))
