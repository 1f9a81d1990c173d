"""Groups of an optimiser for models in which some parameters learn in another way than the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypedDict

from torch import nn

__all__ = ["Settings", "two_groups"]


class Settings(TypedDict):
    """What an optimiser does with a group."""

    lr: float
    weight_decay: float


def two_groups(
    model: nn.Module, apart: Iterable[nn.Parameter], *, usual: Settings, own: Settings
) -> list[dict[str, Any]]:
    """Two groups that hold all trainable parameters of a model: the others, and those that are named.

    Args:
        model: the model.
        apart: the parameters of the second group; frozen ones are left out.
        usual: settings of the first group.
        own: settings of the second.
    """
    special = {id(parameter): parameter for parameter in apart if parameter.requires_grad}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in special]
    return [{"params": others, **usual}, {"params": list(special.values()), **own}]
