"""Dense tensors of several tasks: gathering, parts, subsets, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from taskloom.data.batch import assemble
from taskloom.data.tensors import TaskTensors
from taskloom.errors import DataError, TaskError
from taskloom.task import Binary, Regression, Task

TASKS = (
    Task(name="a", kind=Regression()),
    Task(name="b c", kind=Binary()),
    Task(name="d/e", kind=Regression()),
)
N = 30


def multi_label() -> TaskTensors:
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(N, 3, generator=generator) > 0.4
    mask[:3] = torch.tensor([[True, True, True], [False, False, False], [False, True, False]])
    return TaskTensors(
        tasks=TASKS,
        inputs=torch.randn(N, 2, generator=generator, dtype=torch.float64),
        targets=torch.randint(0, 2, (N, 3), generator=generator).double(),
        mask=mask,
        train=np.arange(20),
        validation=np.arange(20, N),
    )


def several_sets() -> TaskTensors:
    """Rows 0, 3, 6 ... belong to task 0, and so on; one training row of every task is unlabelled."""
    tensors = multi_label()
    ids = np.arange(N) % 3
    mask = torch.zeros(N, 3, dtype=torch.bool)
    mask[np.arange(3, N), ids[3:]] = True
    return replace(tensors, mask=mask, task_ids=ids)


def test_rows_of_a_part_are_those_with_any_label():
    tensors = multi_label()
    expected = [row for row in range(20) if tensors.mask[row].any()]
    assert tensors.rows("train").tolist() == expected
    assert 1 not in tensors.rows("train")
    rows, real = tensors.part("train")
    assert rows.tolist() == expected
    assert real.all()
    assert tensors.labelled_rows("train") == tuple(tensors.mask[:20].sum(0).tolist())


def test_rows_of_several_data_sets_are_those_of_each_task():
    tensors = several_sets()
    for position, rows in enumerate(tensors.rows("train")):
        assert rows.tolist() == [row for row in range(3, 20) if row % 3 == position]
    rows, real = tensors.part("validation")
    assert rows.shape == real.shape == (3, 4)
    assert real.sum(1).tolist() == [3, 3, 4]
    assert tensors.labelled_rows("validation") == (3, 3, 4)
    assert tensors.per_task


def test_gathering_multi_label_rows():
    tensors = multi_label()
    rows, real = np.array([4, 2, 0]), np.array([True, True, False])
    inputs, targets, mask = tensors.gather(rows, real)
    assert torch.equal(inputs, tensors.inputs[[4, 2, 0]])
    assert torch.equal(targets, tensors.targets[[4, 2, 0]])
    assert torch.equal(mask[:2], tensors.mask[[4, 2]])
    assert not mask[2].any()
    batch = tensors.batch(rows, real)
    assert batch.targets["b c"].dtype == torch.int64
    assert torch.equal(batch.inputs, tensors.inputs[[4, 2]])  # padding is left out of a batch of one network
    assert torch.equal(batch.mask["d/e"], mask[:2, 2])


@pytest.mark.parametrize("make", [multi_label, several_sets])
@pytest.mark.parametrize("at_once", [1, 200, 1 << 20])
def test_batches_fetched_together_are_those_fetched_alone(make, at_once, monkeypatch):
    monkeypatch.setattr("taskloom.data.tensors._BYTES_AT_ONCE", at_once)
    tensors = make()
    rows, real = tensors.order(batch_size=3, seed=0).epoch(0)
    together = list(tensors.batches(rows, real))
    assert len(together) == len(rows) > 1
    for found, own, kept in zip(together, rows, real, strict=True):
        inputs, targets, mask = tensors.gather(own, kept)
        if not tensors.per_task:
            inputs, targets, mask = inputs[kept], targets[kept], mask[kept]
        expected = assemble(tensors.tasks, inputs, targets, mask, per_task=tensors.per_task)
        torch.testing.assert_close(found.inputs, expected.inputs, rtol=0, atol=0)
        torch.testing.assert_close(found.targets, expected.targets, rtol=0, atol=0, equal_nan=True)
        for name in found.targets:
            assert torch.equal(found.known(name), expected.known(name))


def test_gathering_rows_of_several_data_sets():
    tensors = several_sets()
    rows = np.array([[3, 6], [4, 1], [5, 8]])
    real = np.array([[True, True], [True, True], [True, False]])
    inputs, targets, mask = tensors.gather(rows, real)
    assert inputs.shape == (3, 2, 2)
    for task in range(3):
        assert torch.equal(inputs[task], tensors.inputs[rows[task]])
        assert torch.equal(targets[task], tensors.targets[rows[task], task])
    assert mask.tolist() == [[True, True], [True, False], [True, False]]  # row 1 has no label, the last is padding
    assert torch.equal(tensors.batch(rows, real).inputs["b c"], inputs[1])


@pytest.mark.parametrize("make", [multi_label, several_sets])
def test_an_epoch_visits_every_label_once(make):
    tensors = make()
    order = tensors.order(batch_size=4, seed=1)
    labels = sum(tensors.gather(*step)[2].sum() for step in zip(*order.epoch(0), strict=True))
    assert int(labels) == sum(tensors.labelled_rows("train"))
    assert order is tensors.order(batch_size=4, seed=1)
    assert order is not tensors.order(batch_size=4, seed=2)
    assert tensors.order(seed=1).width >= order.width


def test_some_tasks_of_a_multi_label_set():
    tensors = multi_label()
    some = tensors.only(["d/e", "a"])
    assert [task.name for task in some.tasks] == ["d/e", "a"]
    assert torch.equal(some.targets, tensors.targets[:, [2, 0]])
    assert some.inputs is tensors.inputs
    assert 2 in tensors.rows("train")
    assert 2 not in some.rows("train")  # labelled for "b c" alone


def test_some_tasks_of_several_data_sets():
    tensors = several_sets()
    some = tensors.only(["d/e", "a"])
    assert some.per_task
    for name, position in (("d/e", 2), ("a", 0)):
        mine = some.rows("train")[[task.name for task in some.tasks].index(name)]
        assert torch.equal(some.inputs[mine], tensors.inputs[tensors.rows("train")[position]])
    assert some.labelled_rows("validation") == (4, 3)
    one = tensors.only(["b c"])
    assert not one.per_task
    assert torch.equal(one.inputs[one.rows("train")], tensors.inputs[tensors.rows("train")[1]])
    assert one.targets.shape == (10, 1)


@pytest.mark.parametrize("make", [multi_label, several_sets])
def test_an_unknown_task_is_named(make):
    with pytest.raises(TaskError, match=r"unknown task 'b d'.*'b c'"):
        make().only(["b d"])


@pytest.mark.parametrize("name", ["targets", "mask"])
def test_wrong_shapes_are_named(name):
    tensors = multi_label()
    with pytest.raises(DataError, match=rf"{name} must have shape \(rows, tasks\) = \(30, 3\), found \(30, 2\)"):
        replace(tensors, **{name: getattr(tensors, name)[:, :2]})


@pytest.mark.parametrize("make", [multi_label, several_sets])
def test_a_task_without_training_labels_is_named(make):
    tensors = make()
    mask = tensors.mask.clone()
    mask[:20, 1] = False
    with pytest.raises(DataError, match="task 'b c' has no labelled row in the training part"):
        replace(tensors, mask=mask)


def test_labels_in_rows_of_another_task_do_not_count():
    tensors = several_sets()
    mask = tensors.mask.clone()
    mask[torch.arange(1, 20, 3), 1] = False  # the rows of "b c"
    mask[0, 1] = True  # a row of "a"
    with pytest.raises(DataError, match="task 'b c' has no labelled row in the training part"):
        replace(tensors, mask=mask)


@pytest.mark.parametrize("ids", [np.zeros(N - 1, dtype=np.int64), np.full(N, 3), np.full(N, -1)])
def test_task_ids_must_name_a_task_for_every_row(ids):
    with pytest.raises(DataError, match="task_ids"):
        replace(multi_label(), task_ids=ids)
