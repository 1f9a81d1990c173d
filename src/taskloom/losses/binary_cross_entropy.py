"""Binary cross entropy on logits: ``l(o, y) = log(1 + exp(o)) - y o``, the default of two-class tasks."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as functional
from torch import Tensor

from taskloom.losses.base import Loss, single_output

__all__ = ["BinaryCrossEntropy"]


@dataclass(frozen=True, slots=True)
class BinaryCrossEntropy(Loss):
    """Mean cross entropy of two classes over the labelled elements, in nats.

    The head has one output, the logit of the second class; targets are 0 or 1 (or a probability in between), as
    integers or as floating numbers.

        L = mean over labelled i of  log(1 + exp(o_i)) - y_i o_i

    Equal to ``torch.nn.functional.binary_cross_entropy_with_logits`` on the labelled elements; stable for any logit.

    Example:
        >>> import torch
        >>> BinaryCrossEntropy()(torch.tensor([[0.0], [9.0]]), torch.tensor([1, -1]), torch.tensor([True, False]))
        tensor(0.6931)
    """

    def elementwise(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Cross entropy in nats, shape (..., n)."""
        logits = single_output(prediction, self)
        return functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
