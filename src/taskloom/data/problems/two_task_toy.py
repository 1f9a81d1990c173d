"""Two losses of two numbers that only some methods minimise together: deep cracks, and gradients of unlike lengths.

    l_1 = kappa (c_1 u_1 + c_2 q_1),    l_2 = c_1 u_2 + c_2 q_2,    t = tanh(-x_2)
    u_1 = log max(|(-x_1 - 7) / 2 - t|, 5e-6) + 6,       q_1 = ((7 - x_1)^2 + (x_2 + 8)^2 / 10) / 10 - 20
    u_2 = log max(|(-x_1 + 3) / 2 + t + 2|, 5e-6) + 6,   q_2 = ((x_1 + 7)^2 + (x_2 + 8)^2 / 10) / 10 - 20
    c_1 = max(tanh(x_2 / 2), 0),    c_2 = max(-tanh(x_2 / 2), 0)

Above x_2 = 0 each loss has a crack, where its logarithm goes down to log 5e-6 and its gradient is long; below it lie
two parabolas, one with its minimum to the left and one to the right. Where the derivative of a maximum jumps it is
taken as 1, which matters at the start (0, 0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from taskloom.errors import DataError

__all__ = ["TwoTaskToy"]

_SMALLEST = 5e-6
_VALLEY = -8.3552  # x_2 of the Pareto set
_BESIDE = 0.25  # and how far from it still counts: the set bends by 0.08 towards its ends
_END = 7.05  # largest |x_1| of the Pareto set, and 0.05


@dataclass(frozen=True)
class TwoTaskToy:
    """Two losses of a point (x_1, x_2), with a Pareto set that can be looked at.

    The Pareto set is the bottom of a valley, x_2 about -8.355 (-8.434 at its ends) and -7 <= x_1 <= 7. For kappa = 1
    the mean of the losses is least at (0, -8.3551), where both are -15.09; for kappa = 0.1 at (-5.7273, -8.4094), where
    they are -0.3798 and -19.8275.

    Args:
        kappa: factor on the first loss: 1 in the paper on CAGrad, 0.1 in those on Nash-MTL and FAMO.

    Raises:
        DataError: kappa is not a positive number.

    Source:
        Liu, Liu, Jin, Stone, Liu, "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021, arXiv
        2110.14048, appendix; also used in arXiv 2202.01017 (Nash-MTL) and arXiv 2306.03792 (FAMO).

    Example:
        >>> toy = TwoTaskToy()
        >>> point = torch.tensor([0.0, -8.3551], dtype=torch.float64)
        >>> toy.losses(point).round(decimals=2), toy.in_valley(point)
        (tensor([-15.0900, -15.0900], dtype=torch.float64), tensor(True))
    """

    kappa: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.kappa) and self.kappa > 0):
            raise DataError(
                f"TwoTaskToy(): kappa must be a positive number, found {self.kappa!r}; papers have 1 or 0.1"
            )

    def losses(self, points: Tensor) -> Tensor:
        """Both losses of each point: (..., 2) -> (..., 2), with a graph."""
        x, y = points.unsqueeze(-1).unbind(-2)  # (..., 1) each
        side, scale = self._constants(points)
        crack = 0.5 * x + side * (3.5 + torch.tanh(-y))  # (..., 2), one per loss
        logarithm = crack.abs().clamp(min=_SMALLEST).log() + 6
        parabola = ((x - 7 * side).square() + 0.1 * (y + 8).square()) / 10 - 20
        half = torch.tanh(0.5 * y)
        return scale * (half.clamp(min=0) * logarithm + (-half).clamp(min=0) * parabola)  # clamp has slope 1 at its end

    def jacobian(self, points: Tensor) -> Tensor:
        """Gradient of each loss at each point, one per row, in closed form: (..., 2) -> (..., 2, 2), no graph."""
        x, y = points.detach().unsqueeze(-1).unbind(-2)
        side, scale = self._constants(points)
        t = torch.tanh(-y)
        crack = 0.5 * x + side * (3.5 + t)
        size = crack.abs()
        logarithm = size.clamp(min=_SMALLEST).log() + 6
        steep = torch.where(size >= _SMALLEST, 1 / crack, 0.0)  # derivative of the logarithm in crack
        parabola = ((x - 7 * side).square() + 0.1 * (y + 8).square()) / 10 - 20
        half = torch.tanh(0.5 * y)
        slope = 0.5 * (1 - half.square())
        above, below = half.clamp(min=0), (-half).clamp(min=0)
        along_x = above * 0.5 * steep + below * 0.2 * (x - 7 * side)
        along_y = above * steep * side * (t.square() - 1) + below * 0.02 * (y + 8)
        along_y = along_y + slope * (torch.where(half >= 0, logarithm, 0.0) - torch.where(half <= 0, parabola, 0.0))
        return torch.stack([scale * along_x, scale * along_y], -1)

    def in_valley(self, points: Tensor) -> Tensor:
        """Whether each point lies on the Pareto set, within 0.25 in x_2 and 0.05 beyond its ends: (..., 2) -> (...)."""
        x, y = points.unbind(-1)
        return ((y - _VALLEY).abs() <= _BESIDE) & (x.abs() <= _END)

    def _constants(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """On which side the parabola of each loss lies, and the factor on it, (2,) each."""
        return points.new_tensor([1.0, -1.0]), points.new_tensor([self.kappa, 1.0])
