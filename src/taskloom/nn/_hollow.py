"""Modules without tensors of their own, which are given when they are called."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import Tensor, nn

__all__ = ["filled", "hollow"]


def hollow(module: nn.Module) -> nn.Module:
    """A copy without parameters and buffers, to be called by ``torch.func.functional_call`` with all of them."""
    kept: dict[int, None] = {id(tensor): None for tensor in (*module.parameters(), *module.buffers())}
    shell = copy.deepcopy(module, kept)  # the memo stands in for the tensors: they are not copied
    for part in shell.modules():
        for held in (part._parameters, part._buffers):
            for name in held:
                held[name] = None
    return shell


def filled(shell: nn.Module, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> nn.Module:
    """A copy of a hollow module that holds copies of tensors."""
    module = copy.deepcopy(shell)
    for name, value in parameters.items():
        place, _, own = name.rpartition(".")
        module.get_submodule(place).register_parameter(own, nn.Parameter(value.detach().clone()))
    for name, value in buffers.items():
        place, _, own = name.rpartition(".")
        module.get_submodule(place)._buffers[own] = value.detach().clone()
    return module
