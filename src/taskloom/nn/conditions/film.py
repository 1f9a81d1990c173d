"""Scale and shift of every feature per task: ``u' = gamma_t * u + beta_t``."""

from __future__ import annotations

from torch import Tensor, nn

from taskloom.nn.conditions.base import Condition

__all__ = ["FiLM"]


class FiLM(Condition):
    """Scale and shift every feature per task (feature-wise linear modulation).

        u' = gamma_t * u + beta_t

    With a width, ``[gamma_t - 1, beta_t] = V e_t + c``, V and c starting at 0. Without, gamma and beta are themselves
    the parameters of the task. Both start unconditioned: gamma 1, beta 0.

    Args:
        n_tasks: number of tasks K.
        features: number C of conditioned features.
        width: length d of the task vectors; default None: each task has its own gamma and beta (2 C numbers).
        dimension: conditioned axis, see :class:`Condition`.

    Source:
        E. Perez, F. Strub, H. de Vries, V. Dumoulin, A. Courville, FiLM: Visual Reasoning with a General Conditioning
        Layer, AAAI 2018, arXiv:1709.07871.

    Example:
        >>> condition = FiLM(3, 5, width=2)
        >>> sum(parameter.numel() for parameter in condition.parameters())  # K d + (d + 1) 2 C
        36
    """

    def __init__(self, n_tasks: int, features: int, *, width: int | None = None, dimension: int = 1) -> None:
        is_direct = width is None
        length = 2 * features if width is None else width
        super().__init__(n_tasks, width=length, dimension=dimension, zero_start=is_direct)
        self.project: nn.Linear | None = None
        if width is not None:
            self.project = nn.Linear(width, 2 * features)
            self._close()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self._close()

    def _close(self) -> None:
        """Start unconditioned: gamma = 1, beta = 0."""
        if self.project is not None:
            nn.init.zeros_(self.project.weight)
            nn.init.zeros_(self.project.bias)

    def codes(self, vectors: Tensor) -> Tensor:
        both: Tensor = vectors if self.project is None else self.project(vectors)  # (m, 2 C)
        return both

    def apply_codes(self, features: Tensor, codes: Tensor) -> Tensor:
        scale, shift = codes.chunk(2, dim=1)
        return (1 + self._aligned(scale, features)) * features + self._aligned(shift, features)
