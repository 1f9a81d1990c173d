"""Frameworks that guard their backward pass let task gradients through."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from taskloom.balance.mix.pcgrad import pcgrad
from taskloom.engine._guards import measuring
from taskloom.engine.combine import balance


def test_flags_are_set_while_measuring_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    wrappers = ModuleType("lightning_fabric.wrappers")
    wrappers._in_fabric_backward = False
    monkeypatch.setitem(sys.modules, "lightning_fabric.wrappers", wrappers)
    with measuring():
        assert wrappers._in_fabric_backward
    assert not wrappers._in_fabric_backward


def test_fabric_with_mixed_precision() -> None:
    fabric_module = pytest.importorskip("lightning.fabric")
    fabric = fabric_module.Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    network = fabric.setup(nn.Linear(3, 2))
    losses = dict(zip("ab", network(torch.ones(4, 3)).float().mean(0).unbind(), strict=True))
    with pytest.raises(RuntimeError, match=r"fabric\.backward"):  # what the guard is there for
        torch.autograd.grad(losses["a"], [network.module.weight], retain_graph=True)
    loss = balance(losses, pcgrad(), shared=network.module)
    fabric.backward(loss)
    assert network.module.weight.grad is not None
