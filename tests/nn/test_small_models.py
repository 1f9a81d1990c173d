"""What must hold for every architecture and is tried on one small model of each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from taskloom.nn import ModSquad
from taskloom.nn._expert_network import ExpertNetwork
from taskloom.nn.gates.gate import Gate
from taskloom.testing.small_models import SmallModel, small_models

SMALL = small_models()
PAGE = Path(__file__).parents[2] / "docs" / "architectures.rst"


def without_gradient() -> set[str]:
    """Names that the page says have parameters without a gradient in some steps."""
    text = PAGE.read_text(encoding="utf-8").partition(".. unused in a step")[2].partition("..\n")[0]
    return set(re.findall(r"~taskloom\.(?:nn\.)?(\w+)", text))


@pytest.mark.parametrize("small", SMALL, ids=str)
def test_every_parameter_gets_a_gradient_from_a_step_with_all_tasks(small: SmallModel) -> None:
    model = small.build().train()
    total = sum(output.square().sum() for output in model(small.inputs).values())
    (total + model.penalty()).backward()
    unused = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert bool(unused) == (small.name in without_gradient()), unused


@pytest.mark.parametrize("small", SMALL, ids=str)
def test_mixed_precision_trains(small: SmallModel) -> None:
    """Finite gradients everywhere; penalties and weights of gates keep single precision."""
    model, exact = small.build().train(), small.build().train()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(small.inputs)
        penalty = model.penalty()
        total = sum(output.float().square().sum() for output in outputs.values()) + penalty
    total.backward()
    exact(small.inputs)
    assert penalty.dtype in (torch.float32, torch.float64)
    if not model.has_batch_penalties:
        torch.testing.assert_close(penalty, exact.penalty(), rtol=1e-5, atol=1e-6)
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is None or bool(parameter.grad.isfinite().all()), name
    if isinstance(model, ExpertNetwork | ModSquad):
        seen = [gate.seen() for gate in model.modules() if isinstance(gate, Gate)]
        assert {tensor.dtype for pair in seen if pair is not None for tensor in pair} == {torch.float32}
