"""Laws that every architecture keeps, as a test class to inherit.

    class TestMyArchitecture(ModelLaws):
        def make_model(self, tasks):
            return MyArchitecture(MLP(self.n_features), tasks)

pytest then runs all of them on the model in float64. Laws about a cut, about one input per task and about adding tasks
run where they apply.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from taskloom.errors import TaskError
from taskloom.nn import MultiTaskModel, NoCommonFeature, UnknownTask, batched_evaluation, check_partition
from taskloom.nn.model import Freeze
from taskloom.task import Binary, Multiclass, Regression, Task
from taskloom.testing._model_pieces import (
    Objective,
    assert_close,
    assert_equal,
    assert_raises,
    drawn,
    gradients_of,
    has_batch_statistics,
    project,
    total_of,
    train,
)

__all__ = ["ModelLaws"]

_NAMES = ("height", "keys", "a.b/c", "길이", "5", "training", "price (€)")


class ModelLaws:
    """Inherit this class, write :meth:`make_model`, and pytest checks the contract of an architecture.

    Example:
        >>> from taskloom.nn import HardSharing, MLP
        >>> class TestHardSharing(ModelLaws):
        ...     def make_model(self, tasks):
        ...         return HardSharing(MLP(self.n_features, (5,)), tasks)
        >>> TestHardSharing().test_partition()
    """

    n_features = 6
    """Width of the inputs that :meth:`make_inputs` draws."""
    one_kind = False
    """Whether all tasks must be of one kind."""
    can_add_tasks = True
    """Whether ``add_task`` is supported."""
    derives_before_export = False
    """Whether the structure must be fixed before a network can be exported."""
    merges_on_export = False
    """Whether the exported network of a task has weights that were computed from several of the model's."""
    can_remove_tasks = True
    """Whether ``remove_task`` is supported."""
    vectorises = True
    """Whether the model runs under ``torch.func.vmap``; law for all but models with batch statistics."""
    sizes = (1, 2, 3, 7)
    """Numbers of tasks that are tried."""

    # ---------------------------------------------------------------- what a test class may change

    def make_model(self, tasks: Sequence[Task]) -> MultiTaskModel:
        """Build the model under test; called under a fixed torch seed."""
        raise NotImplementedError("write make_model(self, tasks) in your test class")

    def make_tasks(self, n_tasks: int) -> list[Task]:
        """Tasks of three kinds (or of one, see :attr:`one_kind`) with difficult names."""
        kinds = [Regression()] if self.one_kind else [Regression(), Binary(), Multiclass(3)]
        return [Task(name=_NAMES[index], kind=kinds[index % len(kinds)]) for index in range(n_tasks)]

    def make_inputs(self, n_rows: int, *, seed: int = 0) -> Any:
        """Random float64 inputs (n_rows, n_features)."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(n_rows, self.n_features, dtype=torch.float64, generator=generator)

    def parameter_count(self, tasks: Sequence[Task]) -> int | None:
        """Number of parameters by the formula of the architecture; None: not checked."""
        return None

    # ---------------------------------------------------------------- building blocks

    def build(self, n_tasks: int = 3, *, seed: int = 0) -> MultiTaskModel:
        """The model in float64 with disturbed parameters, so that nothing is zero by initialisation."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self.make_model(self.make_tasks(n_tasks)).double()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.1 * torch.randn_like(parameter))
        return model

    def inputs_per_task(self, model: MultiTaskModel, n_rows: int | Sequence[int]) -> dict[str, Any]:
        """One input per task; n_rows rows each, or as many as the sequence says."""
        rows = [n_rows] * len(model.tasks) if isinstance(n_rows, int) else list(n_rows)
        return {task: self.make_inputs(rows[k], seed=k + 1) for k, task in enumerate(model.tasks)}

    # ---------------------------------------------------------------- laws of the forward pass

    def test_outputs(self) -> None:
        """Exactly the tasks asked for, in model order, with as many outputs as their kinds have."""
        model = self.build()
        outputs = model(self.make_inputs(5))
        assert list(outputs) == list(model.tasks)
        for task in model.task_objects:
            assert outputs[task.name].shape == (5, task.kind.n_outputs)
        asked = list(reversed(model.tasks[1:]))
        assert list(model(self.make_inputs(5), asked)) == list(model.tasks[1:])

    def test_forward_is_heads_of_features(self) -> None:
        """``forward == heads o features``."""
        model = self.build().eval()
        inputs = self.make_inputs(4)
        features = model.features(inputs)
        outputs = model.decide(list(features.values()), range(len(model.tasks)))
        assert_equal(dict(zip(model.tasks, outputs, strict=True)), model(inputs))

    def test_fewer_tasks_same_answers(self) -> None:
        """In evaluation mode, asking for fewer tasks changes no bit; in training mode nothing but rounding."""
        for n_tasks in self.sizes[1:]:
            model = self.build(n_tasks)
            for inputs in (self.make_inputs(4), self.inputs_per_task(model, 4)):
                for asked in (model.tasks[::2], model.tasks[1:]):
                    model.eval()
                    everything = model(inputs)
                    assert_equal(model(inputs, asked), {task: everything[task] for task in asked})
                    assert_equal(model(inputs), everything)
                    if not has_batch_statistics(model):
                        model.train()
                        everything = drawn(model, inputs)
                        assert_close(drawn(model, inputs, asked), {task: everything[task] for task in asked})

    def test_one_input_per_task(self) -> None:
        """Batches of different sizes, each of its own task, give what each task gives alone."""
        for n_tasks in self.sizes:
            model = self.build(n_tasks)
            inputs = self.inputs_per_task(model, [3 + k % 3 for k in range(n_tasks)])
            model.eval()
            alone = {task: model(inputs[task], [task])[task] for task in model.tasks}
            assert_equal(model(inputs), alone)
            with batched_evaluation():
                assert_close(model(inputs), alone)
                assert_close(model(self.inputs_per_task(model, 4)), model(self.inputs_per_task(model, 4)))
            model.train()
            each = {task: drawn(model, inputs[task], [task])[task] for task in model.tasks}
            assert_close(drawn(model, inputs), each)

    def test_batched_computation_has_the_same_gradients(self) -> None:
        """Tasks computed together in training mode: the gradients of computing them one by one."""
        n_tasks = self.sizes[-1]
        model = self.build(n_tasks).train()
        for inputs in (self.make_inputs(4), self.inputs_per_task(model, 4)):
            parts = inputs if isinstance(inputs, Mapping) else dict.fromkeys(model.tasks, inputs)
            together = gradients_of(model, total_of(drawn(model, inputs)))
            each = {task: drawn(model, parts[task], [task])[task] for task in model.tasks}
            alone = gradients_of(model, total_of(each))
            if not has_batch_statistics(model):
                assert_close(together, alone)

    def test_batch_of_one(self) -> None:
        """One row works in evaluation mode."""
        model = self.build().eval()
        for output in model(self.make_inputs(1)).values():
            assert output.shape[0] == 1
            assert bool(torch.isfinite(output).all())

    def test_one_task(self) -> None:
        """A model of one task works, and has no penalty that compares tasks."""
        model = self.build(1)
        output = model(self.make_inputs(4))[model.tasks[0]]
        (output.square().mean() + model.penalty()).backward()
        assert model.penalty().shape == ()

    def test_bad_requests(self) -> None:
        """Unknown tasks and mappings of mixed keys are refused with a message that names them."""
        model = self.build()
        inputs = self.make_inputs(2)
        assert_raises(lambda: model(inputs, ["zz"]), UnknownTask, "unknown task 'zz'; this model has")
        assert_raises(lambda: model(inputs, []), TaskError, "at least one task")
        assert_raises(lambda: model({model.tasks[0]: inputs, "mask": inputs}), TaskError, "inputs mix task names")
        assert_raises(lambda: model({model.tasks[0]: inputs}, [model.tasks[1]]), TaskError, "no task is in both")

    # ---------------------------------------------------------------- laws of the parameters

    def test_partition(self) -> None:
        """Every trainable parameter is in exactly one group, and the groups tell who reaches what."""
        for n_tasks in self.sizes:
            model = self.build(n_tasks)
            check_partition(model, self.make_inputs(6))
        first = [*model.shared_parameters(), *model.task_parameters(model.tasks[0])][0]
        first.requires_grad_(False)
        check_partition(model, self.make_inputs(6))

    def test_gradients_stay_with_their_task(self) -> None:
        """The loss of one task has zero gradient on the parameters of every other."""
        model = self.build().train()
        outputs = model(self.make_inputs(5))
        for task in model.tasks:
            others = [p for other in model.tasks if other != task for p in model.task_parameters(other)]
            if not others:
                continue
            found = torch.autograd.grad(project(outputs[task]), others, allow_unused=True, retain_graph=True)
            assert all(gradient is None or not gradient.any() for gradient in found)

    def test_parameter_count(self) -> None:
        """As many parameters as the formula says."""
        for n_tasks in self.sizes:
            expected = self.parameter_count(self.make_tasks(n_tasks))
            model = self.build(n_tasks)
            found = sum(parameter.numel() for parameter in model.parameters())
            assert expected is None or found == expected, f"{found} parameters, expected {expected}"
            assert model.describe()["total"] == found

    def test_penalties(self) -> None:
        """Named finite scalars that depend on parameters only; their sum is ``penalty()``."""
        model = self.build()
        penalties = model.penalties()
        assert all(value.shape == () and bool(torch.isfinite(value)) for value in penalties.values())
        total = sum((value.double() for value in penalties.values()), torch.zeros((), dtype=torch.float64))
        assert torch.allclose(model.penalty().double(), total, rtol=1e-12, atol=0)

    def test_phases(self) -> None:
        """At least one phase."""
        assert list(self.build().phases())

    # ---------------------------------------------------------------- laws of the cut

    def test_cut(self) -> None:
        """``decode(encode(x)) == forward(x)`` and gradients at the cut, carried back, are those of the parameters."""
        model = self.build().train()
        inputs = self.make_inputs(5)
        if not model.has_cut:
            assert_raises(lambda: model.encode(inputs), NoCommonFeature, "use parameter gradients")
            assert_raises(lambda: model.decode((inputs,)), NoCommonFeature, "use parameter gradients")
            return
        model.eval()
        for given in (inputs, self.inputs_per_task(model, [2, 3, 4])):
            assert_equal(model.decode(model.encode(given)), model(given))
        asked = [model.tasks[1]]
        assert_equal(model.decode(model.encode(inputs, asked), asked), model(inputs, asked))
        model.train()
        shared = list(model.shared_parameters())
        weights = dict(zip(model.tasks, (0.2, 1.0, 3.0), strict=True))
        for given in (inputs, self.inputs_per_task(model, 4)):
            total = sum(weights[task] * project(output) for task, output in model(given).items())
            assert isinstance(total, Tensor)
            expected = torch.autograd.grad(total, shared)
            cut = model.encode(given)
            leaves = [part.detach().requires_grad_() for part in cut]  # also inputs that private parts read
            outputs = model.decode(leaves)
            at_cut = [torch.zeros_like(leaf) for leaf in leaves]
            for task, output in outputs.items():
                rows = torch.autograd.grad(project(output), leaves, allow_unused=True, retain_graph=True)
                for gradient, row in zip(at_cut, rows, strict=True):
                    gradient += 0 if row is None else weights[task] * row
            reached, handed = zip(*((part, own) for part, own in zip(cut, at_cut, strict=True) if part.requires_grad))
            found = torch.autograd.grad(reached, shared, handed, retain_graph=True)
            for one, other in zip(found, expected, strict=True):
                assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)
            private = [parameter for task in model.tasks for parameter in model.task_parameters(task)]
            before = torch.autograd.grad(reached, private, handed, allow_unused=True)
            assert all(gradient is None for gradient in before), "parameters of a task lie before the cut"

    # ---------------------------------------------------------------- laws of many models at once

    def test_many_models_at_once(self) -> None:
        """Three models under ``functional_call`` and ``vmap``: outputs, penalties and gradients of separate runs."""
        if not self.vectorises:
            return
        for n_tasks in (self.sizes[1], self.sizes[-1]):
            models = [self.build(n_tasks, seed=seed).train() for seed in range(3)]
            parameters, buffers = stack_module_state(list[nn.Module](models))
            parameters = {name: value.detach() for name, value in parameters.items()}
            objective = Objective(models[0])
            for inputs in (self.make_inputs(4), self.inputs_per_task(models[0], 4)):

                def value(own: dict[str, Tensor], kept: dict[str, Tensor], given: Any = inputs) -> Tensor:
                    state = {f"model.{name}": tensor for name, tensor in (own | kept).items()}
                    result: Tensor = functional_call(objective, state, (given,))  # noqa: B023
                    return result

                values = vmap(value)(parameters, buffers)
                gradients = vmap(grad(value))(parameters, buffers)
                for index, model in enumerate(models):
                    alone = Objective(model)(inputs)
                    assert torch.allclose(values[index], alone, rtol=1e-12, atol=1e-12)
                    expected = gradients_of(model, alone)
                    assert_close({name: gradients[name][index] for name in expected}, expected)

    # ---------------------------------------------------------------- laws of state, copies, export, new tasks

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
            assert larger.tasks == (*model.tasks, "new")
            assert_equal(larger.eval()(inputs, model.tasks), before)
            if freeze != "shared":
                check_partition(larger, inputs)
            train(larger, inputs)
            after = larger.eval()(inputs)
            if freeze == "old":
                assert_equal({task: after[task] for task in model.tasks}, before)
        assert_equal(model(inputs), before)
