"""A gate that does not look at the input: ``q = softmax(b)``, learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from taskloom.nn.gates.base import GateRule, check_positive

__all__ = ["StaticGate"]


@dataclass(frozen=True, kw_only=True)
class StaticGate(GateRule):
    """The same weights for every row, learned per gate; they start even.

        q = softmax(b / T)

    Fewer parameters than a gate that reads the input, and one number per expert to read off afterwards.

    Args:
        temperature: T above 0; default 1.

    Raises:
        TaskError: the temperature is not above 0.

    Source:
        the static softmax gate that H. Hazimeh et al., DSelect-k, NeurIPS 2021, arXiv:2106.03760 compare with.

    Example:
        >>> from taskloom.nn import Gate
        >>> import torch
        >>> Gate(3, 4, rule=StaticGate())(torch.randn(2, 3))
        tensor([[0.2500, 0.2500, 0.2500, 0.2500],
                [0.2500, 0.2500, 0.2500, 0.2500]], ...)
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_positive(self, temperature=self.temperature)

    @property
    def is_static(self) -> bool:
        return True

    def weigh(self, scores: Tensor, constants: Mapping[str, Tensor], *, training: bool) -> Tensor:
        return (scores if self.temperature == 1.0 else scores / self.temperature).softmax(-1)
