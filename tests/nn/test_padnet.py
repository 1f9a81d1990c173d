from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import CNN, DenseHead, MultiTaskModel, PADNet, PooledHead, check_partition
from taskloom.task import Multiclass, Regression, Task
from taskloom.testing import ModelLaws


def names_of(tasks: Sequence[Task]) -> dict[str, Task]:
    return {task.name: task for task in tasks} | {f"aux/{task.name}": task for task in tasks}


class InitialLaws(ModelLaws):
    """Images of 5 x 6. The model has more tasks than it is given: the initial predictions."""

    vectorises = False
    sizes = (1, 2, 3)

    def make_inputs(self, n_rows: int, *, seed: int = 0) -> torch.Tensor:
        return super().make_inputs(5 * n_rows, seed=seed).reshape(n_rows, 1, 5, 6)

    def inputs_per_task(self, model: MultiTaskModel, n_rows: int | Sequence[int]) -> dict[str, torch.Tensor]:
        rows = [n_rows] if isinstance(n_rows, int) else n_rows
        return super().inputs_per_task(model, [rows[k % len(rows)] for k in range(len(model.tasks))])

    def added_tasks(self, name: str) -> tuple[str, ...]:
        return (name, f"aux/{name}")

    def test_remove_task(self) -> None:
        """As the law, without its last line: a model made for one task has two."""
        model = self.build(3).eval()
        before = model(self.make_inputs(6))
        for task in model.tasks:
            smaller = model.remove_task(task).eval()
            assert smaller.tasks == tuple(other for other in model.tasks if other != task)
            for other, output in smaller(self.make_inputs(6)).items():
                torch.testing.assert_close(output, before[other], rtol=1e-12, atol=1e-12)
            check_partition(smaller, self.make_inputs(6))


class TestPADNet(InitialLaws):
    """Heads that average over the image, since the laws look at outputs (n, n_outputs)."""

    def make_model(self, tasks: Sequence[Task]) -> PADNet:
        heads = {name: PooledHead(nn.Linear(3, task.kind.n_outputs)) for name, task in names_of(tasks).items()}
        encoder = CNN(1, (2, 4), pool=False)
        return PADNet(encoder, tasks, width=3, heads=heads, example=torch.zeros(1, 1, 5, 6))

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        n_tasks = len(tasks)
        encoder = sum(9 * into * out + 2 * out for into, out in [(1, 2), (2, 2), (2, 4), (4, 4)])
        branches = n_tasks * (9 * 4 * 3 + 9 * 3 * 3 + 4 * 3)
        messages = n_tasks * (n_tasks - 1) * 2 * 9 * 3 * 3
        return encoder + branches + messages + 2 * sum(4 * task.kind.n_outputs for task in tasks)


class TestPADNetWithoutBatchStatistics(TestPADNet):
    """With group normalisation, many networks are trained in one computation."""

    vectorises = True
    sizes = (1, 2)

    def make_model(self, tasks: Sequence[Task]) -> PADNet:
        def norm(channels: int) -> nn.Module:
            return nn.GroupNorm(1, channels)

        heads = {name: PooledHead(nn.Linear(3, task.kind.n_outputs)) for name, task in names_of(tasks).items()}
        encoder = CNN(1, (2, 4), pool=False, norm=norm)
        return PADNet(encoder, tasks, width=3, norm=norm, heads=heads, example=torch.zeros(1, 1, 5, 6))


def scenes() -> list[Task]:
    return [Task(name="depth", kind=Regression(), target="d", loss_weight=2.0), Task(name="class", kind=Multiclass(5))]


def images(n_rows: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n_rows, 3, 16, 16, dtype=torch.float64, generator=generator)


def build(**settings: object) -> PADNet:
    torch.manual_seed(0)
    encoder = CNN(3, (4, 8), pool=False)
    return PADNet(encoder, scenes(), width=6, example=images(1).float(), **settings).double()  # type: ignore[arg-type]


def test_outputs_of_both_steps_have_the_size_of_the_image() -> None:
    model = build()
    shapes = {name: tuple(output.shape) for name, output in model(images()).items()}
    assert shapes == {
        "depth": (3, 1, 16, 16),
        "class": (3, 5, 16, 16),
        "aux/depth": (3, 1, 16, 16),
        "aux/class": (3, 5, 16, 16),
    }
    assert list(model(images(), ["depth"])) == ["depth"]


def test_initial_predictions_are_auxiliary_tasks_of_the_same_target() -> None:
    depth = build().task_objects[2]
    assert (depth.name, depth.column, depth.auxiliary, depth.loss_weight) == ("aux/depth", "d", True, 2.0)


