"""A learned vector of the task beside the features: ``u' = [u; e_t]``."""

from __future__ import annotations

from torch import Tensor

from taskloom.nn.conditions.base import Condition

__all__ = ["EmbeddingConcat"]


class EmbeddingConcat(Condition):
    """Append a learned vector of the task; the layer that reads it needs ``width`` more inputs.

    Args:
        n_tasks: number of tasks K.
        width: length d of the vectors, drawn from N(0, 1/d); default 8 (our choice).
        dimension: conditioned axis, see :class:`Condition`.

    Example:
        >>> sum(parameter.numel() for parameter in EmbeddingConcat(3, width=4).parameters())
        12
    """

    def __init__(self, n_tasks: int, *, width: int = 8, dimension: int = 1) -> None:
        super().__init__(n_tasks, width=width, dimension=dimension)

    def apply_codes(self, features: Tensor, codes: Tensor) -> Tensor:
        return self._append(features, codes)
