"""Pieces that the laws of models are written with: simple objectives, gradients by name, comparisons."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from taskloom.nn import MultiTaskModel

__all__ = [
    "Objective",
    "assert_close",
    "assert_equal",
    "assert_raises",
    "drawn",
    "gradients_of",
    "has_batch_statistics",
    "learning_norms",
    "project",
    "total_of",
    "train",
]


class Objective(nn.Module):
    """Sum of simple losses plus the penalty, as a module for ``functional_call``."""

    def __init__(self, model: MultiTaskModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Any) -> Tensor:
        return total_of(self.model(inputs)) + self.model.penalty()


def assert_raises(call: Callable[[], object], error: type[Exception], words: str) -> None:
    message = None
    try:
        call()
    except error as raised:
        message = str(raised)
    assert message is not None, f"expected {error.__name__}: {words}"
    assert words in message, f"expected {words!r} in {message!r}"


def total_of(outputs: Mapping[str, Tensor]) -> Tensor:
    values = [project(output) for output in outputs.values()]
    return sum(values[1:], start=values[0])


def project(output: Tensor) -> Tensor:
    """A scalar that depends on all outputs in different ways."""
    weights = torch.linspace(0.5, 1.5, output.numel(), dtype=output.dtype, device=output.device)
    return ((output - 0.3).square().flatten() * weights).mean()


def gradients_of(model: nn.Module, value: Tensor) -> dict[str, Tensor]:
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    found = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    pairs = zip(named.items(), found, strict=True)
    return {name: torch.zeros_like(p) if gradient is None else gradient for (name, p), gradient in pairs}


def drawn(model: MultiTaskModel, inputs: Any, tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Outputs with the same random numbers at every call, for models that draw a structure in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        outputs: dict[str, Tensor] = model(inputs, tasks)
        return outputs


def train(model: MultiTaskModel, inputs: Any) -> None:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        return
    optimiser = torch.optim.AdamW(parameters, lr=0.05, weight_decay=0.1)
    model.train()
    for _ in range(5):
        optimiser.zero_grad()
        value = total_of(model(inputs)) + model.penalty()
        value.backward()
        optimiser.step()


def has_batch_statistics(model: nn.Module) -> bool:
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules())


def learning_norms(model: nn.Module) -> Iterator[nn.modules.batchnorm._BatchNorm]:
    """Batch normalisations whose scale and shift learn."""
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and any(p.requires_grad for p in part.parameters()):
            yield part


def assert_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name in expected:
        assert torch.equal(found[name], expected[name]), f"{name!r} differs"


def assert_close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name in expected:
        difference = (found[name] - expected[name]).abs().max() if expected[name].numel() else torch.zeros(())
        scale = 1 + expected[name].abs().max()
        assert bool(difference <= 1e-12 * scale), f"{name!r} differs by {float(difference):.3g}"
