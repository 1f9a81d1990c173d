"""Cross entropy on logits: ``l(o, y) = log sum_c exp(o_c) - o_y``, the default of tasks with several classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as functional
from torch import Tensor

from taskloom.losses.base import Loss

__all__ = ["CrossEntropy"]


@dataclass(frozen=True, slots=True)
class CrossEntropy(Loss):
    """Mean cross entropy of C classes over the labelled elements, in nats.

    The head has C outputs, the logits; targets are class codes 0 .. C-1, as integers or as floating numbers.

        L = mean over labelled i of  log(sum_c exp(o_ic)) - o_{i, y_i}

    Equal to ``torch.nn.functional.cross_entropy`` on the labelled elements.

    Example:
        >>> import torch
        >>> CrossEntropy()(torch.zeros(2, 4), torch.tensor([3, -1]), torch.tensor([True, False]))
        tensor(1.3863)
    """

    def elementwise(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Cross entropy in nats, shape (..., n)."""
        # cross_entropy wants the classes on axis 1; log_softmax and gather take any number of leading axes.
        log_probability = functional.log_softmax(prediction, dim=-1)  # (..., n, C)
        return -log_probability.gather(-1, target.long().unsqueeze(-1)).squeeze(-1)
