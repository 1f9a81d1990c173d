"""Chosen tasks as a plain module with a tuple of outputs."""

from __future__ import annotations

import pytest
import torch

from taskloom.errors import TaskError
from taskloom.export import ExportView, export_view
from taskloom.nn import MLP, HardSharing, PartialSharing
from taskloom.task import Multiclass, Regression, Task

TASKS = [Task(name="a.b", kind=Regression()), Task(name="keys", kind=Multiclass(3)), Task(name="c", kind=Regression())]


def network() -> HardSharing:
    torch.manual_seed(0)
    return HardSharing(MLP(4, (5,), dropout=0.5), TASKS).double()


def test_outputs_come_in_the_order_asked_for():
    model = network()
    inputs = torch.randn(6, 4, dtype=torch.float64)
    expected = model.eval()(inputs)
    for tasks in (["c", "a.b"], ["keys"], None):
        view = export_view(model.train(), tasks)
        assert view.tasks == tuple(tasks or model.tasks)
        outputs = view(inputs)
        assert isinstance(outputs, tuple)
        for task, output in zip(view.tasks, outputs, strict=True):
            assert torch.equal(output, expected[task])
    assert model.training  # the model itself is not changed


def test_one_task_gets_its_path_alone():
    table = [dict.fromkeys([task.name for task in TASKS], 0), {"a.b": 0, "keys": 1, "c": 2}]
    model = PartialSharing([lambda: MLP(4, (5,)), lambda: MLP(5, (7,))], TASKS, table=table)
    view = export_view(model, "keys")
    assert isinstance(view, ExportView)
    assert sum(parameter.numel() for parameter in view.parameters()) == 5 * 5 + 6 * 7 + 8 * 3


def test_a_traced_view_gives_the_same():
    view = export_view(network())
    inputs = torch.randn(3, 4, dtype=torch.float64)
    traced = torch.export.export(view, (inputs,)).module()
    for found, expected in zip(traced(inputs), view(inputs), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("tasks", "message"), [([], "found none"), (["c", "c"], "every task once"), (["cc"], "unknown task 'cc'")]
)
def test_bad_tasks(tasks, message):
    with pytest.raises((TaskError, KeyError), match=message):
        export_view(network(), tasks)
