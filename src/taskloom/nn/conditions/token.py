"""A learned token of the task before those of the input: ``u' = [e_t; u_1; ...; u_N]``."""

from __future__ import annotations

import torch
from torch import Tensor

from taskloom.errors import TaskError
from taskloom.nn.conditions.base import Condition

__all__ = ["EmbeddingToken"]


class EmbeddingToken(Condition):
    """Put a learned token of the task before the tokens (n, N, D), which attention then lets all of them read.

    Sequences grow by one; what reads positions behind it has to know, as ``pool="first"`` of a transformer encoder
    does, which then reads the task's token.

    Args:
        n_tasks: number of tasks K.
        width: width D of the tokens; vectors are drawn from N(0, 1/D).

    Raises:
        TaskError: (in the forward pass) features that are no tokens of this width.

    Example:
        >>> token = EmbeddingToken(2, width=4)
        >>> token(torch.zeros(3, 5, 4), members=[0, 1], rows=torch.tensor([0, 1, 1])).shape
        torch.Size([3, 6, 4])
    """

    def __init__(self, n_tasks: int, *, width: int) -> None:
        super().__init__(n_tasks, width=width, dimension=2)

    def apply_codes(self, features: Tensor, codes: Tensor) -> Tensor:
        if features.ndim != 3 or features.shape[2] != self.width:
            raise TaskError(
                f"EmbeddingToken stands before tokens (n, N, {self.width}), found features {tuple(features.shape)}; "
                "give width= that of the tokens, and put it where they are tokens"
            )
        return torch.cat([codes.unsqueeze(1).to(features.dtype), features], dim=1)
