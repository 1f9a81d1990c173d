"""Batches from dense tensors: both layouts, types of targets, and batching over networks."""

from __future__ import annotations

import pytest
import torch

from taskloom.data.batch import Batch, assemble
from taskloom.task import Binary, Multiclass, Regression, Task

TASKS = [
    Task(name="a b", kind=Regression()),
    Task(name="c/d", kind=Binary()),
    Task(name="e", kind=Multiclass(3)),
]


def dense(per_task, *, leading=()):
    torch.manual_seed(0)
    inputs = torch.randn(*leading, *((3, 4, 2) if per_task else (4, 2)))
    targets = torch.randint(0, 2, (*leading, *((3, 4) if per_task else (4, 3)))).double()
    return inputs, targets, torch.rand(targets.shape) > 0.3


@pytest.mark.parametrize("per_task", [False, True])
def test_columns_go_to_their_tasks(per_task):
    inputs, targets, mask = dense(per_task)
    batch = assemble(TASKS, inputs, targets, mask, per_task=per_task)
    assert isinstance(batch, Batch)
    assert list(batch.targets) == list(batch.mask) == ["a b", "c/d", "e"]
    for position, task in enumerate(TASKS):
        place = position if per_task else (slice(None), position)
        assert torch.equal(batch.targets[task.name].double(), targets[place])
        assert torch.equal(batch.mask[task.name], mask[place])
        if per_task:
            assert torch.equal(batch.inputs[task.name], inputs[position])
    if not per_task:
        assert batch.inputs is inputs
    assert batch.targets["a b"].dtype == torch.float64
    assert batch.targets["c/d"].dtype == batch.targets["e"].dtype == torch.int64


@pytest.mark.parametrize("per_task", [False, True])
def test_it_runs_for_many_networks_at_once(per_task):
    inputs, targets, mask = dense(per_task, leading=(5,))

    def tensors(*one):
        batch = assemble(TASKS, *one, per_task=per_task)
        return batch.inputs, batch.targets, batch.mask

    together = torch.func.vmap(tensors)(inputs, targets, mask)
    alone = [tensors(*one) for one in zip(inputs, targets, mask, strict=True)]
    for position, one in enumerate(alone):
        leaves, expected = torch.utils._pytree.tree_leaves(together), torch.utils._pytree.tree_leaves(one)
        assert all(torch.equal(leaf[position], value) for leaf, value in zip(leaves, expected, strict=True))


def test_another_number_of_columns_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        assemble(TASKS[:2], *dense(False), per_task=False)


def test_a_batch_of_some_tasks():
    known = torch.ones(2, dtype=torch.bool)
    targets = {"a": torch.zeros(2), "b": torch.ones(2)}
    common = Batch(torch.zeros(2, 3), targets, {"a": known, "b": known}).only(["b"])
    assert list(common.targets) == list(common.mask) == ["b"]
    assert common.inputs.shape == (2, 3)
    own = Batch({"a": torch.zeros(2, 3), "b": torch.ones(4, 3)}, targets).only(["b"])
    assert list(own.inputs) == ["b"]
    assert own.mask is None
