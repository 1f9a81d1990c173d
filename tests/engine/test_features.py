"""Feature gradients: equal to their definition, one pass through the shared part, errors without features."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import taskloom as tl
from taskloom.balance._features import at_features
from taskloom.balance.base import RowRule, chain
from taskloom.balance.scale.uncertainty import GAUSSIAN
from taskloom.engine.combine import balance
from taskloom.engine.features import FeatureEngine
from taskloom.errors import BalanceError, EngineError, NoCommonFeature
from taskloom.nn.fork import fork, gates

TASKS = tuple(tl.Task(name=name, kind=tl.Regression()) for name in ("a", "b", "c"))


def network(**settings: object) -> tl.HardSharing:
    torch.manual_seed(0)
    return tl.HardSharing(tl.MLP(4, hidden=(6, 5)), TASKS, **settings).double()


def losses_of(model: nn.Module, inputs: object) -> dict[str, Tensor]:
    with gates():
        outputs = model(inputs)
    return {name: (output - k).square().mean() for k, (name, output) in enumerate(outputs.items())}


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def feature_rows(model: tl.HardSharing, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Rows at the features by hand, and the Jacobian of the features."""
    (z,) = model.encode(inputs)
    rows = []
    for k, name in enumerate(model.tasks):
        alias = z.detach().requires_grad_()
        loss = (model.decode((alias,) * len(model.tasks))[name] - k).square().mean()
        rows.append(torch.autograd.grad(loss, alias)[0].reshape(-1))
    parameters = list(model.shared_parameters())
    jacobian = [
        torch.cat([g.reshape(-1) for g in torch.autograd.grad(one, parameters, retain_graph=True)])
        for one in z.reshape(-1)
    ]
    return torch.stack(rows), torch.stack(jacobian)


def shared_gradient(model: tl.HardSharing) -> Tensor:
    return torch.cat([parameter.grad.reshape(-1) for parameter in model.shared_parameters()])


