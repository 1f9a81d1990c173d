"""balance() on the library's own networks: gates and the carrier agree, penalties stay outside."""

from __future__ import annotations

import pytest
import torch

import taskloom as tl
from taskloom.engine.features import FeatureEngine
from taskloom.nn import CGC, MLP, PLE, MMoE, gates

TASKS = [tl.Task(name=name, kind=tl.Regression()) for name in ("a", "b", "c / d")]


def losses_of(model: torch.nn.Module, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    signs = {"a": 1.0, "b": -1.0, "c / d": 2.0}
    target = inputs.sum(1, keepdim=True)
    return {task: (output - signs[task] * target).square().mean() for task, output in model(inputs).items()}


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def encoder() -> MLP:
    return MLP(3, hidden=(6, 4))


WITH_A_CUT = {
    "hard sharing": lambda: tl.HardSharing(encoder(), TASKS),
    "mmoe": lambda: MMoE(encoder, TASKS, n_experts=3),
    "cgc": lambda: CGC(encoder, TASKS),
    "ple": lambda: PLE([encoder, lambda: MLP(4, hidden=(4,))], TASKS),
    "ple of 3 levels": lambda: PLE([encoder, *[lambda: MLP(4, hidden=(4,))] * 2], TASKS, n_shared=1),
}


@pytest.mark.parametrize("name", WITH_A_CUT)
@pytest.mark.parametrize("heads", ["weighted", "unweighted"])
def test_forms_agree(heads: str, name: str) -> None:
    torch.manual_seed(0)
    model = WITH_A_CUT[name]().double()
    inputs = torch.randn(9, 3, dtype=torch.float64)
    found = []
    for form in ("gates", "carrier"):
        model.zero_grad()
        with gates(model):
            losses = losses_of(model, inputs)
        tl.balance(losses, tl.pcgrad(), shared=model, head_gradient=heads, form=form).backward()
        found.append(gradients(model))
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", WITH_A_CUT)
def test_features_of_the_cut_give_the_direction(name: str) -> None:
    """Rows at the features are another quantity, but what combines them is the gradient of the weighted sum."""
    torch.manual_seed(0)
    model = WITH_A_CUT[name]().double()
    inputs = torch.randn(9, 3, dtype=torch.float64)
    with gates(model):
        losses = list(losses_of(model, inputs).values())
    shared = list(model.shared_parameters())
    weights = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    rows = FeatureEngine().rows(losses, shared)
    plain = list(losses_of(model, inputs).values())
    expected = torch.autograd.grad((torch.stack(plain) * weights).sum(), shared)
    found = torch.cat([part.reshape(-1) for part in rows.combine(weights)])
    torch.testing.assert_close(found, torch.cat([part.reshape(-1) for part in expected]), rtol=1e-10, atol=1e-12)
    model.zero_grad()
    with gates(model):
        losses = losses_of(model, inputs)
    tl.balance(losses, tl.mgda_ub(), shared=model).backward()
    assert all(bool(gradient.isfinite().all()) for gradient in gradients(model).values())


def test_a_model_without_shared_parameters_says_so() -> None:
    model = tl.Independent(lambda: MLP(3, hidden=(4,)), TASKS)
    inputs = torch.randn(5, 3)
    with pytest.raises(tl.BalanceError, match="Independent has no parameters reached by more than one task"):
        tl.balance(losses_of(model, inputs), tl.pcgrad(), shared=model)
    tl.balance(losses_of(model, inputs), tl.equal(), shared=model).backward()
    assert len(gradients(model)) == len(list(model.parameters()))


def test_measure_takes_a_model() -> None:
    model = tl.HardSharing(MLP(3, hidden=(4,)), TASKS)
    found = tl.measure(losses_of(model, torch.randn(5, 3)), shared=model)
    assert found.cosines.shape == (3, 3)
    assert found.tasks == ("a", "b", "c / d")
