"""Laws that every architecture keeps, as a test class to inherit.

    class TestMyArchitecture(ModelLaws):
        def make_model(self, tasks):
            return MyArchitecture(MLP(self.n_features), tasks)

pytest then runs all of them on the model in float64. Laws about a cut, about one input per task and about adding tasks
run where they apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from taskloom.errors import TaskError
from taskloom.nn import NoCommonFeature, UnknownTask, batched_evaluation, check_partition
from taskloom.testing._model_changes import ChangeLaws
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
)

__all__ = ["ModelLaws"]


class ModelLaws(ChangeLaws):
    """Inherit this class, write :meth:`make_model`, and pytest checks the contract of an architecture.

    Example:
        >>> from taskloom.nn import HardSharing, MLP
        >>> class TestHardSharing(ModelLaws):
        ...     def make_model(self, tasks):
        ...         return HardSharing(MLP(self.n_features, (5,)), tasks)
        >>> TestHardSharing().test_partition()
    """

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

    def test_task_by_task(self) -> None:
        """``iter_tasks`` gives the outputs of one forward pass, and the losses' gradients add up to those of it."""
        model = self.build()
        for inputs in (self.make_inputs(4), self.inputs_per_task(model, [3, 4, 5])):
            expected = model.eval()(inputs)
            assert_equal(dict(model.iter_tasks(inputs)), expected)
            assert [name for name, _ in model.iter_tasks(inputs, model.tasks[1:])] == list(model.tasks[1:])
            if model.train().has_batch_penalties:
                assert_raises(lambda: next(model.iter_tasks(self.make_inputs(4))), TaskError, "look at all tasks")
                continue
            together = gradients_of(model, total_of(drawn(model, inputs)))
            alone = {name: torch.zeros_like(gradient) for name, gradient in together.items()}
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                for _, output in model.iter_tasks(inputs):
                    for name, gradient in gradients_of(model, project(output)).items():
                        alone[name] += gradient
            if not has_batch_statistics(model):
                assert_close(alone, together)

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

    def test_param_groups(self) -> None:
        """Groups for an optimiser hold every trainable parameter once; the first has the rates that were given."""
        model = self.build()
        for frozen in (False, True):
            groups = model.param_groups(0.25, weight_decay=0.5)
            assert (groups[0]["lr"], groups[0]["weight_decay"]) == (0.25, 0.5)
            held = [id(parameter) for group in groups for parameter in group["params"]]
            assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)
            if not frozen:
                next(iter(model.heads.parameters())).requires_grad_(False)

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
