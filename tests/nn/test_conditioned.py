from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import (
    MLP,
    Conditioned,
    EmbeddingAdd,
    EmbeddingConcat,
    EmbeddingGate,
    EmbeddingToken,
    FeatureTokens,
    FiLM,
    OneHotConcat,
)
from taskloom.nn._attention import SelfAttention
from taskloom.task import Binary, Regression, Task
from taskloom.testing import ModelLaws


class TestOneHotConcat(ModelLaws):
    one_kind = True

    def make_model(self, tasks: Sequence[Task]) -> Conditioned:
        slots = len(tasks) + 1
        return Conditioned(MLP(self.n_features + slots, (5, 4)), tasks, condition=OneHotConcat(slots))

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        return (7 + len(tasks) + 1) * 5 + 6 * 4 + 5  # K (and one spare slot) more inputs of the first layer


class TestEmbeddingConcat(ModelLaws):
    one_kind = True

    def make_model(self, tasks: Sequence[Task]) -> Conditioned:
        condition = EmbeddingConcat(len(tasks), width=2)
        return Conditioned(MLP(self.n_features + 2, (5, 4)), tasks, condition=condition)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        return len(tasks) * 2 + (7 + 2) * 5 + 6 * 4 + 5  # K d + d n more than the plain network


class TestEmbeddingAdd(ModelLaws):
    one_kind = True

    def make_model(self, tasks: Sequence[Task]) -> Conditioned:
        condition = {1: EmbeddingAdd(len(tasks), 5, width=2)}
        return Conditioned(MLP(self.n_features, (5, 4)), tasks, condition=condition)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        return len(tasks) * 2 + 2 * 5 + 7 * 5 + 6 * 4 + 5


class TestFiLM(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> Conditioned:
        condition = {1: FiLM(len(tasks), 5), 2: FiLM(len(tasks), 4, width=3)}
        return Conditioned(MLP(self.n_features, (5, 4)), tasks, condition=condition)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        films = len(tasks) * 2 * 5 + len(tasks) * 3 + (3 + 1) * 2 * 4
        n_outputs = {task.kind: task.kind.n_outputs for task in tasks}
        heads = 5 * sum(task.kind.n_outputs for task in tasks) if len(n_outputs) > 1 else 5 * tasks[0].kind.n_outputs
        return films + 7 * 5 + 6 * 4 + heads


class TestGateWithBatchNorm(ModelLaws):
    one_kind = True
    vectorises = False

    def make_model(self, tasks: Sequence[Task]) -> Conditioned:
        encoder = nn.Sequential(nn.Linear(self.n_features, 5), nn.BatchNorm1d(5), nn.ReLU())
        condition = {0: EmbeddingGate(len(tasks), self.n_features), 3: EmbeddingGate(len(tasks), 5)}
        return Conditioned(encoder, tasks, condition=condition, head=nn.Linear(5, 1))


class Mean(nn.Module):
    """Mean over tokens, then a linear layer."""

    def __init__(self, width: int, n_outputs: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, n_outputs)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.out(tokens.mean(1))


class TestTaskToken(ModelLaws):
    """Tokens of the features, which read the token of the task by attention."""

    def make_model(self, tasks: Sequence[Task]) -> Conditioned:
        encoder = nn.Sequential(FeatureTokens(self.n_features, 4), SelfAttention(4, n_heads=2, widening=1))
        encoder.out_features = 4  # type: ignore[assignment]
        heads = {task.name: Mean(4, task.kind.n_outputs) for task in tasks}
        return Conditioned(encoder, tasks, condition={1: EmbeddingToken(len(tasks), width=4)}, heads=heads)


def regressions(n: int) -> list[Task]:
    return [Task(name=f"t{k}", kind=Regression()) for k in range(n)]


def test_task_ids_give_the_rows_of_each_task() -> None:
    torch.manual_seed(0)
    model = Conditioned(MLP(3, (4,)), regressions(3), condition={0: FiLM(3, 3), 1: EmbeddingAdd(3, 4)}).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    inputs, task_ids = torch.randn(6, 3, dtype=torch.float64), torch.tensor([2, 0, 1, 1, 2, 0])
    rows = model(inputs, task_ids=task_ids)
    outputs = torch.stack([model(inputs)[task] for task in model.tasks])
    torch.testing.assert_close(rows, outputs[task_ids, torch.arange(6)], rtol=1e-12, atol=1e-12)


def test_task_ids_are_checked() -> None:
    model = Conditioned(MLP(3, (4,)), regressions(2), condition=FiLM(2, 3))
    with pytest.raises(TaskError, match=r"task_ids must lie in 0\.\.1, found 0\.\.2"):
        model(torch.zeros(2, 3), task_ids=torch.tensor([0, 2]))
    with pytest.raises(TaskError, match="not both"):
        model(torch.zeros(2, 3), ["t0"], task_ids=torch.tensor([0, 1]))
    tasks = [Task(name="a", kind=Regression()), Task(name="b", kind=Binary())]
    with pytest.raises(TaskError, match="one common head"):
        Conditioned(MLP(3), tasks, condition=FiLM(2, 3))(torch.zeros(2, 3), task_ids=torch.tensor([0, 1]))


def test_common_head_only_for_equal_kinds() -> None:
    tasks = [Task(name="a", kind=Regression()), Task(name="b", kind=Binary())]
    assert not Conditioned(MLP(3), tasks, condition=FiLM(2, 3)).has_common_head
    assert Conditioned(MLP(3), regressions(2), condition=FiLM(2, 3)).has_common_head
    heads = {"t0": nn.Linear(64, 1), "t1": nn.Linear(64, 1)}
    assert not Conditioned(MLP(3), regressions(2), condition=FiLM(2, 3), heads=heads).has_common_head
    with pytest.raises(TaskError, match="common head"):
        Conditioned(MLP(3), tasks, condition=FiLM(2, 3), head=nn.Linear(64, 1))
    with pytest.raises(TaskError, match="not both"):
        Conditioned(MLP(3), regressions(2), condition=FiLM(2, 3), heads=heads, head=nn.Linear(64, 1))


def test_conditions_must_fit() -> None:
    with pytest.raises(TaskError, match=r"place 5, but the encoder has places 0 \(input\) to 2"):
        Conditioned(MLP(3), regressions(2), condition={5: FiLM(2, 3)})
    with pytest.raises(TaskError, match="for 2 tasks, the model has 3"):
        Conditioned(MLP(3), regressions(3), condition=FiLM(2, 3))
    with pytest.raises(TaskError, match="at least one condition"):
        Conditioned(MLP(3), regressions(3), condition={})


def test_one_hot_without_a_spare_slot() -> None:
    model = Conditioned(MLP(3 + 2), regressions(2), condition=OneHotConcat(2))
    with pytest.raises(TaskError, match="2 slots, all in use"):
        model.add_task(Task(name="new", kind=Regression()))


class Counting(nn.Linear):
    calls = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(inputs)


def test_prefix_is_computed_once_and_the_rest_in_one_call() -> None:
    first, second = Counting(3, 4), Counting(4, 4)
    model = Conditioned(
        nn.Sequential(first, second), regressions(139), condition={1: FiLM(139, 4)}, head=nn.Linear(4, 1)
    )
    model.eval()(torch.zeros(2, 3), ["t0", "t1", "t2"])
    assert (first.calls, second.calls) == (1, 3)
    model.train()({task: torch.zeros(2, 3) for task in model.tasks})
    assert (first.calls, second.calls) == (2, 4)
