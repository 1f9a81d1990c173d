from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from taskloom.errors import TaskError
from taskloom.nn import MLP, Parallel
from taskloom.nn._chains import chain_of

BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(5, 3),
    "without bias": lambda: nn.Sequential(nn.Linear(5, 4, bias=False), nn.Tanh(), nn.Linear(4, 3, bias=False)),
    "mlp": lambda: MLP(5, (6, 3)),
    "function first": lambda: nn.Sequential(nn.GELU(), nn.Sequential(nn.Linear(5, 6), nn.SiLU()), nn.Linear(6, 3)),
    "no linear layer": lambda: nn.Sequential(nn.Tanh(), nn.Identity()),
}
SHAPES = ((4, 5), (1, 5), (2, 3, 5))


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs_and_gradients_are_those_of_the_loop(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    members = Parallel([BUILDERS[name]() for _ in range(6)]).double()
    common = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    each = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(6)]
    for inputs in ([common] * 6, each):
        sources = [*members.parameters(), *dict.fromkeys(inputs)]
        expected = torch.stack([member(value) for member, value in zip(members, inputs, strict=True)])
        found = members.stack(inputs)
        torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)
        torch.testing.assert_close(torch.stack(members.run(inputs)), expected, rtol=1e-14, atol=1e-14)
        weights = torch.randn_like(expected)
        gradients = [torch.autograd.grad(one, sources, weights) for one in (found, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-13, atol=1e-13)


def test_what_is_a_chain() -> None:
    class Own(nn.Linear):
        pass

    class Residual(nn.Sequential):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs + super().forward(inputs)

    hooked = nn.Sequential(nn.Linear(2, 2))
    hooked[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    patched = nn.Linear(2, 2)
    patched.forward = torch.relu  # type: ignore[method-assign]
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    for module in (Own(2, 2), Residual(nn.Linear(2, 2)), hooked, patched, normed, nn.Sequential(nn.BatchNorm1d(2))):
        assert chain_of(module) is None
    assert [type(layer) for layer in chain_of(MLP(2, (3,), dropout=0.1)) or ()] == [nn.Linear, nn.ReLU, nn.Dropout]


@pytest.mark.parametrize("is_same", [True, False])
def test_every_member_draws_its_own_mask(is_same: bool) -> None:
    members = Parallel([nn.Sequential(nn.Dropout(0.5)) for _ in range(6)])
    inputs = [torch.ones(1, 64)] * 6 if is_same else list(torch.ones(6, 1, 64).unbind(0))
    outputs = members.stack(inputs)
    assert len({tuple(row.tolist()) for row in (outputs[:, 0] > 0)}) == 6


def test_many_models_at_once() -> None:
    torch.manual_seed(0)
    models = [Parallel([MLP(3, (4, 2)) for _ in range(4)]).double() for _ in range(3)]
    parameters, _ = stack_module_state(list[nn.Module](models))
    inputs = torch.randn(5, 3, dtype=torch.float64)

    class Stacked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.members = models[0]

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return self.members.stack([given] * 4)

    skeleton = Stacked()
    found = vmap(lambda own: functional_call(skeleton, {f"members.{k}": v for k, v in own.items()}, (inputs,)))(
        parameters
    )
    expected = torch.stack([torch.stack([member(inputs) for member in model]) for model in models])
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)


def test_stack_needs_equal_tensors() -> None:
    with pytest.raises(TaskError, match=r"found \['\(2, 1\)', '\(2, 3\)'\]"):
        Parallel([nn.Linear(4, 1), nn.Linear(4, 3)]).stack([torch.zeros(2, 4)] * 2)


def test_stack_in_evaluation_mode_is_that_of_the_members() -> None:
    members = Parallel([MLP(3, (4, 2)) for _ in range(5)]).eval()
    inputs = torch.randn(6, 3)
    assert torch.equal(members.stack([inputs] * 5), torch.stack([member(inputs) for member in members]))
    assert torch.equal(members.stack([inputs] * 2, members=[3, 1])[1], members[1](inputs))
