from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from taskloom.couplings import CentreDistance, GraphDistance, PairwiseDistance, ParameterCoupling, TraceNorm
from taskloom.errors import TaskError
from taskloom.nn import MLP, Independent, SoftSharing
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws


class SoftLaws(ModelLaws):
    def coupling(self, n_tasks: int) -> ParameterCoupling:
        raise NotImplementedError

    def make_model(self, tasks: Sequence[Task]) -> SoftSharing:
        return SoftSharing(
            lambda: MLP(self.n_features, (5, 4)), tasks, coupling=self.coupling(len(tasks)), layers=["*"]
        )

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        encoder = 7 * 5 + 6 * 4
        copies = len(tasks) + (1 if self.coupling(len(tasks)).needs_centre and len(tasks) > 1 else 0)
        return copies * encoder + sum(5 * task.kind.n_outputs for task in tasks)


class TestPairwise(SoftLaws):
    def coupling(self, n_tasks: int) -> ParameterCoupling:
        return PairwiseDistance(0.1)


class TestCentre(SoftLaws):
    def coupling(self, n_tasks: int) -> ParameterCoupling:
        return CentreDistance(0.1)


class TestGraph(SoftLaws):
    can_add_tasks = False  # a similarity is for a fixed number of tasks

    def coupling(self, n_tasks: int) -> ParameterCoupling:
        chain = [[float(abs(i - j) == 1) for j in range(n_tasks)] for i in range(n_tasks)]
        return GraphDistance(0.1, tuple(tuple(row) for row in chain))


@pytest.mark.parametrize("unfolding", ["laf", "tucker", "tt"])
class TestTraceNorm(SoftLaws):
    @pytest.fixture(autouse=True)
    def choose(self, unfolding: str) -> None:
        self.unfolding = unfolding

    def coupling(self, n_tasks: int) -> ParameterCoupling:
        return TraceNorm(0.1, self.unfolding)


def two_tasks() -> list[Task]:
    return [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())]


def problem(n_rows: int = 20) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(3)
    inputs = {task: torch.randn(n_rows, 3, dtype=torch.float64, generator=generator) for task in "ab"}
    coefficients = {"a": torch.tensor([1.0, 2.0, 0.0]), "b": torch.tensor([1.0, -1.0, 0.5])}
    noise = torch.randn(2, n_rows, dtype=torch.float64, generator=generator)
    return inputs, {task: inputs[task] @ coefficients[task].double() + 0.1 * noise[k] for k, task in enumerate("ab")}


def loss_of(model: nn.Module, inputs: dict[str, torch.Tensor], targets: dict[str, torch.Tensor]) -> torch.Tensor:
    outputs = model(inputs)
    return sum(((outputs[task][:, 0] - targets[task]).square().mean() for task in targets), torch.zeros(()))


def test_strength_zero_is_single_task() -> None:
    inputs, targets = problem()
    trained = []
    for build in (
        lambda: Independent(lambda: MLP(3, (8, 8)), two_tasks()),
        lambda: SoftSharing(lambda: MLP(3, (8, 8)), two_tasks(), coupling=PairwiseDistance(0.0)),
    ):
        torch.manual_seed(5)
        model = build().double()
        optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(50):
            optimiser.zero_grad()
            (loss_of(model, inputs, targets) + model.penalty()).backward()
            optimiser.step()
        trained.append(model(inputs))
    assert all(torch.equal(trained[0][task], trained[1][task]) for task in "ab")


class Row(nn.Module):
    """A linear model without bias whose one weight is the whole encoder."""

    out_features = 1

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return (inputs @ self.weight).unsqueeze(-1)


@pytest.mark.parametrize(("strength", "gap"), [(1e2, 1e-1), (1e4, 1e-3), (1e6, 1e-5)])
def test_large_strength_is_pooling(strength: float, gap: float) -> None:
    inputs, targets = problem()
    heads = {task: nn.Identity() for task in "ab"}
    model = SoftSharing(Row, two_tasks(), coupling=PairwiseDistance(strength), layers=["*"], heads=heads)
    parameters = [encoder.weight for encoder in model.encoders]

    def objective() -> torch.Tensor:
        return loss_of(model, inputs, targets) + model.penalty()

    # The objective is quadratic: one Newton step from zero is the exact minimiser.
    gradient = torch.cat(torch.autograd.grad(objective(), parameters))
    flat = torch.zeros(6, dtype=torch.float64)

    def of_flat(values: torch.Tensor) -> torch.Tensor:
        state = {f"encoders.{k}.weight": values[3 * k : 3 * k + 3] for k in range(2)}
        outputs = torch.func.functional_call(model, state, (inputs,))
        loss = sum(((outputs[task][:, 0] - targets[task]).square().mean() for task in "ab"), torch.zeros(()))
        return loss + 2 * strength * sum(
            (v - values.reshape(2, 3).mean(0)).square().sum() for v in values.reshape(2, 3)
        )

    hessian = torch.autograd.functional.hessian(of_flat, flat)
    solution = (flat - torch.linalg.solve(hessian, gradient)).reshape(2, 3)
    everything, every_target = torch.cat([inputs[task] for task in "ab"]), torch.cat([targets[task] for task in "ab"])
    pooled = torch.linalg.lstsq(everything, every_target.unsqueeze(1)).solution[:, 0]
    assert float((solution[0] - solution[1]).abs().max()) < gap
    assert float((solution - pooled).abs().max()) < gap