def test_rows_are_the_gradients_of_the_features(inputs):
    model = network()
    expected, jacobian = feature_rows(model, inputs)
    parameters = list(model.shared_parameters())
    rows = FeatureEngine().rows(list(losses_of(model, inputs).values()), parameters)
    torch.testing.assert_close(rows.matrix(), expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(rows.gramian(), expected @ expected.T, rtol=1e-12, atol=1e-14)
    weights = torch.tensor([0.5, 2.0, -1.0], dtype=torch.float64)
    torch.testing.assert_close(rows.combine(weights)[0], weights @ expected @ jacobian, rtol=1e-12, atol=1e-14)


def test_losses_computed_together_are_told_apart(inputs):
    model = network()
    expected, _ = feature_rows(model, inputs)
    with gates():
        outputs = model(inputs)
    together = (torch.stack([outputs[name] for name in model.tasks]) - torch.arange(3.0)[:, None, None]).square()
    rows = FeatureEngine().rows(together.mean((1, 2)).unbind(), list(model.shared_parameters()))
    torch.testing.assert_close(rows.matrix(), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("heads", ["weighted", "unweighted"])
def test_balance_hands_out_the_direction(inputs, heads):
    model = network()
    expected, jacobian = feature_rows(model, inputs)
    losses = losses_of(model, inputs)
    weights = tl.pcgrad(order="ascending").weights(expected @ expected.T)
    own = torch.autograd.grad(losses["b"], model.heads[1].weight, retain_graph=True)[0]
    balance(losses, at_features(tl.pcgrad(order="ascending")), shared=model, head_gradient=heads).backward()
    torch.testing.assert_close(shared_gradient(model), weights @ expected @ jacobian, rtol=1e-12, atol=1e-14)
    factor = weights[1] if heads == "weighted" else 1.0
    torch.testing.assert_close(model.heads[1].weight.grad, factor * own, rtol=1e-12, atol=1e-14)


class Signs(RowRule):
    """A direction that no weights express."""

    def combine(self, rows: Tensor) -> Tensor:
        return rows.sum(0).sign()


def test_a_direction_at_the_features_goes_through_the_network(inputs):
    model = network()
    expected, jacobian = feature_rows(model, inputs)
    balance(losses_of(model, inputs), at_features(chain(Signs())), shared=model).backward()
    torch.testing.assert_close(shared_gradient(model), expected.sum(0).sign() @ jacobian, rtol=1e-12, atol=1e-14)


def test_the_shared_part_is_passed_once(inputs):
    model = network()
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    with gates():
        (z,) = model.encode(inputs)
        z.register_hook(count)  # fires when a gradient of the features goes on into the encoder
        outputs = model.decode(tuple(fork(z, name) for name in model.tasks))
    losses = {name: (output - k).square().mean() for k, (name, output) in enumerate(outputs.items())}
    balance(losses, at_features(tl.pcgrad()), shared=model, verify="never").backward()
    assert passes == 1


def test_absent_tasks_have_zero_rows(inputs):
    model = network()
    losses = losses_of(model, inputs)
    rows = FeatureEngine().rows([losses["a"], None, losses["c"]], list(model.shared_parameters()))
    assert rows.matrix()[1].abs().max() == 0


def test_models_and_losses_without_common_features(inputs):
    model = network()
    outputs = model(inputs)  # outside gates()
    losses = {name: output.square().mean() for name, output in outputs.items()}
    with pytest.raises(NoCommonFeature, match="without passing a fork"):
        balance(losses, at_features(tl.pcgrad()), shared=model)
    several = losses_of(model, {name: inputs + k for k, name in enumerate(model.tasks)})
    with pytest.raises(NoCommonFeature, match="inputs of its own"):
        balance(several, at_features(tl.pcgrad()), shared=model)
    penalised = losses_of(model, inputs)
    penalised["a"] = penalised["a"] + next(iter(model.shared_parameters())).square().sum()
    with pytest.raises(NoCommonFeature, match="without passing a fork"):
        balance(penalised, at_features(tl.pcgrad()), shared=model)
    assert issubclass(NoCommonFeature, EngineError)


def test_only_methods_that_look_at_gradients():
    with pytest.raises(BalanceError, match="does not look at gradients"):
        at_features(tl.equal())


def test_state_and_draws_are_those_of_the_balancer_inside():
    balancer = at_features(chain(tl.uncertainty(GAUSSIAN), tl.pcgrad(seed=3)))
    balancer.bind(["a", "b"])
    assert len(balancer.parameter_groups()) == 1
    assert balancer.head_gradient == "unweighted"
    assert balancer.draw(3).shape == (3, 3)
    balancer.reset()


@pytest.mark.parametrize("n_tasks", [3, 8])
def test_losses_computed_together_share_one_pass_through_heads(n_tasks, inputs, monkeypatch):
    tasks = tuple(tl.Task(name=f"t{k}", kind=tl.Regression()) for k in range(n_tasks))
    torch.manual_seed(0)
    model = tl.HardSharing(tl.MLP(4, hidden=(6, 5)), tasks).double().train()
    parameters = list(model.shared_parameters())
    expected, jacobian = feature_rows(model, inputs)
    with gates():
        outputs = model(inputs)
        wanted = torch.arange(n_tasks, dtype=torch.float64).view(-1, 1, 1)
        stacked = (torch.stack(list(outputs.values())) - wanted).square().mean(dim=(1, 2))
    passes, grad = [], torch.autograd.grad

    def counted(*given, **named):
        passes.append(given)
        return grad(*given, **named)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    rows = FeatureEngine().rows(stacked.unbind(), parameters)
    assert len(passes) == 1
    torch.testing.assert_close(rows.matrix(), expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(rows.gramian(), expected @ expected.T, rtol=1e-12, atol=1e-14)
    weights = torch.linspace(0.5, 2, n_tasks, dtype=torch.float64)
    torch.testing.assert_close(torch.cat(rows.combine(weights)), weights @ expected @ jacobian, rtol=1e-10, atol=1e-12)


def test_heads_that_read_each_other_take_a_pass_each(inputs):
    theta = torch.ones(4, dtype=torch.float64, requires_grad=True)
    with gates():
        z = inputs @ torch.diag(theta)
        first = fork(z, "a").square().mean(0)
        second = fork(z, "b") * first
        losses = torch.stack([first.sum(), second.sum()]).unbind()
    rows = FeatureEngine().rows(losses, [theta]).matrix()
    assert rows[1].abs().min() > 0
    torch.testing.assert_close(rows[0], (2 * z / len(z)).detach().reshape(-1))
