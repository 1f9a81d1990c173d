"""New initial weights for a network that keeps its structure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from taskloom.errors import TaskError

if TYPE_CHECKING:
    from taskloom.nn.model import MultiTaskModel

__all__ = ["reset_weights"]


def reset_weights(model: MultiTaskModel) -> None:
    """Call ``reset_parameters`` of every part that has it; structure and coupling parameters keep their values.

    Raises:
        TaskError: shared or task parameters that no ``reset_parameters`` covers: they would keep what they learned.
    """
    kept = {id(parameter): parameter for parameter in (*model.structure_parameters(), *model.coupling_parameters())}
    before = {identity: parameter.detach().clone() for identity, parameter in kept.items()}
    covered: set[int] = set()
    for part in reversed([*model.modules()]):  # parts before the whole, which may start them in its own way
        # torch's attention spells it with an underscore
        reset: Any = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
        if callable(reset):
            reset()
            covered |= {id(parameter) for parameter in part.parameters()}
    missing = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and id(parameter) not in covered and id(parameter) not in kept
    ]
    if missing:
        raise TaskError(
            f"{type(model).__name__}: no reset_parameters draws {missing[:5]} anew; give the modules that hold them a "
            "method reset_parameters(), as torch's layers have"
        )
    with torch.no_grad():
        for identity, parameter in kept.items():
            parameter.copy_(before[identity])
