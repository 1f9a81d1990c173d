"""balance(): one scalar whose backward pass gives the wanted gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.engine.conftest import TwoHeads
from torch import Tensor, nn

from taskloom.balance.base import Balancer, RowRule, chain
from taskloom.balance.mix.pcgrad import pcgrad
from taskloom.balance.reduce.sum import equal
from taskloom.balance.scale.fixed import fixed
from taskloom.balance.scale.uncertainty import GAUSSIAN, uncertainty
from taskloom.balance.wrap.every import every
from taskloom.engine.combine import balance
from taskloom.errors import BalanceError, EngineError
from taskloom.nn.fork import gates

TASKS = ("a", "b", "c")
ASCENDING = {"order": "ascending"}


def weights_of(network: TwoHeads, inputs: Tensor, balancer: Balancer) -> dict[str, float]:
    rows = []
    losses = network.losses(inputs)
    for loss in losses.values():
        gradients = torch.autograd.grad(loss, network.shared_parameters(), retain_graph=True)
        rows.append(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    jacobian = torch.stack(rows)
    stacked = torch.stack(list(losses.values())).detach()
    return dict(zip(TASKS, balancer.weights(jacobian @ jacobian.T, stacked).tolist(), strict=True))


def assert_gradients(network: TwoHeads, expected: dict[str, Tensor], factor: float = 1.0) -> None:
    for name, parameter in network.named_parameters():
        if name not in expected:
            assert parameter.grad is None, name
        else:
            torch.testing.assert_close(parameter.grad, factor * expected[name], rtol=1e-12, atol=1e-14, msg=name)


BALANCERS: dict[str, Any] = {
    "equal": lambda: equal(),
    "equal mean": lambda: equal("mean"),
    "fixed": lambda: fixed([0.5, 2.0, 3.0]),
    "pcgrad": lambda: pcgrad(order="ascending"),
    "pcgrad mean": lambda: pcgrad("mean", order="ascending"),
    "fixed, then pcgrad": lambda: chain(fixed([0.5, 2.0, 3.0]), pcgrad(order="ascending")),
}


@pytest.mark.parametrize("name", BALANCERS)
@pytest.mark.parametrize("heads", ["weighted", "unweighted"])
@pytest.mark.parametrize("form", ["auto", "weights", "gates", "carrier"])
def test_all_forms_give_the_gradient_of_the_definition(
    network: TwoHeads, inputs: Tensor, name: str, heads: Any, form: Any
) -> None:
    if form == "weights" and heads == "unweighted":
        pytest.skip("this form weighs heads too")
    weights = weights_of(network, inputs, BALANCERS[name]())
    own = {"a": 0.5, "b": 2.0, "c": 3.0} if name == "fixed, then pcgrad" else dict.fromkeys(TASKS, 1.0)
    factors = weights if heads == "weighted" else own
    expected = network.expected(inputs, weights, factors)
    with gates():
        losses = network.losses(inputs)
    loss = balance(losses, BALANCERS[name](), shared=network, head_gradient=heads, form=form)
    assert all(parameter.grad is None for parameter in network.parameters())
    loss.backward()
    assert_gradients(network, expected)
    value = sum(factors[task] * one.item() for task, one in losses.items())
    assert loss.item() == pytest.approx(value, rel=1e-12)


def test_default_head_gradient_is_the_method_s(network: TwoHeads, inputs: Tensor) -> None:
    for balancer, heads in ((fixed([0.5, 2.0, 3.0]), [0.5, 2.0, 3.0]), (pcgrad(**ASCENDING), [1.0, 1.0, 1.0])):
        network.zero_grad()
        weights = weights_of(network, inputs, balancer)
        expected = network.expected(inputs, weights, dict(zip(TASKS, heads, strict=True)))
        balance(network.losses(inputs), balancer, shared=network).backward()
        assert_gradients(network, expected)


@pytest.mark.parametrize("make", [lambda: equal(), lambda: pcgrad(order="ascending")])
def test_scaling_accumulation_and_clipping_work_as_on_any_loss(network: TwoHeads, inputs: Tensor, make: Any) -> None:
    ones = dict.fromkeys(TASKS, 1.0)
    expected = network.expected(inputs, weights_of(network, inputs, make()), ones)
    (1024 * balance(network.losses(inputs), make(), shared=network)).backward()
    assert_gradients(network, expected, 1024.0)
    network.zero_grad()
    for _ in range(4):
        (balance(network.losses(inputs), make(), shared=network) / 4).backward()
    assert_gradients(network, expected)
    norm = torch.nn.utils.clip_grad_norm_([p for p in network.parameters() if p.grad is not None], 0.1)
    total = torch.sqrt(sum((gradient**2).sum() for gradient in expected.values()))
    torch.testing.assert_close(norm, total)


def test_penalties_are_added_by_the_caller(network: TwoHeads, inputs: Tensor) -> None:
    z = network.trunk(inputs)  # the penalty may use the graph that the losses use
    losses = {"a": network.heads[0](z).square().mean(), "b": -network.heads[1](z).mean()}
    penalty = z.square().sum()
    trunk = network.trunk[2].weight
    rows = [torch.autograd.grad(one, [trunk], retain_graph=True)[0] for one in (*losses.values(), penalty)]
    expected = rows[0] + rows[1] + rows[2]
    assert float((rows[0] * rows[1]).sum()) != 0
    (balance(losses, equal(), shared=network, form="carrier") + penalty).backward()
    torch.testing.assert_close(trunk.grad, expected)


def test_grad_scaler_and_autocast() -> None:
    torch.manual_seed(0)
    trunk, heads = nn.Linear(4, 8), nn.ModuleList(nn.Linear(8, 1) for _ in range(2))
    inputs = torch.randn(16, 4)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    optimiser = torch.optim.SGD([*trunk.parameters(), *heads.parameters()], lr=0.1)
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            z = trunk(inputs)
            outputs = [head(z).float() for head in heads]
        losses = {"a": outputs[0].square().mean(), "b": (outputs[1] - 1).square().mean()}
        optimiser.zero_grad()
        scaler.scale(balance(losses, pcgrad(), shared=trunk)).backward()
        scaler.unscale_(optimiser)
        plain = [torch.autograd.grad(losses[task], [trunk.weight], retain_graph=True)[0] for task in losses]
        if float((plain[0] * plain[1]).sum()) > 0:
            torch.testing.assert_close(trunk.weight.grad, plain[0] + plain[1], rtol=1e-2, atol=1e-3)
        scaler.step(optimiser)
        scaler.update()
    assert trunk.weight.dtype == torch.float32
    assert all(bool(torch.isfinite(parameter).all()) for parameter in trunk.parameters())


def test_low_precision_parameters(inputs: Tensor) -> None:
    trunk, head = nn.Linear(3, 4).bfloat16(), nn.Linear(4, 1).bfloat16()
    output = head(trunk(inputs.bfloat16()))
    loss = balance({"a": output.mean(), "b": -output.square().mean()}, pcgrad(), shared=trunk)
    loss.backward()
    assert trunk.weight.grad is not None
    assert trunk.weight.grad.dtype == torch.bfloat16


def test_one_task(network: TwoHeads, inputs: Tensor) -> None:
    loss = network.losses(inputs)["b"]
    balance({"b": loss}, pcgrad(), shared=network).backward()
    found = network.gradients()
    network.zero_grad()
    network.losses(inputs)["b"].backward()
    for name, gradient in network.gradients().items():
        if gradient is None:
            assert found[name] is None
        else:
            torch.testing.assert_close(found[name], gradient)


def test_absent_tasks_are_left_out_and_draws_stay_paired(network: TwoHeads, inputs: Tensor) -> None:
    full, part = pcgrad(seed=4), pcgrad(seed=4)
    for balancer in (full, part):
        balancer.bind(TASKS)
    balance(network.losses(inputs), full, shared=network)
    balance(network.losses(inputs, ("c", "a")), part, shared=network)
    first, second = full.draw(3), part.draw(3)
    assert first is not None
    assert second is not None
    assert torch.equal(first, second)


def test_losses_are_put_in_the_order_of_the_tasks(network: TwoHeads, inputs: Tensor) -> None:
    balancer = fixed([1.0, 10.0, 100.0])
    balancer.bind(TASKS)
    losses = network.losses(inputs)
    turned = dict(reversed(losses.items()))
    expected = sum(10**position * losses[task].item() for position, task in enumerate(TASKS))
    assert balance(turned, balancer, shared=network).item() == pytest.approx(expected)


def test_parameters_of_the_balancer_are_trained_beside_the_network(network: TwoHeads, inputs: Tensor) -> None:
    for make in (lambda: uncertainty(GAUSSIAN), lambda: chain(uncertainty(GAUSSIAN), pcgrad(order="ascending"))):
        balancer = make()
        balancer.bind(TASKS)
        balancer.double()
        losses = network.losses(inputs)
        values = torch.stack(list(losses.values())).detach()
        balance(losses, balancer, shared=network).backward()
        (parameter,) = balancer.parameters()
        torch.testing.assert_close(parameter.grad, 0.5 - 0.5 * values)


def test_untrained_parameters_are_noticed(network: TwoHeads, inputs: Tensor) -> None:
    balancer = uncertainty(GAUSSIAN)
    for _ in range(2):  # the first try must not leave it half bound
        with pytest.raises(BalanceError, match="no optimiser knows yet"):
            balance(network.losses(inputs), balancer, shared=network)


def test_every_second_step_costs_no_task_gradients(network: TwoHeads, inputs: Tensor) -> None:
    balancer = every(2, pcgrad(order="ascending"))
    engine = _Counting()
    path = []
    for _ in range(4):
        network.zero_grad()
        balance(network.losses(inputs), balancer, shared=network, engine=engine).backward()
        path.append(network.gradients())
    assert engine.calls == 2
    for name, gradient in path[0].items():
        if gradient is not None:
            torch.testing.assert_close(path[1][name], gradient, rtol=1e-12, atol=1e-14)


class _Counting:
    def __init__(self) -> None:
        from taskloom.engine.autograd import AutogradEngine

        self.inner, self.calls = AutogradEngine(), 0

    def rows(self, losses: Any, parameters: Any) -> Any:
        self.calls += 1
        return self.inner.rows(losses, parameters)

    def gramian(self, losses: Any, parameters: Any) -> Any:
        return self.inner.gramian(losses, parameters)

    def cost(self, parameters: Any, n_tasks: int) -> Any:
        return self.inner.cost(parameters, n_tasks)


def test_row_rules_hand_out_their_direction(network: TwoHeads, inputs: Tensor) -> None:
    class Signs(RowRule):
        def combine(self, rows: Tensor) -> Tensor:
            return rows.sign().sum(0)

    losses = network.losses(inputs)
    balance(losses, chain(Signs()), shared=network).backward()
    for parameter in network.shared_parameters():
        again = network.losses(inputs).values()
        signs = [torch.autograd.grad(one, [parameter], retain_graph=True)[0].sign() for one in again]
        torch.testing.assert_close(parameter.grad, sum(signs))


def test_shared_may_be_a_module_an_iterable_or_a_model(network: TwoHeads, inputs: Tensor) -> None:
    found = []
    for shared in (network, network.trunk, network.trunk.parameters(), [*network.shared_parameters()] * 2):
        network.zero_grad()
        balance(network.losses(inputs), pcgrad(order="ascending"), shared=shared).backward()
        found.append(network.trunk[2].weight.grad)
    for gradient in found[1:]:
        torch.testing.assert_close(gradient, found[0])


def test_parameters_of_several_dtypes() -> None:
    first, second = nn.Linear(2, 3).double(), nn.Linear(3, 1)
    output = second(first(torch.ones(4, 2).double()).float())
    loss = balance(
        {"a": output.mean(), "b": -2 * output.mean()},
        pcgrad(),
        shared=[*first.parameters(), *second.parameters()],
    )
    loss.backward()
    assert first.weight.grad is not None
    assert second.weight.grad is not None
    assert (first.weight.grad.dtype, second.weight.grad.dtype) == (torch.float64, torch.float32)


def test_backward_twice_accumulates(network: TwoHeads, inputs: Tensor) -> None:
    loss = balance(network.losses(inputs), pcgrad(order="ascending"), shared=network)
    loss.backward(retain_graph=True)
    once = network.gradients()["trunk.2.weight"]
    assert once is not None
    loss.backward()
    torch.testing.assert_close(network.gradients()["trunk.2.weight"], 2 * once)


# -- what goes wrong --------------------------------------------------------------------------------------------------


def test_wrong_choices_are_named(network: TwoHeads, inputs: Tensor) -> None:
    losses = network.losses(inputs)

    def give(balancer: Any = None, **choices: Any) -> None:
        balance(losses, balancer or pcgrad(), shared=network, **choices)

    with pytest.raises(BalanceError, match="head_gradient must be one of"):
        give(head_gradient="none")
    with pytest.raises(BalanceError, match="on_nonfinite must be one of"):
        give(on_nonfinite="ignore")
    with pytest.raises(BalanceError, match="form must be one of"):
        give(form="fork")
    with pytest.raises(EngineError, match="weighs the heads as well"):
        give(form="weights")
    with pytest.raises(EngineError, match="the graph has no forks"):
        give(form="gates")
    with pytest.raises(BalanceError, match="expected a balancer"):
        give("pcgrad")

    class Signs(RowRule):
        def combine(self, rows: Tensor) -> Tensor:
            return rows.sign().sum(0)

    with pytest.raises(EngineError, match="makes a direction"):
        give(chain(Signs()), form="gates")


def test_a_shared_parameter_beside_the_fork_is_noticed(network: TwoHeads, inputs: Tensor) -> None:
    with gates():
        losses = network.losses(inputs)
    losses["a"] = losses["a"] + network.trunk[2].weight.square().sum()
    with pytest.raises(EngineError, match="without passing one"):
        balance(losses, pcgrad(), shared=network, form="gates")
