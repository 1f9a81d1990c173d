"""The pure step equals ``tl.balance(...).backward()`` and ``tl.measure``, alone and batched over networks."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import taskloom as tl
from taskloom.balance.base import Balancer
from taskloom.couplings import CentreDistance, PairwiseDistance
from taskloom.data.batch import assemble
from taskloom.engine.functional import StepFunction
from taskloom.losses import task_losses
from taskloom.nn import (
    CGC,
    MLP,
    PLE,
    Conditioned,
    FiLM,
    HardSharing,
    HardSoftMix,
    MMoE,
    OneHotConcat,
    Pooled,
    SoftSharing,
)
from taskloom.nn.model import MultiTaskModel
from taskloom.task import Binary, Multiclass, Regression, Task

MIXED = (
    Task(name="a", kind=Regression()),
    Task(name="b c", kind=Binary(), loss_weight=2.0),
    Task(name="d/e", kind=Multiclass(3)),
)
EQUAL_KINDS = tuple(Task(name=f"set {k}", kind=Regression()) for k in range(3))
N_INPUTS, ROWS = 4, 7

BALANCERS: dict[str, Callable[[], Balancer]] = {
    "equal": tl.equal,
    "mean": lambda: tl.equal("mean"),
    "fixed": lambda: tl.fixed([0.5, 2.0, 1.25]),
    "uncertainty": tl.uncertainty,
    "pcgrad": lambda: tl.pcgrad(seed=3),
    "pcgrad ascending": lambda: tl.pcgrad(order="ascending"),
    "fixed, pcgrad": lambda: tl.chain(tl.fixed([0.5, 2.0, 1.25]), tl.pcgrad(seed=3)),
    "uncertainty, pcgrad": lambda: tl.chain(tl.uncertainty(), tl.pcgrad(seed=3)),
}


def encoder(n_inputs: int = N_INPUTS) -> MLP:
    return MLP(n_inputs, hidden=(5, 4))


def film(tasks):
    return Conditioned(encoder(), tasks, condition={1: FiLM(3, 5, width=2)}, head=torch.nn.Linear(4, 1))


MODELS: dict[str, Callable[[tuple[Task, ...]], MultiTaskModel]] = {
    "hard": lambda tasks: HardSharing(encoder(), tasks),
    "soft centre": lambda tasks: SoftSharing(encoder, tasks, coupling=CentreDistance(0.1)),
    "soft pairwise": lambda tasks: SoftSharing(encoder, tasks, coupling=PairwiseDistance(0.1)),
    "hard and soft": lambda tasks: HardSoftMix(
        encoder(), tasks, encoder=lambda: MLP(4, hidden=(3,)), coupling=CentreDistance(0.1)
    ),
    "pooled": lambda tasks: Pooled(encoder(), tasks),
    "one-hot": lambda tasks: Conditioned(encoder(N_INPUTS + 3), tasks, condition=OneHotConcat(3)),
    "film": film,
    "mmoe": lambda tasks: MMoE(encoder, tasks, n_experts=3),
    "cgc": lambda tasks: CGC(encoder, tasks, n_shared=1, n_own={task.name: k for k, task in enumerate(tasks)}),
    "ple": lambda tasks: PLE([encoder, lambda: MLP(4, hidden=(3,)), lambda: MLP(3, hidden=(3,))], tasks),
}
NEEDS_EQUAL_KINDS = {"pooled", "one-hot", "film"}
NOTHING_SHARED = {"soft centre", "soft pairwise"}
LAYOUTS = [
    (model, per_task) for model in MODELS for per_task in (False, True) if per_task or model not in NEEDS_EQUAL_KINDS
]
CASES = [
    (model, per_task, balancer)
    for model, per_task in LAYOUTS
    for balancer in BALANCERS
    if not (model in NOTHING_SHARED and "pcgrad" in balancer)
]


def problem(model: str, *, per_task: bool, absent: bool):
    """Tasks, and dense inputs, targets and mask with missing labels; optionally without any label of task 1."""
    tasks = EQUAL_KINDS if model in NEEDS_EQUAL_KINDS else MIXED
    generator = torch.Generator().manual_seed(7)
    shape = (3, ROWS) if per_task else (ROWS, 3)
    inputs = torch.randn(*((3, ROWS) if per_task else (ROWS,)), N_INPUTS, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 2, shape, generator=generator).double()
    mask = torch.rand(shape, generator=generator) > 0.3
    if absent:
        mask[1 if per_task else (slice(None), 1)] = False
    return tasks, inputs, targets, mask


def build(model: str, balancer: str, tasks, seed: int = 0) -> tuple[MultiTaskModel, Balancer]:
    torch.manual_seed(seed)
    network, chain = MODELS[model](tasks).double(), BALANCERS[balancer]()
    chain.bind(tasks)
    for parameter in chain.double().parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network, chain


def states(module: torch.nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return {name: value.detach() for name, value in module.named_parameters()}, dict(module.named_buffers())


def by_balance(network, chain, tasks, inputs, targets, mask, *, per_task):
    """Gradients that an ordinary training step leaves in ``.grad``."""
    network, chain = copy.deepcopy(network), copy.deepcopy(chain)
    batch = assemble(tasks, inputs, targets, mask, per_task=per_task)
    losses, active = task_losses(tasks, network(batch.inputs), targets=batch.targets, mask=batch.mask)
    present = {task.name: loss for task, loss, here in zip(tasks, losses, active.tolist(), strict=True) if here}
    (tl.balance(present, chain, shared=network) + network.penalty()).backward()

    def gradients(module):
        return {
            name: torch.zeros_like(value) if value.grad is None else value.grad
            for name, value in module.named_parameters()
        }

    return losses.detach(), active, gradients(network), gradients(chain)


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("absent", [False, True], ids=["all present", "one absent"])
@pytest.mark.parametrize(("model", "per_task", "balancer"), CASES)
def test_gradients_equal_those_of_balance(model, per_task, balancer, absent):
    tasks, *batch = problem(model, per_task=per_task, absent=absent)
    network, chain = build(model, balancer, tasks)
    expected_losses, expected_active, expected, expected_own = by_balance(
        network, chain, tasks, *batch, per_task=per_task
    )
    function = StepFunction(network, chain, tasks, per_task=per_task)
    step = function.gradients(*states(network), *states(chain), *batch, chain.draw(3, step=0))
    assert step.active.tolist() == expected_active.tolist() == [True, not absent, True]
    torch.testing.assert_close(step.losses, expected_losses, rtol=1e-12, atol=1e-14)
    assert_equal(step.gradients, expected)
    assert_equal(step.balancer_gradients, expected_own)
    if absent:
        assert step.losses[1] == step.weights[1] == 0


@pytest.mark.parametrize(("model", "per_task"), [case for case in LAYOUTS if case[0] not in NOTHING_SHARED])
def test_gramian_equals_measure(model, per_task):
    tasks, *batch = problem(model, per_task=per_task, absent=False)
    network, chain = build(model, "equal", tasks)
    assembled = assemble(tasks, *batch, per_task=per_task)
    losses, _ = task_losses(tasks, network(assembled.inputs), targets=assembled.targets, mask=assembled.mask)
    expected = tl.measure(dict(zip(network.tasks, losses, strict=True)), shared=list(network.shared_parameters()))
    found = StepFunction(network, chain, tasks, per_task=per_task).gramian(*states(network), *batch)
    torch.testing.assert_close(found, expected.gramian, rtol=1e-10, atol=1e-12)
    assert torch.equal(found, found.T)


def test_a_task_without_labels_has_a_zero_row_in_the_gramian():
    tasks, *batch = problem("hard", per_task=False, absent=True)
    network, chain = build("hard", "equal", tasks)
    gramian = StepFunction(network, chain, tasks, per_task=False).gramian(*states(network), *batch)
    assert not gramian[1].any()
    assert not gramian[:, 1].any()
    assert gramian[0, 0] > 0


@pytest.mark.parametrize("per_task", [False, True], ids=["one input", "several sets"])
@pytest.mark.parametrize("balancer", ["equal", "uncertainty", "fixed, pcgrad"])
def test_many_networks_at_once_are_each_network_alone(balancer, per_task):
    tasks, *batch = problem("hard", per_task=per_task, absent=True)
    members = [build("hard", balancer, tasks, seed) for seed in range(3)]
    function = StepFunction(*members[0], tasks, per_task=per_task)
    draws = [chain.draw(3, step=place) for place, (_, chain) in enumerate(members)]
    alone = [
        function.gradients(*states(network), *states(chain), *batch, draw)
        for (network, chain), draw in zip(members, draws, strict=True)
    ]

    def stack(mappings):
        return {name: torch.stack([one[name] for one in mappings]) for name in mappings[0]}

    stacked = [stack([states(pair[which])[part] for pair in members]) for which in (0, 1) for part in (0, 1)]
    together_draws = None if draws[0] is None else torch.stack(draws)
    together = torch.func.vmap(
        function.gradients, in_dims=(0, 0, 0, 0, None, None, None, None if together_draws is None else 0)
    )(*stacked, *batch, together_draws)
    for place, one in enumerate(alone):
        torch.testing.assert_close(together.losses[place], one.losses, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(together.weights[place], one.weights, rtol=1e-10, atol=1e-12)
        assert_equal({name: value[place] for name, value in together.gradients.items()}, one.gradients)
        assert_equal(
            {name: value[place] for name, value in together.balancer_gradients.items()}, one.balancer_gradients
        )


def test_outputs_are_those_of_the_model():
    tasks, inputs, _, _ = problem("hard", per_task=True, absent=False)
    network, chain = build("hard", "equal", tasks)
    found = StepFunction(network, chain, tasks, per_task=True).outputs(*states(network), inputs)
    expected = network(dict(zip(network.tasks, inputs, strict=True)))
    assert_equal(found, expected)


def test_nothing_is_written_into_the_modules():
    tasks, *batch = problem("hard", per_task=False, absent=False)
    network, chain = build("hard", "uncertainty, pcgrad", tasks)
    before = copy.deepcopy((network.state_dict(), chain.state_dict()))
    StepFunction(network, chain, tasks, per_task=False).gradients(
        *states(network), *states(chain), *batch, chain.draw(3, step=0)
    )
    assert_equal(network.state_dict(), before[0])
    assert all(torch.equal(value, before[1][name]) for name, value in chain.state_dict().items())
    assert all(parameter.grad is None for parameter in [*network.parameters(), *chain.parameters()])
