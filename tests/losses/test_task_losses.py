"""The losses of all tasks of a batch: equal to one call per task, made in as few calls as there are kinds of task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

from taskloom.errors import TaskError
from taskloom.losses import Huber, Loss, SquaredError, default_loss, task_losses
from taskloom.task import Binary, Multiclass, Regression, Task

TASKS = (
    Task(name="price / m2", kind=Regression()),
    Task(name="sold", kind=Binary()),
    Task(name="가격", kind=Regression(), loss_weight=3.0),
    Task(name="colour", kind=Multiclass(3)),
    Task(name="size", kind=Regression(), loss=Huber(0.5)),
    Task(name="shape", kind=Multiclass(3)),
)


def draw(tasks: tuple[Task, ...], *leading: int, n: int = 7) -> tuple[dict[str, Tensor], ...]:
    generator = torch.Generator().manual_seed(1)
    outputs, targets, mask = {}, {}, {}
    for task in tasks:
        outputs[task.name] = torch.randn(*leading, n, task.kind.n_outputs, dtype=torch.float64, generator=generator)
        if task.kind.n_classes:
            targets[task.name] = torch.randint(0, task.kind.n_classes, (*leading, n), generator=generator)
        else:
            targets[task.name] = torch.randn(*leading, n, dtype=torch.float64, generator=generator)
        mask[task.name] = torch.rand(*leading, n, generator=generator) < 0.5
    return outputs, targets, mask


def one_by_one(
    tasks: tuple[Task, ...], outputs: dict[str, Tensor], targets: dict[str, Tensor], mask: dict[str, Tensor]
) -> Tensor:
    return torch.stack(
        [
            task.loss_weight
            * (task.loss or default_loss(task.kind))(outputs[task.name], targets[task.name], mask[task.name])
            for task in tasks
        ],
        dim=-1,
    )


def test_equals_one_call_per_task_in_task_order() -> None:
    outputs, targets, mask = draw(TASKS)
    losses, active = task_losses(TASKS, outputs, targets=targets, mask=mask)
    torch.testing.assert_close(losses, one_by_one(TASKS, outputs, targets, mask), rtol=1e-14, atol=0)
    assert active.tolist() == [bool(mask[task.name].any()) for task in TASKS]


def test_gradient_of_one_loss_is_zero_for_the_outputs_of_other_tasks() -> None:
    outputs, targets, mask = draw(TASKS)
    mask = {name: torch.ones_like(labelled) for name, labelled in mask.items()}
    outputs = {name: output.requires_grad_() for name, output in outputs.items()}
    losses, _ = task_losses(TASKS, outputs, targets=targets, mask=mask)
    for k, task in enumerate(TASKS):
        gradients = torch.autograd.grad(losses[k], list(outputs.values()), retain_graph=True, materialize_grads=True)
        for other, gradient in zip(TASKS, gradients, strict=True):
            assert bool(gradient.any()) == (other is task)


def test_leading_axes_and_vmap_agree() -> None:
    outputs, targets, mask = draw(TASKS, 4)

    def losses_of(outputs: dict[str, Tensor], targets: dict[str, Tensor], mask: dict[str, Tensor]) -> Tensor:
        return task_losses(TASKS, outputs, targets=targets, mask=mask)[0]

    batched = vmap(losses_of)(outputs, targets, mask)
    assert batched.shape == (4, len(TASKS))
    torch.testing.assert_close(batched, losses_of(outputs, targets, mask))
    torch.testing.assert_close(batched, one_by_one(TASKS, outputs, targets, mask))
    gradients = vmap(grad(lambda *batch: losses_of(*batch).sum()))(outputs, targets, mask)
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())


def test_many_tasks_are_one_call() -> None:
    calls: list[torch.Size] = []

    @dataclass(frozen=True, slots=True)
    class Counted(SquaredError):
        def elementwise(self, prediction: Tensor, target: Tensor) -> Tensor:
            calls.append(prediction.shape)
            return SquaredError.elementwise(self, prediction, target)

    tasks = tuple(Task(name=f"school {k}", kind=Regression(), loss=Counted()) for k in range(139))
    outputs, targets, mask = draw(tasks)
    losses, _ = task_losses(tasks, outputs, targets=targets, mask=mask)
    assert calls == [(139, 7, 1)]
    torch.testing.assert_close(losses, one_by_one(tasks, outputs, targets, mask), rtol=1e-14, atol=0)


def test_a_task_with_no_labels_in_the_batch_is_absent() -> None:
    outputs, targets, mask = draw(TASKS)
    mask["sold"] = torch.zeros_like(mask["sold"])
    del targets["colour"]
    outputs = {name: output.requires_grad_() for name, output in outputs.items()}
    losses, active = task_losses(TASKS, outputs, targets=targets, mask=mask)
    assert [task.name for task, here in zip(TASKS, active.tolist(), strict=True) if not here] == ["sold", "colour"]
    assert losses[1].item() == losses[3].item() == 0.0
    losses.sum().backward()
    assert outputs["sold"].grad is not None
    assert not outputs["sold"].grad.any()
    assert outputs["colour"].grad is None


def test_batches_of_different_sizes_per_task() -> None:
    outputs, targets, mask = draw(TASKS[:1])
    more = draw(TASKS[2:3], n=11)
    outputs, targets, mask = outputs | more[0], targets | more[1], mask | more[2]
    tasks = (TASKS[0], TASKS[2])
    losses, _ = task_losses(tasks, outputs, targets=targets, mask=mask)
    torch.testing.assert_close(losses, one_by_one(tasks, outputs, targets, mask))


def test_a_plain_function_is_called_once_per_task_with_its_own_tensors() -> None:
    def largest(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        assert prediction.shape == (7, 1)
        return torch.where(mask, (prediction.squeeze(-1) - target).abs(), 0.0).max()

    tasks = tuple(Task(name=name, kind=Regression(), loss=largest) for name in ("a", "b"))
    outputs, targets, mask = draw(tasks)
    losses, _ = task_losses(tasks, outputs, targets=targets, mask=mask)
    expected = [largest(outputs[name], targets[name], mask[name]) for name in ("a", "b")]
    torch.testing.assert_close(losses, torch.stack(expected))


def test_a_loss_that_cannot_be_hashed_stands_alone() -> None:
    class Scaled(Loss):
        __hash__: ClassVar[None] = None  # type: ignore[assignment]

        def elementwise(self, prediction: Tensor, target: Tensor) -> Tensor:
            return (prediction.squeeze(-1) - target).abs()

    tasks = tuple(Task(name=name, kind=Regression(), loss=Scaled()) for name in ("a", "b"))
    outputs, targets, mask = draw(tasks)
    losses, _ = task_losses(tasks, outputs, targets=targets, mask=mask)
    torch.testing.assert_close(losses, one_by_one(tasks, outputs, targets, mask))


def test_mixed_precision_of_the_tasks_ends_in_the_finer_one() -> None:
    outputs, targets, mask = draw(TASKS[:2])
    outputs["sold"] = outputs["sold"].to(torch.bfloat16)
    losses, _ = task_losses(TASKS[:2], outputs, targets=targets, mask=mask)
    assert losses.dtype == torch.float64


def test_missing_pieces_are_named() -> None:
    outputs, targets, mask = draw(TASKS)
    misspelt = {("sould" if name == "sold" else name): output for name, output in outputs.items()}
    with pytest.raises(TaskError, match=r"'sold' but no outputs.*Did you mean 'sould'"):
        task_losses(TASKS, misspelt, targets=targets, mask=mask)
    del mask["가격"]
    with pytest.raises(TaskError, match="'가격' but no mask"):
        task_losses(TASKS, outputs, targets=targets, mask=mask)
    with pytest.raises(TaskError, match="none of the tasks"):
        task_losses(TASKS, outputs, targets={}, mask=mask)
