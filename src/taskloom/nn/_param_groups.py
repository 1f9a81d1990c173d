"""Groups of an optimiser for models in which some parameters learn in another way than the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypedDict

from torch import nn

__all__ = ["UNIT_LR_FACTOR", "Settings", "two_groups"]

UNIT_LR_FACTOR = 1.0
"""Learning rate of mixing weights over that of the networks.

The papers take 100 to 1000, for plain gradient steps. AdamW's steps have the size of the learning rate whatever the
gradient. Measured with it at rates 1e-3 and 1e-2, mean validation score of 4 draws: for cross-stitch, sluice and NDDR
networks on linear tasks with related weights, on tasks of planted groups and on digits, 1 is best or within 1 % of 3,
and 100 is 8 to 58 % worse (NDDR: 50 % and more).
"""


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
