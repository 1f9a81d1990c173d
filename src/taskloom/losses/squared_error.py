"""Squared error: ``l(o, y) = (o - y)^2``, the default of regression."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as functional
from torch import Tensor

from taskloom.losses.base import Loss, single_output

__all__ = ["SquaredError"]


@dataclass(frozen=True, slots=True)
class SquaredError(Loss):
    """Mean squared error over the labelled elements.

    Use it when large errors are to count much more than small ones; it estimates the mean of the target. In units of
    the target squared.

        L = mean over labelled i of (o_i - y_i)^2

    Equal to ``torch.nn.functional.mse_loss`` on the labelled elements.

    Example:
        >>> import torch
        >>> SquaredError()(torch.tensor([[1.0], [5.0]]), torch.tensor([3.0, 0.0]), torch.tensor([True, False]))
        tensor(4.)
    """

    def elementwise(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Squared difference, shape (..., n)."""
        return functional.mse_loss(single_output(prediction, self), target, reduction="none")
