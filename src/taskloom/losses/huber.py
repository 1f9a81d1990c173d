"""Huber loss: squared error for small differences, absolute error for large ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as functional
from torch import Tensor

from taskloom.errors import DataError
from taskloom.losses.base import Loss, single_output

__all__ = ["Huber"]


@dataclass(frozen=True, slots=True)
class Huber(Loss):
    """Mean Huber loss over the labelled elements.

    Smooth like the squared error near the target, robust like the absolute error far from it.

        l(o, y) = e^2 / 2                  where e = |o - y| <= delta
                  delta (e - delta / 2)    elsewhere

    Equal to ``torch.nn.functional.huber_loss`` on the labelled elements.

    Args:
        delta: difference at which the loss turns from squared to linear, in units of the (standardised) target;
            default 1.0 as in PyTorch.

    Raises:
        DataError: delta is not positive.

    Source:
        Huber, Robust Estimation of a Location Parameter, Annals of Mathematical Statistics 35, 1964.

    Example:
        >>> import torch
        >>> Huber()(torch.tensor([[0.5], [3.0]]), torch.tensor([0.0, 0.0]), torch.tensor([True, True]))
        tensor(1.3125)
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        if not self.delta > 0:
            raise DataError(f"Huber: found delta = {self.delta!r}; expected a positive number, for example Huber(1.0)")

    def elementwise(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Huber penalty, shape (..., n)."""
        return functional.huber_loss(single_output(prediction, self), target, reduction="none", delta=self.delta)
