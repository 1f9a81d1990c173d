"""Dense outputs as rows: the mean over labelled positions, layouts, errors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from taskloom.errors import DataError
from taskloom.losses import by_position, task_losses
from taskloom.task import Multiclass, Regression, Task

TASKS = [
    Task(name="depth", kind=Regression()),
    Task(name="class", kind=Multiclass(5)),
    Task(name="day", kind=Regression()),
]


def batch() -> tuple[dict, dict, dict]:
    torch.manual_seed(0)
    outputs = {"depth": torch.randn(2, 1, 4, 6), "class": torch.randn(2, 5, 4, 6), "day": torch.randn(2, 1)}
    targets = {"depth": torch.randn(2, 4, 6), "class": torch.randint(0, 5, (2, 4, 6)), "day": torch.randn(2)}
    mask = {name: torch.rand(target.shape) > 0.3 for name, target in targets.items()}
    mask["day"][:] = torch.tensor([True, False])
    return outputs, targets, mask


def test_losses_are_means_over_labelled_positions() -> None:
    outputs, targets, mask = batch()
    rows, labels, known = by_position(outputs, targets, mask=mask)
    losses, active = task_losses(TASKS, rows, targets=labels, mask=known)
    assert active.all()
    depth = F.mse_loss(outputs["depth"][:, 0][mask["depth"]], targets["depth"][mask["depth"]])
    category = F.cross_entropy(outputs["class"], targets["class"], reduction="none")[mask["class"]].mean()
    day = (outputs["day"][0, 0] - targets["day"][0]) ** 2
    torch.testing.assert_close(losses, torch.stack([depth, category, day]))


def test_without_a_mask_and_with_an_axis_for_the_output() -> None:
    outputs, targets, _ = batch()
    targets["depth"] = targets["depth"].unsqueeze(1)
    rows, labels, known = by_position(outputs, targets)
    assert known is None
    losses, _ = task_losses(TASKS, rows, targets=labels)
    torch.testing.assert_close(losses[0], F.mse_loss(outputs["depth"], targets["depth"]))


def test_a_task_without_a_valid_pixel_is_absent() -> None:
    outputs, targets, mask = batch()
    outputs["depth"].requires_grad_()
    mask["depth"][:] = False
    rows, labels, known = by_position(outputs, targets, mask=mask)
    losses, active = task_losses(TASKS, rows, targets=labels, mask=known)
    assert active.tolist() == [False, True, True]
    losses.sum().backward()
    assert not outputs["depth"].grad.any()


def test_tokens_and_images_of_equal_sizes() -> None:
    tokens, target = torch.randn(2, 3, 3), torch.zeros(2, 3)
    rows, _, _ = by_position({"a": tokens}, {"a": target})
    assert torch.equal(rows["a"], tokens.reshape(6, 3))  # (n, N, C)
    image = torch.randn(3, 3, 3, 3)
    rows, _, _ = by_position({"a": image}, {"a": torch.zeros(3, 3, 3)})
    assert torch.equal(rows["a"], image.permute(0, 2, 3, 1).reshape(27, 3))
    series = torch.randn(2, 5, 7)
    rows, _, _ = by_position({"a": series}, {"a": torch.zeros(2, 7)})
    assert torch.equal(rows["a"], series.permute(0, 2, 1).reshape(14, 5))


def test_tasks_of_rows_stay_as_they_are() -> None:
    output, target = torch.randn(4, 2), torch.zeros(4)
    rows, labels, known = by_position({"a": output, "b": output}, {"a": target}, mask={"a": target > 0})
    assert rows["a"] is output
    assert rows["b"] is output
    assert labels["a"] is target
    assert known is not None


def test_other_sizes_are_named() -> None:
    with pytest.raises(DataError, match=r"task 'a': found outputs of shape \(2, 1, 4, 4\) for targets of shape"):
        by_position({"a": torch.zeros(2, 1, 4, 4)}, {"a": torch.zeros(2, 8, 8)})
