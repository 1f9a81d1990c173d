"""Laws of what is made of a model: copies, exported networks, models of more or fewer tasks."""

from __future__ import annotations

import copy
import pickle

import torch

from taskloom.errors import TaskError
from taskloom.nn import MultiTaskModel, check_partition
from taskloom.nn.model import Freeze
from taskloom.task import Task
from taskloom.testing._model_case import ModelCase
from taskloom.testing._model_pieces import (
    assert_close,
    assert_equal,
    assert_raises,
    learning_norms,
    total_of,
    train,
)

__all__ = ["ChangeLaws"]


class ChangeLaws(ModelCase):
    """Laws of copies, of exported networks, and of tasks that come and go."""

    def test_state_round_trip(self) -> None:
        """Loading the state of one model into another makes its answers and penalties equal, bit by bit."""
        model, other = self.build(seed=0).eval(), self.build(seed=1).eval()
        other.load_state_dict(model.state_dict())
        assert_equal(other(self.make_inputs(4)), model(self.make_inputs(4)))
        assert torch.equal(other.penalty(), model.penalty())

    def test_copies(self) -> None:
        """Copies by deepcopy and pickle are equal, also after a batched forward pass; half precision and back works."""
        model = self.build(self.sizes[-1])
        model.train()
        total_of(model(self.make_inputs(4))).backward()
        model.eval()
        expected = model(self.make_inputs(4))
        assert_equal(copy.deepcopy(model)(self.make_inputs(4)), expected)
        assert_equal(pickle.loads(pickle.dumps(model))(self.make_inputs(4)), expected)  # noqa: S301 - our own bytes
        rounded = copy.deepcopy(model).half().double()
        assert rounded.state_dict().keys() == model.state_dict().keys()
        assert all(bool(torch.isfinite(output).all()) for output in rounded(self.make_inputs(4)).values())

    def test_export(self) -> None:
        """The exported network of a task gives the task's answers, and holds only what it needs.

        Bit by bit; to rounding where weights are merged on export.
        """
        model = self.build()
        if self.derives_before_export:
            model = model.derive()
        model.eval()
        inputs = self.make_inputs(4)
        expected = model(inputs)
        for task in model.tasks:
            exported = model.export(task)
            assert not isinstance(exported, MultiTaskModel)
            n_kept = sum(parameter.numel() for parameter in exported.parameters())
            described = model.describe()
            if self.merges_on_export:
                assert_close({task: exported(inputs)}, {task: expected[task]})
                assert n_kept <= described["path"][task] <= described["total"]
            else:
                assert torch.equal(exported(inputs), expected[task])
                assert n_kept == described["path"][task] <= described["total"]
        assert_equal(model.derive().export()(inputs), expected)

    def test_remove_task(self) -> None:
        """Without a task the others answer as before, nothing of it is left, and the groups stay a partition.

        An architecture with more parts per task than its heads drops them in :meth:`MultiTaskModel.forget`.
        """
        if not self.can_remove_tasks:
            return
        model = self.build(4).eval()
        inputs = self.make_inputs(6)
        before = model(inputs)
        for task in model.tasks:
            smaller = model.remove_task(task).eval()
            assert smaller.tasks == tuple(other for other in model.tasks if other != task)
            assert_close(smaller(inputs), {other: before[other] for other in smaller.tasks})
            check_partition(smaller, inputs)
            train(smaller, inputs)
        assert_equal(model(inputs), before)
        alone = self.build(1)
        assert_raises(lambda: alone.remove_task(alone.tasks[0]), TaskError, "only task")

    def test_add_task(self) -> None:
        """After ``add_task(freeze="old")`` and training, old answers are bit-equal; the groups stay a partition."""
        if not self.can_add_tasks:
            return
        model = self.build().eval()
        inputs = self.make_inputs(6)
        before = model(inputs)
        new_task = Task(name="new", kind=self.make_tasks(1)[0].kind)
        choices: tuple[Freeze, ...] = ("old", "shared", "none")
        for freeze in choices:
            larger = model.add_task(new_task, freeze=freeze).double()
            assert larger.tasks == (*model.tasks, *self.added_tasks("new"))
            assert_equal(larger.eval()(inputs, model.tasks), before)
            if freeze != "shared":
                check_partition(larger, inputs)
            assert all(norm.momentum != 0 for norm in learning_norms(larger)), "a norm that learns keeps its statistics"
            train(larger, inputs)
            after = larger.eval()(inputs)
            if freeze == "old":
                assert_equal({task: after[task] for task in model.tasks}, before)
        assert_equal(model(inputs), before)
