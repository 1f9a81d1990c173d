"""Losses without a mask: the same numbers as with a mask that is True everywhere, at less cost."""

from __future__ import annotations

import pytest
import torch

import taskloom as tl
from taskloom.data.batch import Batch
from taskloom.data.tensors import TaskTensors
from taskloom.errors import TaskError
from taskloom.losses import AbsoluteError, SquaredError, task_losses

TASKS = (
    tl.Task(name="a", kind=tl.Regression()),
    tl.Task(name="b", kind=tl.Regression(), loss=AbsoluteError()),
    tl.Task(name="c", kind=tl.Multiclass(3), loss_weight=2.0),
    tl.Task(name="d", kind=tl.Regression(), loss=lambda output, target, mask: output[mask].mean()),
)


def case(n: int = 5) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(n)
    outputs = {task.name: torch.randn(n, task.kind.n_outputs, generator=generator).double() for task in TASKS}
    targets = {name: torch.randn(n, generator=generator).double() for name in outputs}
    targets["c"] = torch.arange(n) % 3
    return outputs, targets


def test_no_mask_is_a_mask_of_ones():
    outputs, targets = case()
    everywhere = {name: torch.ones(5, dtype=torch.bool) for name in targets}
    found, active = task_losses(TASKS, outputs, targets=targets)
    expected, also = task_losses(TASKS, outputs, targets=targets, mask=everywhere)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    assert torch.equal(active, also)
    torch.testing.assert_close(SquaredError()(outputs["a"], targets["a"]), expected[0], rtol=1e-12, atol=0)


def test_a_task_without_targets_stays_absent():
    outputs, targets = case()
    del targets["b"]
    losses, active = task_losses(TASKS, outputs, targets=targets)
    assert active.tolist() == [True, False, True, True]
    assert losses[1] == 0
    with pytest.raises(TaskError, match="no outputs"):
        task_losses(TASKS, {"a": outputs["a"]}, targets=targets)


def test_batches_without_gaps_have_no_mask():
    import numpy as np

    x = torch.randn(6, 2)
    mask = torch.ones(6, 1, dtype=torch.bool)

    def tensors(known: torch.Tensor) -> TaskTensors:
        return TaskTensors(
            tasks=TASKS[:1], inputs=x, targets=x[:, :1], mask=known, train=np.arange(4), validation=np.arange(4, 6)
        )

    whole, rows = tensors(mask), np.asarray([2, 0])
    batch = whole.batch(rows, np.asarray([True, True]))
    assert batch.mask is None
    assert batch.known("a").tolist() == [True, True]
    assert torch.equal(batch.targets["a"], x[[2, 0], 0])
    padded = whole.batch(rows, np.asarray([True, False]))
    assert padded.mask is None
    assert torch.equal(padded.inputs, x[[2]])
    holes = mask.clone()
    holes[5] = False
    assert tensors(holes).batch(rows, np.asarray([True, True])).mask["a"].tolist() == [True, True]
    assert Batch(x, {"a": x[:, 0]}).known("a").all()