def test_strength_is_a_buffer() -> None:
    model = SoftSharing(lambda: MLP(3), two_tasks(), coupling=PairwiseDistance(0.1))
    before = model.penalty()
    model.tie.strength.mul_(2)
    torch.testing.assert_close(model.penalty(), 2 * before)
    assert model.state_dict()["tie.strength"] == 0.2


def test_default_layers_are_all_but_the_last_stage() -> None:
    model = SoftSharing(lambda: MLP(3, (4, 4, 4)), two_tasks())
    assert model.tie.names == ("0.0.weight", "0.0.bias", "1.0.weight", "1.0.bias")
    assert SoftSharing(lambda: MLP(3, (4, 4)), two_tasks(), layers=[-1]).tie.names == ("1.0.weight", "1.0.bias")
    assert SoftSharing(lambda: MLP(3, (4, 4)), two_tasks(), layers=["*.weight"]).tie.names == (
        "0.0.weight",
        "1.0.weight",
    )
    assert SoftSharing(lambda: MLP(3, (4, 4)), two_tasks(), coupling=TraceNorm()).tie.names == ("0.0.weight",)


def test_layers_that_do_not_exist() -> None:
    with pytest.raises(TaskError, match="stage 5, but the encoder has stages 0 to 1"):
        SoftSharing(lambda: MLP(3), two_tasks(), layers=[5])
    with pytest.raises(TaskError, match="no parameter matches"):
        SoftSharing(lambda: MLP(3), two_tasks(), layers=["conv*"])
    with pytest.raises(TaskError, match="couples none"):
        SoftSharing(lambda: MLP(3), two_tasks(), layers=["*.bias"], coupling=TraceNorm())


def test_networks_must_be_alike() -> None:
    widths = iter((4, 5))
    with pytest.raises(TaskError, match=r"'0.0.weight' is \(4, 3\) for 'a' and \(5, 3\) for 'b'"):
        SoftSharing(lambda: MLP(3, (next(widths),)), two_tasks(), heads={task: nn.Identity() for task in "ab"})


def test_same_start() -> None:
    model = SoftSharing(lambda: MLP(3), two_tasks(), same_start=True)
    assert float(model.penalty().detach()) == 0.0


def test_new_task_is_pulled_to_frozen_ones() -> None:
    model = SoftSharing(lambda: MLP(3), two_tasks(), coupling=PairwiseDistance(1.0))
    larger = model.add_task(Task(name="c", kind=Regression()), freeze="old")
    larger.penalty().backward()
    assert all(p.grad is None for p in larger.task_parameters("a"))
    first = next(larger.task_parameters("c"))
    assert first.grad is not None
    assert bool(first.grad.any())


def test_similarity_of_another_size() -> None:
    with pytest.raises(TaskError, match="similarity is for 3 tasks, but the model has 2"):
        SoftSharing(lambda: MLP(3), two_tasks(), coupling=GraphDistance(1.0, ((0, 1, 0), (1, 0, 1), (0, 1, 0))))


def test_proximal_steps_reach_the_minimum_of_the_penalised_objective() -> None:
    inputs, targets = problem()
    heads = {task: nn.Identity() for task in "ab"}
    model = SoftSharing(Row, two_tasks(), coupling=PairwiseDistance(50.0), layers=["*"], heads=heads)
    for _ in range(400):  # learning_rate * strength * K = 5: plain gradient descent on the penalty would diverge
        for parameter, gradient in zip(
            model.parameters(),
            torch.autograd.grad(loss_of(model, inputs, targets), list(model.parameters())),
            strict=True,
        ):
            parameter.data -= 0.05 * gradient
        model.proximal_step(0.05)
    total = loss_of(model, inputs, targets) + model.penalty()
    for gradient in torch.autograd.grad(total, list(model.parameters())):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-8, rtol=0)


def test_proximal_step_leaves_frozen_encoders() -> None:
    model = SoftSharing(lambda: MLP(3), two_tasks(), coupling=PairwiseDistance(1.0))
    model.encoders[0].requires_grad_(False)
    before = model.encoders[0][0][0].weight.clone()
    model.proximal_step(0.1)
    assert torch.equal(model.encoders[0][0][0].weight, before)