def test_the_equations() -> None:
    """``F_t + sum_k sigmoid(W_g * F_k) * (W_f * F_k)``, with the two convolutions written apart."""
    model = build().eval()
    encoded = model.encoder(images())
    depth, category = (branch(encoded) for branch in model.branches)
    gate, value = model.readers[0].messages[0].gate_and_value.weight.split([6, 6])
    found = torch.nn.functional.conv2d(category, gate, padding=1).sigmoid() * torch.nn.functional.conv2d(
        category, value, padding=1
    )
    expected = {"depth": depth + found, "aux/depth": depth, "aux/class": category}
    features = model.features(images())
    for name, value in expected.items():
        torch.testing.assert_close(features[name], value, rtol=1e-12, atol=1e-12)


def test_extra_tasks_help_and_are_not_predicted_in_the_end() -> None:
    model = build(extra=[Task(name="edges", kind=Regression())])
    assert model.tasks == ("depth", "class", "aux/depth", "aux/class", "aux/edges")
    assert [model.readers[k].sources for k in range(5)] == [[0, 1, 2], [1, 0, 2], [0], [1], [2]]
    check_partition(model, images(2))


def test_groups() -> None:
    """Encoder and branches are shared, messages into a task and heads private."""
    found = build().describe()
    encoder = sum(parameter.numel() for parameter in CNN(3, (4, 8)).parameters())
    branch = 9 * 8 * 6 + 9 * 6 * 6 + 4 * 6
    message = 2 * 9 * 6 * 6
    assert found["shared"] == encoder + 2 * branch
    assert found["task"] == {"depth": message + 7, "class": message + 35, "aux/depth": 7, "aux/class": 35}
    assert (found["branches"], found["messages"]) == (2, 2 * message)


def test_only_what_is_asked_is_computed() -> None:
    model = build().eval()
    calls = []
    for number, branch in enumerate(model.branches):
        branch.register_forward_hook(lambda *_, number=number: calls.append(number))
    model(images(), ["aux/class"])
    assert calls == [1]


def test_a_branch_nobody_reads_goes() -> None:
    model = build(extra=[Task(name="edges", kind=Regression())]).eval()
    expected = model(images())
    smaller = model
    for name in ("depth", "class", "aux/depth"):
        smaller = smaller.remove_task(name)
    assert len(smaller.branches) == 2
    assert [smaller.readers[k].sources for k in range(2)] == [[0], [1]]
    for name, output in smaller(images()).items():
        assert torch.equal(output, expected[name])
    check_partition(smaller, images(2))


def test_a_new_task_has_an_initial_prediction_of_its_own() -> None:
    model = build().eval()
    larger = model.add_task(Task(name="edges", kind=Multiclass(2), target="e"), freeze="old").eval()
    assert larger.tasks == ("depth", "class", "aux/depth", "aux/class", "edges", "aux/edges")
    assert (larger.task_objects[5].column, larger.task_objects[5].auxiliary) == ("e", True)
    assert [larger.readers[k].sources for k in (4, 5)] == [[2, 0, 1], [2]]
    outputs = larger(images())
    assert outputs["edges"].shape == outputs["aux/edges"].shape == (3, 2, 16, 16)
    heads = [DenseHead(6, 2), DenseHead(6, 2)]
    given = model.add_task(Task(name="edges", kind=Multiclass(2)), head=heads[0], initial_head=heads[1])
    assert (given.heads[4], given.heads[5]) == tuple(heads)


def test_odd_sizes_have_heads_of_a_fixed_size() -> None:
    encoder = CNN(1, (2, 4), pool=False)
    model = PADNet(encoder, scenes(), width=3, example=torch.zeros(1, 1, 9, 7))
    assert model(torch.zeros(2, 1, 9, 7))["aux/class"].shape == (2, 5, 9, 7)
    head = model.heads[0]
    assert isinstance(head, DenseHead)
    assert head.size == (9, 7)


def test_bad_arguments() -> None:
    with pytest.raises(TaskError, match="give example="):
        PADNet(CNN(), scenes())
    with pytest.raises(TaskError, match=r"found \(1, 3, 16, 16\) and \(1, 64\); use an encoder without pooling"):
        PADNet(CNN(), scenes(), example=images(1).float())
    with pytest.raises(TaskError, match="width must be 1 or more"):
        PADNet(CNN(pool=False), scenes(), width=0, example=images(1).float())
    with pytest.raises(TaskError, match="duplicate task names"):
        build(extra=scenes()[:1])
    with pytest.raises(TaskError, match=r"heads .* do not match tasks"):
        build(heads={"depth": DenseHead(6, 1), "class": DenseHead(6, 5)})


def test_lower_precision() -> None:
    tasks = [Task(name=f"t{k}", kind=Regression()) for k in range(3)]
    model = PADNet(CNN(3, (2, 3), pool=False), tasks, width=2, example=images(1).float()).train()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(images().float())
        sum(output.float().square().sum() for output in outputs.values()).backward()
    assert {output.dtype for output in outputs.values()} == {torch.bfloat16}
    assert all(parameter.grad is not None for parameter in model.parameters())
