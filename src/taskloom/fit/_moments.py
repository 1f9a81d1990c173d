"""Moments of an optimiser for parameters that come from others: copies of a layer that was split."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

__all__ = ["inherit_moments"]


def inherit_moments(new: Optimizer, others: Iterable[Optimizer], origins: Mapping[nn.Parameter, nn.Parameter]) -> None:
    """Give parameters of a new optimiser the state that their origins have in earlier ones of the same class.

    Args:
        new: the optimiser; its state changes.
        others: earlier optimisers; of several that know an origin the last counts.
        origins: new parameter -> the parameter whose state it takes over; shapes are equal.
    """
    known: dict[Any, Any] = {}
    for other in others:
        if type(other) is type(new):
            known.update(other.state)
    for group in new.param_groups:
        for parameter in group["params"]:
            origin = origins.get(parameter)
            if origin is not None and origin in known:
                new.state[parameter] = copy.deepcopy(known[origin])
