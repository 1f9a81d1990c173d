"""What balance() says to input that it cannot use: which argument, which task, what was found, what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.engine.conftest import TwoHeads
from torch import Tensor, nn

import taskloom as tl
from taskloom.balance.base import Balancer, chain
from taskloom.balance.mix.pcgrad import pcgrad, project_conflicts
from taskloom.balance.reduce.mgda import mgda
from taskloom.balance.reduce.nash_mtl import nash_mtl
from taskloom.balance.reduce.sum import equal
from taskloom.balance.rows.graddrop import graddrop
from taskloom.balance.scale.uncertainty import GAUSSIAN, uncertainty
from taskloom.engine.combine import balance
from taskloom.engine.measure import measure
from taskloom.errors import BalanceError, EngineError, TaskError

TASKS = ("a", "b", "c")


def assert_refused(losses: Any, match: str, *, shared: Any) -> None:
    """By both doors."""
    with pytest.raises(EngineError, match=match):
        balance(losses, pcgrad(), shared=shared)
    with pytest.raises(EngineError, match=match):
        measure(losses, shared=shared)


# -- losses -----------------------------------------------------------------------------------------------------------


def test_losses_that_are_no_mapping_of_scalars(network: TwoHeads, inputs: Tensor) -> None:
    fine = network.losses(inputs)
    assert_refused(list(fine.values()), "must be a mapping task name -> scalar tensor, found list", shared=network)
    assert_refused({}, "losses is empty.* Skip such a batch", shared=network)
    assert_refused({"a": 1.0}, r"the loss of task 'a' is 1\.0, expected a scalar tensor", shared=network)
    vector = {**fine, "b": torch.ones(2, requires_grad=True)}
    assert_refused(vector, r"task 'b' has shape \(2,\), expected a scalar; take its mean or sum", shared=network)
    assert_refused({**fine, "b": fine["b"].reshape(1)}, r"task 'b' has shape \(1,\)", shared=network)
    assert_refused({**fine, "b": fine["b"] * 1j}, r"task 'b' is complex.*take loss\.real", shared=network)


def test_losses_that_require_no_gradient(network: TwoHeads, inputs: Tensor) -> None:
    fine = network.losses(inputs)
    match = r"losses of the tasks \['b'\] require no gradient; .* without \.detach\(\)"
    assert_refused({**fine, "b": fine["b"].detach()}, match, shared=network)
    assert_refused({**fine, "b": torch.tensor(3)}, match, shared=network)
    with torch.no_grad():
        constant = network.losses(inputs)
    assert_refused(constant, r"\['a', 'b', 'c'\] require no gradient", shared=network)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("make", [equal, pcgrad])
def test_losses_that_are_not_finite(network: TwoHeads, inputs: Tensor, make: Any, number: float) -> None:
    """Raise by default; "skip" changes nothing but a count; "drop" goes on as if the task were not there."""
    balancer = make()
    fine = network.losses(inputs)
    broken = {**fine, "b": fine["b"] * number}
    with pytest.raises(BalanceError, match=rf"\['b'\] are not finite, found \[{number}\];.* on_nonfinite='skip'"):
        balance(broken, balancer, shared=network)
    before = {name: value.clone() for name, value in balancer.state_dict().items()}
    skipped = balance(broken, balancer, shared=network, on_nonfinite="skip")
    skipped.backward()
    assert skipped.item() == 0
    assert all(parameter.grad is None for parameter in network.parameters())
    assert balancer.n_skipped == 1
    after = balancer.state_dict()
    assert all(torch.equal(before[name][:2], after[name][:2]) for name in before)
    balance(broken, balancer, shared=network, on_nonfinite="drop").backward()
    dropped = network.gradients()
    network.zero_grad()
    balance(network.losses(inputs, ("a", "c")), make(), shared=network).backward()
    for name, gradient in network.gradients().items():
        own = dropped[name]
        assert (own is None) == (gradient is None), name
        assert own is None or torch.equal(own, gradient)


def test_gradients_that_are_not_finite(network: TwoHeads, inputs: Tensor) -> None:
    z = network.trunk(inputs)
    losses = {"a": z.mean(), "b": (z - z).sum().sqrt()}  # 0 with an infinite slope
    with pytest.raises(BalanceError, match=r"gradients of the tasks \['b'\] are not finite;.* on_nonfinite='skip'"):
        balance(losses, pcgrad(), shared=network)


LOGARITHMS: dict[str, Callable[[], Balancer]] = {
    "gls": tl.gls,
    "famo": tl.famo,
    "db_mtl": tl.db_mtl,
    "stch_mtl": tl.stch_mtl,
    "log_scalarisation": tl.log_scalarisation,
}
BOUNDED_BELOW: dict[str, Callable[[], Balancer]] = {
    "mgda": lambda: mgda("loss+"),
    "gradnorm": tl.gradnorm,
    "imtl_l": tl.imtl_l,
    "uncertainty": lambda: uncertainty(GAUSSIAN),
}


@pytest.mark.parametrize("name", [*LOGARITHMS, *BOUNDED_BELOW])
def test_negative_losses_of_methods_that_need_positive_ones(network: TwoHeads, inputs: Tensor, name: str) -> None:
    """Named with their values before anything is measured; a constant on the loss is the way out."""
    losses = network.losses(inputs)
    negative = -losses["b"]
    for wrong, found in [(negative, f"{negative.item():.4f}"), (0 * negative, r"0\.0")][: 1 + (name in LOGARITHMS)]:
        balancer = (LOGARITHMS | BOUNDED_BELOW)[name]()
        balancer.bind(TASKS)
        state = {key: value.clone() for key, value in balancer.state_dict().items()}
        with pytest.raises(BalanceError, match=rf"{name}.*'b'.*{found}.*([Aa]dd a|add an|minimum=)"):
            balance({**losses, "b": wrong}, balancer, shared=network)
        for key, value in balancer.state_dict().items():
            torch.testing.assert_close(value, state[key], rtol=0, atol=0, equal_nan=True)


def test_losses_on_different_devices(network: TwoHeads, inputs: Tensor) -> None:
    elsewhere = torch.ones((), device="meta", requires_grad=True)
    losses = network.losses(inputs)
    assert_refused({**losses, "d": elsewhere}, r"different devices: 'a' on cpu.*'d' on meta; move them", shared=network)
    assert_refused({"d": elsewhere}, "lie on the meta device and have no values", shared=network)
    unmade = [*network.shared_parameters(), nn.Parameter(torch.ones(2, device="meta"))]
    assert_refused(losses, "parameters on the meta device.*to_empty", shared=unmade)


def test_a_mapping_of_one_loss(network: TwoHeads, inputs: Tensor) -> None:
    """One task is an ordinary training step, whatever the method."""
    network.losses(inputs)["b"].backward()
    expected = network.gradients()
    for make in (equal, pcgrad, mgda, lambda: graddrop(leak=1.0)):
        network.zero_grad()
        balance({"b": network.losses(inputs)["b"]}, make(), shared=network).backward()
        for name, gradient in network.gradients().items():
            own = expected[name]
            assert (own is None) == (gradient is None), name
            if own is not None:
                torch.testing.assert_close(gradient, own)


# -- tasks ------------------------------------------------------------------------------------------------------------


def test_names_that_occur_twice_or_are_no_names(network: TwoHeads, inputs: Tensor) -> None:
    with pytest.raises(BalanceError, match=r"distinct task names, found \['a', 'a'\]; give every task its own name"):
        pcgrad().bind(["a", "a"])
    task = tl.Task(name="a", kind=tl.Regression())
    with pytest.raises(BalanceError, match="distinct task names"):
        pcgrad().bind([task, "a"])
    with pytest.raises(TaskError, match=r"duplicate task names: \['a'\]"):
        tl.HardSharing(nn.Linear(3, 2), [task, task])
    losses = network.losses(inputs)
    assert_refused({1: losses["a"], 2: losses["b"]}, "key 1 of type int; tasks are called by name", shared=network)
    assert_refused({task: losses["a"]}, r"key Task\(.*of type Task.*\{task\.name: loss\}", shared=network)


def test_unknown_tasks(network: TwoHeads, inputs: Tensor) -> None:
    balancer = pcgrad()
    balancer.bind(["alpha", "b", "c"])
    losses = network.losses(inputs)
    with pytest.raises(BalanceError, match=r"found 'alhpa'\. Did you mean 'alpha'"):
        balance({"alhpa": losses["a"]}, balancer, shared=network)


# -- the shared part --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [pcgrad, mgda, nash_mtl, graddrop, tl.gradnorm])
def test_a_task_that_reaches_no_shared_parameter(network: TwoHeads, inputs: Tensor, make: Any) -> None:
    """Its gradient is 0 in every step, which stops MGDA and misleads others: somebody detached something."""

    def give(**choices: Any) -> Tensor:
        losses = network.losses(inputs)
        losses["b"] = network.heads[1](network.trunk(inputs).detach()).square().mean()
        return balance(losses, bound(), shared=network, **choices)

    def bound() -> Balancer:
        balancer = make()
        balancer.bind(TASKS)
        return balancer

    match = r"losses of the tasks \['b'\] reach no (shared parameter|parameter of the last shared layer).*\.detach\(\)"
    with pytest.raises(EngineError, match=match):
        give()
    assert give(verify="never").requires_grad
    cold = network.losses(inputs)
    cold["b"] = 0 * cold["b"]  # there is a path, only nothing comes along it: as a batch without labels does
    if make is not tl.gradnorm:  # which compares losses with the first ones
        assert balance(cold, bound(), shared=network).requires_grad


def test_losses_that_share_no_graph_with_the_shared_part(network: TwoHeads, inputs: Tensor) -> None:
    for make in (pcgrad, nash_mtl):
        with pytest.raises(
            EngineError,
            match=r"no loss of the tasks \['a', 'b', 'c'\] reaches a shared parameter; .*not those of a copy",
        ):
            balance(network.losses(inputs), make(), shared=nn.Linear(3, 3))


def test_shared_parameters_that_nobody_reaches_stay_as_they_are(network: TwoHeads, inputs: Tensor) -> None:
    """As in an ordinary backward pass: a module may be unused in a step."""
    balance(network.losses(inputs), pcgrad(order="ascending"), shared=network).backward()
    expected = network.gradients()
    network.zero_grad()
    unused = [nn.Parameter(torch.ones(3)), network.unused]
    balance(
        network.losses(inputs), pcgrad(order="ascending"), shared=[*network.shared_parameters(), *unused]
    ).backward()
    assert all(parameter.grad is None for parameter in unused)
    for name, gradient in network.gradients().items():
        if gradient is not None:
            torch.testing.assert_close(gradient, expected[name])


def test_shared_that_is_nothing_to_balance(network: TwoHeads, inputs: Tensor) -> None:
    def give(shared: Any) -> None:
        balance(network.losses(inputs), pcgrad(), shared=shared)

    class SoftSharing(nn.Module):
        def shared_parameters(self) -> list[nn.Parameter]:
            return []

    with pytest.raises(BalanceError, match="SoftSharing has no parameters reached by more than one task"):
        give(SoftSharing())
    with pytest.raises(EngineError, match="no shared parameter that requires a gradient"):
        give([])
    with pytest.raises(EngineError, match="shared is one tensor"):
        give(network.trunk[2].weight)
    with pytest.raises(EngineError, match="no tensors"):
        give([network.trunk[2].weight, "bias"])
    with pytest.raises(EngineError, match="leaf tensors"):
        give([network.trunk[2].weight * 2])
    assert balance(network.losses(inputs), equal(), shared=SoftSharing()).requires_grad  # losses are enough


# -- the balancer -----------------------------------------------------------------------------------------------------


def test_a_chain_without_a_reducer(network: TwoHeads, inputs: Tensor) -> None:
    with pytest.raises(BalanceError, match=r"ends with 3 rows.*add a reducer.*project_conflicts\(\), sum_\(\)"):
        balance(network.losses(inputs), chain(project_conflicts()), shared=network)


def test_a_link_that_needs_rows_given_only_a_gramian() -> None:
    match = r"graddrop\(\) needs the task gradients themselves, a Gramian is not enough: use direction\(jacobian\)"
    with pytest.raises(BalanceError, match=match):
        graddrop().weights(torch.eye(2))


def test_what_is_no_gramian() -> None:
    for wrong, match in (
        ([[1.0, 0.0], [0.0, 1.0]], r"gramian must be a tensor, found list; write torch\.tensor"),
        (torch.tensor([[1, 0], [0, 4]]), r"floating-point numbers, found torch\.int64; write gramian\.double\(\)"),
        (torch.eye(2, dtype=torch.complex64), r"floating-point numbers, found torch\.complex64"),
        (torch.zeros(0, 0), r"shape \(K, K\), found \(0, 0\)"),
        (torch.tensor([[1.0, 5.0], [0.0, 4.0]]), r"not symmetric.*compute J @ J\.T, or .*direction\(jacobian\)"),
        (torch.tensor([[1.0, 0.0], [0.0, -4.0]]), r"squared gradient norms below 0 for the tasks \['task 1'\]"),
    ):
        with pytest.raises(BalanceError, match=match):
            mgda().weights(wrong)
    with pytest.raises(BalanceError, match="jacobian must have real floating-point numbers"):
        mgda().direction(torch.ones(2, 3, dtype=torch.int64))
    with pytest.raises(BalanceError, match=r"losses have shape \(K,\), one per task, found \(2, 1\)"):
        tl.gls().weights(None, torch.ones(2, 1))
    rounded = torch.tensor([[4.0, 1.0], [1.03, 4.0]], dtype=torch.bfloat16)  # products in half precision
    assert mgda().weights(rounded).sum() == 1


# -- graphs and modes -------------------------------------------------------------------------------------------------


def test_a_graph_that_was_freed(network: TwoHeads, inputs: Tensor) -> None:
    losses = network.losses(inputs)
    torch.stack(list(losses.values())).sum().backward()
    with pytest.raises(EngineError, match=r"freed by an earlier backward\(\); compute the losses again"):
        balance(losses, pcgrad(), shared=network)


def test_calling_balance_twice_on_one_forward_pass(network: TwoHeads, inputs: Tensor) -> None:
    """Possible where the first call has not used up the graph, and explained where it has."""
    losses = network.losses(inputs)
    for _ in range(2):  # the gradients were handed out, nothing went through the graph
        network.zero_grad()
        balance(losses, pcgrad(order="ascending"), shared=network).backward()
    found = network.gradients()
    network.zero_grad()
    balance(network.losses(inputs), pcgrad(order="ascending"), shared=network).backward()
    for name, gradient in network.gradients().items():
        if gradient is not None:
            torch.testing.assert_close(found[name], gradient)
    losses = network.losses(inputs)
    balance(losses, nash_mtl(), shared=network, form="weights").backward()  # an ordinary pass through a weighted sum
    with pytest.raises(EngineError, match=r"call balance\(\) once per forward pass, before backward"):
        balance(losses, nash_mtl(), shared=network)
    losses = network.losses(inputs)
    balance(losses, equal(), shared=network).backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):  # PyTorch's own words
        balance(losses, equal(), shared=network).backward()


def test_backward_twice_or_with_second_derivatives(network: TwoHeads, inputs: Tensor) -> None:
    loss = balance(network.losses(inputs), pcgrad(), shared=network)
    loss.backward()
    with pytest.raises(EngineError, match=r"a second time .*retain_graph=True"):
        loss.backward()
    loss = balance(network.losses(inputs), pcgrad(), shared=network)
    with pytest.raises(EngineError, match=r"create_graph=True.* without a graph.*form='weights'"):
        torch.autograd.grad(loss, network.shared_parameters(), create_graph=True)
    twice = balance(network.losses(inputs), pcgrad(), shared=network, form="weights", head_gradient="weighted")
    (slope,) = torch.autograd.grad(twice, [network.trunk[0].weight], create_graph=True)
    assert slope.requires_grad


def test_gradients_that_are_switched_off(network: TwoHeads, inputs: Tensor) -> None:
    losses = network.losses(inputs)
    for off in (torch.no_grad, torch.inference_mode):
        for make in (equal, pcgrad):
            with off(), pytest.raises(EngineError, match=r"switched off \(torch\.no_grad.*while training only"):
                balance(losses, make(), shared=network)
        with off():
            assert_refused(losses, "switched off", shared=network)


# -- torch.compile ----------------------------------------------------------------------------------------------------


@pytest.fixture
def _recompiled() -> Any:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled_losses(model: Any, inputs: Tensor) -> dict[str, Tensor]:
    outputs = model(inputs)
    return {"a": outputs[:, 0].square().mean(), "b": (outputs[:, 1] - 1).square().mean(), "c": -outputs[:, 2].mean()}


def gradient_of(network: nn.Module) -> Tensor:
    return torch.cat([parameter.grad.reshape(-1) for parameter in network.parameters() if parameter.grad is not None])


def fresh() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()


@pytest.mark.usefixtures("_recompiled")
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("make", [equal, lambda: pcgrad(order="ascending"), lambda: graddrop(seed=1)])
def test_a_compiled_model(inputs: Tensor, backend: str, make: Any) -> None:
    plain, other = fresh(), fresh()
    balance(compiled_losses(plain, inputs), make(), shared=plain[:3]).backward()
    model = torch.compile(other, backend=backend)
    balance(compiled_losses(model, inputs), make(), shared=other[:3]).backward()
    torch.testing.assert_close(gradient_of(other), gradient_of(plain), rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("_recompiled")
@pytest.mark.parametrize("with_backward", [False, True])
def test_a_call_from_a_compiled_function_leaves_it(inputs: Tensor, with_backward: bool) -> None:
    plain, other = fresh(), fresh()
    for _ in range(2):
        balance(compiled_losses(plain, inputs), pcgrad(order="ascending"), shared=plain[:3]).backward()
    balancer, trunk = pcgrad(order="ascending"), other[:3]

    @torch.compile(backend="eager")
    def step(given: Tensor) -> Tensor:
        loss = balance(compiled_losses(other, given), balancer, shared=trunk)
        if with_backward:
            loss.backward()
        return loss

    for _ in range(2):
        loss = step(inputs)
        if not with_backward:
            loss.backward()
    torch.testing.assert_close(gradient_of(other), gradient_of(plain), rtol=1e-12, atol=1e-14)
    assert balancer.n_steps == 2


@pytest.mark.usefixtures("_recompiled")
def test_one_whole_graph_is_refused_with_advice(inputs: Tensor) -> None:
    network = fresh()

    @torch.compile(backend="eager", fullgraph=True)
    def step(given: Tensor) -> Tensor:
        return balance(compiled_losses(network, given), pcgrad(), shared=network[:3])

    with pytest.raises(Exception, match="looks at gradients: compile without fullgraph=True"):
        step(inputs)
