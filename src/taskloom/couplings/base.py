"""What a coupling of networks is: a penalty on same-named parameters of K networks, stacked along a first task axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from taskloom.errors import TaskError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["ParameterCoupling"]


@dataclass(frozen=True)
class ParameterCoupling:
    """A penalty ``strength * distance(stacks)`` that pulls the networks of several tasks together.

    Subclass it and write :meth:`distance`. It must be differentiable, and must run under ``torch.func.vmap``:
    no ``.item()`` and no Python decision that depends on values.

    Args:
        strength: non-negative factor on the distance, called lambda in formulas; default 1e-3 (our choice).

    Raises:
        TaskError: the strength is negative or not a number.

    Example:
        >>> import torch
        >>> from taskloom.couplings import PairwiseDistance
        >>> PairwiseDistance(strength=0.5)({"weight": torch.tensor([[0.0], [2.0]])})
        tensor(2.)
    """

    strength: float = 1e-3

    needs_centre: ClassVar[bool] = False
    """Whether :meth:`distance` needs a common copy of the parameters (a parameter that only the penalty reaches)."""

    def __post_init__(self) -> None:
        if not self.strength >= 0:
            raise TaskError(f"the strength of a coupling must be 0 or more, found {self.strength!r}")

    def applies_to(self, shape: torch.Size) -> bool:
        """Whether a parameter of this shape (without the task axis) is coupled; default: every parameter."""
        return True

    def check(self, n_tasks: int) -> None:
        """Raise if the coupling does not fit this number of tasks; default: every number fits."""

    def without(self, index: int) -> Self:
        """The coupling of the tasks other than one; default: itself, where tasks are not told apart."""
        return self

    def distance(self, stacks: Mapping[str, Tensor], centre: Mapping[str, Tensor] | None = None) -> Tensor:
        """Penalty without its strength.

        Args:
            stacks: parameter name -> (K, ...) values of the K networks.
            centre: parameter name -> (...) common copy; only for couplings with ``needs_centre``.

        Returns:
            scalar.
        """
        raise NotImplementedError

    def prox(self, stacks: Mapping[str, Tensor], step: float | Tensor) -> dict[str, Tensor]:
        """Minimiser of ``1/2 ||x - stacks||^2 + step * distance(x)``, where it has a closed form.

        Args:
            stacks: parameter name -> (K, ...).
            step: learning rate times strength.

        Raises:
            TaskError: this coupling has no closed form.
        """
        raise TaskError(
            f"{type(self).__name__} has no closed-form proximal step; add its penalty to the objective instead"
        )

    def __call__(self, stacks: Mapping[str, Tensor], centre: Mapping[str, Tensor] | None = None) -> Tensor:
        """``strength * distance(stacks, centre)``, a scalar."""
        return self.strength * self.distance(stacks, centre)
