"""Hooks on tensors change gradients; the layer engine sees what autograd itself would hand to the operation behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.engine.test_layers_exact import ENGINES, assert_exact
from torch import Tensor, nn

from taskloom.engine.layers.engine import LayerEngine
from taskloom.engine.layers.graph import Graph

PLACES = ["first product", "first activation", "second product", "features", "product in a head", "loss"]
HEADS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(9, 1),
    "tower": lambda: nn.Sequential(nn.Linear(9, 5), nn.Tanh(), nn.Linear(5, 1)),
    "no product first": lambda: nn.Sequential(nn.Tanh(), nn.Linear(9, 1)),
}
HOOKS: dict[str, Callable[[Tensor], Tensor]] = {
    "doubles": lambda gradient: 2 * gradient,
    "turns signs in rows": lambda gradient: gradient * torch.linspace(-1, 2, gradient.shape[0]).unsqueeze(1),
}


def losses_of(trunk: nn.Sequential, heads: nn.ModuleList, place: str, hook: Callable[[Tensor], Tensor]) -> list[Tensor]:
    h = torch.randn(12, 7, dtype=torch.float64)
    tensors: dict[str, Tensor] = {}
    for name, layer in zip(PLACES, trunk, strict=False):
        h = tensors[name] = layer(h)
    found = []
    for head in heads:
        first = tensors["product in a head"] = head[0](h) if isinstance(head, nn.Sequential) else head(h)
        rest = head[1:](first) if isinstance(head, nn.Sequential) else first
        found.append(rest.square().mean())
    tensors["loss"] = found[0]
    tensors[place].register_hook(hook if place != "loss" else lambda gradient: 3 * gradient)
    return found


@pytest.mark.parametrize("options", ENGINES)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("place", PLACES)
def test_hooks_on_tensors_act_once(place: str, head: str, options: str) -> None:
    for hook in HOOKS.values():
        torch.manual_seed(0)
        trunk = nn.Sequential(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, 9), nn.Tanh()).double()
        heads = nn.ModuleList(HEADS[head]() for _ in range(4)).double()
        losses = losses_of(trunk, heads, place, hook)
        assert_exact(LayerEngine(**ENGINES[options]), losses, list(trunk.parameters()))


def test_hooks_in_batches_with_few_labels_and_with_rows_of_tasks() -> None:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, 9)).double()
    heads = nn.ModuleList(nn.Linear(9, 1) for _ in range(4)).double()
    for rule in ("form", "ghost"):
        x = torch.randn(12, 7, dtype=torch.float64)
        a = trunk[0](x)
        b = trunk[2](torch.tanh(a))
        a.register_hook(HOOKS["doubles"])
        b.register_hook(HOOKS["turns signs in rows"])
        few = [(head(b).square().squeeze(1) * (torch.arange(12) % 4 == k)).sum() for k, head in enumerate(heads)]
        assert_exact(LayerEngine(rule), few, list(trunk.parameters()))
        own = [head(part).square().mean() for head, part in zip(heads, b.split(3), strict=True)]
        assert_exact(LayerEngine(rule), own, list(trunk.parameters()))


def test_hooks_that_look_and_hooks_that_raise() -> None:
    """A hook may keep what it sees, and its error is the user's."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, 9)).double()
    seen: list[Tensor] = []
    h = trunk[0](torch.randn(12, 7, dtype=torch.float64))
    h.register_hook(seen.append)
    z = trunk[2](torch.tanh(h))
    losses = [z.mean(), z.square().mean()]
    assert_exact(LayerEngine("form", "never"), losses, list(trunk.parameters()))
    assert all(one.shape == (12, 8) for one in seen)

    def refuse(gradient: Tensor) -> None:
        raise KeyError("mine")

    z.register_hook(refuse)
    with pytest.raises(KeyError, match="mine"):
        LayerEngine("form", "never").rows(losses, list(trunk.parameters()))


def test_no_hook_is_left_behind() -> None:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, 9)).double()
    heads = nn.ModuleList(HEADS["no product first"]() for _ in range(3)).double()
    z = trunk(torch.randn(12, 7, dtype=torch.float64))
    firsts = [head[0](z) for head in heads]
    losses = [head[1](first).square().mean() for head, first in zip(heads, firsts, strict=True)]
    engine = LayerEngine("form", "never")
    plan = engine.plan(Graph(losses), list(trunk.parameters()))
    assert plan.frontier is not None
    engine.rows(losses, list(trunk.parameters()))
    handles = [z.grad_fn.register_prehook(lambda gradients: None)]
    handles += [first.grad_fn.register_hook(lambda handed, given: None) for first in firsts]
    for handle in handles:
        left = handle.hooks_dict_ref()
        assert left is not None
        assert len(left) == 1  # mine alone
