"""Absolute error: ``l(o, y) = |o - y|``."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as functional
from torch import Tensor

from taskloom.losses.base import Loss, single_output

__all__ = ["AbsoluteError"]


@dataclass(frozen=True, slots=True)
class AbsoluteError(Loss):
    """Mean absolute error over the labelled elements.

    Use it when a few targets are far off and should not dominate; it estimates the median of the target. In units of
    the target.

        L = mean over labelled i of |o_i - y_i|

    Equal to ``torch.nn.functional.l1_loss`` on the labelled elements.

    Example:
        >>> import torch
        >>> AbsoluteError()(torch.tensor([[1.0], [5.0]]), torch.tensor([3.0, 0.0]), torch.tensor([True, False]))
        tensor(2.)
    """

    def elementwise(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Absolute difference, shape (..., n)."""
        return functional.l1_loss(single_output(prediction, self), target, reduction="none")
