from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from taskloom.errors import TaskError
from taskloom.nn import MLP, Pooled
from taskloom.task import Binary, Multiclass, Regression, Task
from taskloom.testing import ModelLaws


class TestPooled(ModelLaws):
    one_kind = True

    def make_model(self, tasks: Sequence[Task]) -> Pooled:
        return Pooled(MLP(self.n_features, (5, 4)), tasks)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        return 7 * 5 + 6 * 4 + 5


def test_task_is_ignored() -> None:
    model = Pooled(MLP(3), [Task(name=name, kind=Multiclass(3)) for name in "abc"]).eval()
    rows = torch.randn(4, 3)
    outputs = model(dict.fromkeys("abc", rows))
    assert torch.equal(outputs["a"], outputs["c"])


def test_different_outputs_are_refused() -> None:
    with pytest.raises(TaskError, match="'a' is regression with 1 outputs and task 'b' is binary"):
        Pooled(MLP(3), [Task(name="a", kind=Regression()), Task(name="b", kind=Binary())])
    with pytest.raises(TaskError, match="'b' is multiclass with 4"):
        Pooled(MLP(3), [Task(name="a", kind=Multiclass(3)), Task(name="b", kind=Multiclass(4))])
