"""What a rule of gates is: it turns the scores of a gate into weights of experts, none negative.

With z the input of the gate and n experts, the scores are ``s = W z + b`` (or, for a rule that reads no input, ``b``)
and the weights ``q = weigh(s)``. The parameters W and b belong to the :class:`~taskloom.nn.gates.Gate`, so that a rule
is plain data: gates of equal rules are computed together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError

__all__ = ["GateRule"]


@dataclass(frozen=True, kw_only=True)
class GateRule:
    """How scores become weights. Subclass it and write :meth:`weigh`; override the rest where the default does not fit.

    Rules are frozen dataclasses, compared by their settings. ``weigh`` must run under ``torch.func.vmap``: no
    ``.item()`` and no Python decision that depends on values. For a single expert the weight must be 1: architectures
    build no gate where there is nothing to choose.

    Example:
        >>> from dataclasses import dataclass
        >>> from taskloom.nn import Gate
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Sparsemax(GateRule):
        ...     def weigh(self, scores, constants, *, training):
        ...         return torch.nn.functional.normalize(scores.relu() + 1e-6, p=1, dim=-1)
        >>> Gate(3, 2, rule=Sparsemax())(torch.zeros(1, 3))
        tensor([[0.5000, 0.5000]], ...)
    """

    has_bias: ClassVar[bool] = False
    """Whether the scores have a bias b beside W z."""

    @property
    def is_static(self) -> bool:
        """Whether the scores are learned constants ``b``, the same for every row; default no."""
        return False

    @property
    def has_penalties(self) -> bool:
        """Whether :meth:`penalties` has anything to say; default no."""
        return False

    @property
    def draws(self) -> bool:
        """Whether random numbers are drawn in training; default no."""
        return False

    def check(self, n_experts: int) -> None:
        """Raise TaskError where the rule cannot weigh so many experts."""

    def n_scores(self, n_experts: int) -> int:
        """Number of scores for n experts; default one each."""
        return n_experts

    def constants(self, n_experts: int) -> dict[str, Tensor]:
        """Tensors that :meth:`weigh` needs and that never change; the gate keeps them as buffers."""
        return {}

    def start(self, weight: Tensor | None, bias: Tensor | None) -> None:
        """Set the initial W (scores, d) and b (scores,), in place; default as ``nn.Linear``, and b = 0 without W."""
        if weight is not None:
            nn.init.kaiming_uniform_(weight, a=5**0.5)
        if bias is not None:
            bound = 0.0 if weight is None else weight.shape[1] ** -0.5
            nn.init.uniform_(bias, -bound, bound)

    def weigh(self, scores: Tensor, constants: Mapping[str, Tensor], *, training: bool) -> Tensor:
        """Weights (..., n experts) from scores (..., n scores)."""
        raise NotImplementedError

    def penalties(self, scores: Tensor, weights: Tensor, constants: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Named, weighted scalars of one gate for its scores (rows, n scores) and weights (rows, n); default none."""
        return {}


def check_positive(owner: object, **settings: float) -> None:
    """Raise TaskError for a setting that is not above 0."""
    for name, value in settings.items():
        if not value > 0:
            raise TaskError(f"{name} of {type(owner).__name__} must be above 0, found {value!r}")


def check_share(owner: object, **settings: float) -> None:
    """Raise TaskError for a setting outside [0, 1)."""
    for name, value in settings.items():
        if not 0 <= value < 1:
            raise TaskError(f"{name} of {type(owner).__name__} must lie in [0, 1), found {value!r}")


def keep_some(scores: Tensor, dropout: float) -> Tensor:
    """Scores (..., n) of which each is -inf with probability ``dropout``; where that hits all, none is."""
    kept = torch.rand_like(scores) >= dropout
    return scores.masked_fill(~(kept | ~kept.any(-1, keepdim=True)), -torch.inf)
