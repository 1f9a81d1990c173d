r"""What a loss is: the mean over the labelled elements of an element-wise penalty.

    L = sum_i m_i l(o_i, y_i) / max(1, sum_i m_i)

with outputs ``o_i``, targets ``y_i`` and ``m_i`` = 1 where element i is labelled, else 0. A subclass writes only ``l``;
the mask is applied here, once, in a way that lets nothing through from an unlabelled element: not its value, not its
gradient, and not a NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from taskloom.errors import DataError

__all__ = ["Loss", "labelled_count", "single_output"]


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss of one task. Subclass it and write :meth:`elementwise`; call it with a mask.

    Losses are frozen data: two losses with equal settings are equal, which is how :func:`taskloom.losses.task_losses`
    knows what it may evaluate together. They work on any number of leading axes and under ``torch.func.vmap``.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True, slots=True)
        ... class Quartic(Loss):
        ...     def elementwise(self, prediction, target):
        ...         return (prediction.squeeze(-1) - target) ** 4
        >>> Quartic()(torch.tensor([[2.0], [9.0]]), torch.tensor([1.0, float("nan")]), torch.tensor([True, False]))
        tensor(1.)
    """

    def elementwise(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Penalty of every element.

        Args:
            prediction: raw outputs, shape (..., n, n_outputs).
            target: targets, shape (..., n), in the floating dtype of the outputs (class codes too); 0 where unlabelled.

        Returns:
            penalties, shape (..., n).
        """
        raise NotImplementedError

    def __call__(self, prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mean penalty over the labelled elements of the last axis.

        Args:
            prediction: raw outputs of the head, shape (..., n, n_outputs). Half precision is raised to float32.
            target: targets, shape (..., n); anything, NaN included, where unlabelled.
            mask: True where labelled, shape (..., n), bool; None: everything is labelled, n > 0.

        Returns:
            loss, shape (...); 0 with gradient exactly 0 where nothing is labelled.

        Raises:
            DataError: the shapes do not fit together.
        """
        masked = mask.shape if mask is not None else target.shape
        if prediction.ndim == 0 or prediction.shape[:-1] != target.shape or target.shape != masked:
            raise DataError(
                f"{type(self).__name__}: found outputs of shape {tuple(prediction.shape)}, targets of "
                f"shape {tuple(target.shape)}, a mask of shape {tuple(masked)}; expected (..., n, n_outputs), "
                "(..., n) and (..., n). For a head with one output keep the last axis: outputs.unsqueeze(-1)."
            )
        if mask is not None and mask.dtype != torch.bool:
            raise DataError(
                f"{type(self).__name__}: the mask has dtype {mask.dtype}; expected torch.bool. Write mask.bool()."
            )
        if prediction.dtype in (torch.float16, torch.bfloat16):
            prediction = prediction.float()
        if mask is None:
            return self.elementwise(prediction, target.to(prediction.dtype)).mean(-1)
        # Unlabelled elements are replaced before the penalty is taken: 0 * NaN would be NaN in value and gradient.
        prediction = torch.where(mask.unsqueeze(-1), prediction, 0.0)
        target = torch.where(mask, target.to(prediction.dtype), 0.0)
        penalty = torch.where(mask, self.elementwise(prediction, target), 0.0)  # (..., n)
        return penalty.sum(-1) / labelled_count(mask).clamp(min=1)


def labelled_count(mask: Tensor) -> Tensor:
    """Number of labelled elements behind each loss: the weight of that loss in a mean over batches or ranks.

    Args:
        mask: True where labelled, shape (..., n), bool.

    Returns:
        counts, shape (...), int64.

    Example:
        >>> labelled_count(torch.tensor([[True, False], [True, True]]))
        tensor([1, 2])
    """
    return mask.sum(-1)


def single_output(prediction: Tensor, loss: Loss) -> Tensor:
    """Outputs of a head with one output without their last axis, or an error that names the loss."""
    if prediction.shape[-1] != 1:
        raise DataError(
            f"{type(loss).__name__}: found {prediction.shape[-1]} outputs per element; expected 1. "
            "Give the head one output, or use a loss for several outputs such as CrossEntropy()."
        )
    return prediction.squeeze(-1)
