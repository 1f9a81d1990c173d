"""Check which parameters the losses of which tasks reach against what a model declares."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from taskloom._rng import torch_stream
from taskloom.errors import TaskError
from taskloom.nn.model import MultiTaskModel

__all__ = ["check_partition", "reached_by"]


def reached_by(model: MultiTaskModel, example: Any, *, samples: int = 5, seed: int = 0) -> dict[str, set[str]]:
    """Find out which tasks reach which trainable parameter.

    Gradients of a random projection of each task's outputs, in training mode, at parameters disturbed by noise (so that
    layers that start at zero do not hide what lies before them). A parameter counts as reached when its gradient is
    not zero everywhere in at least one sample.

    Args:
        model: not changed; a copy is used.
        example: inputs of ``forward``, a few rows.
        samples: how many draws of noise and projections.
        seed: base of the random numbers.

    Returns:
        parameter name -> names of the tasks that reach it.

    Example:
        >>> from taskloom.nn import HardSharing, MLP
        >>> from taskloom.task import Regression, Task
        >>> model = HardSharing(MLP(4), [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())])
        >>> sorted(reached_by(model, torch.randn(8, 4))["encoder.0.0.weight"])
        ['a', 'b']
    """
    stream = torch_stream(seed, "check_partition")
    reached: dict[str, set[str]] = {name: set() for name, p in model.named_parameters() if p.requires_grad}
    for _ in range(samples):
        trial = copy.deepcopy(model).train()
        named = [(name, parameter) for name, parameter in trial.named_parameters() if parameter.requires_grad]
        with torch.no_grad():
            for _, parameter in named:
                noise = torch.randn(parameter.shape, generator=stream).to(parameter)
                parameter.add_((0.1 + parameter.square().mean().sqrt()) * noise)  # also wakes dead units
        for task, output in trial(example).items():
            if not output.requires_grad:
                continue
            projection = torch.randn(output.shape, generator=stream).to(output)
            gradients = torch.autograd.grad(
                (output * projection).sum(), [p for _, p in named], allow_unused=True, retain_graph=True
            )
            for (name, _), gradient in zip(named, gradients, strict=True):
                if gradient is not None and _is_nonzero(gradient):
                    reached[name].add(task)
    return reached


def _is_nonzero(gradient: Tensor) -> bool:
    return bool((gradient != 0).any())


def check_partition(model: MultiTaskModel, example: Any, *, samples: int = 5, seed: int = 0) -> None:
    """Check that the parameter groups of a model are a partition and tell the truth.

    Every trainable parameter must be in exactly one group; shared ones must be reached by two or more tasks (by the one
    task of a model of one), task parameters by exactly their task, coupling parameters by none. Frozen parameters must
    be in no group.

    Args:
        model: the model.
        example: inputs of ``forward``, a few rows.
        samples: see :func:`reached_by`.
        seed: see :func:`reached_by`.

    Raises:
        TaskError: a parameter is in no group or in several, or reached by other tasks than declared; all are listed.

    Example:
        >>> from taskloom.nn import Independent, MLP
        >>> from taskloom.task import Regression, Task
        >>> tasks = [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())]
        >>> check_partition(Independent(lambda: MLP(4), tasks), torch.randn(8, 4))
    """
    groups = _declared(model)
    reached = reached_by(model, example, samples=samples, seed=seed)
    everyone = set(model.tasks)
    wrong = []
    for name, parameter in model.named_parameters():
        declared = groups.get(id(parameter), [])
        if not parameter.requires_grad:
            if declared:
                wrong.append(f"{name!r} is frozen, but listed in {declared}")
            continue
        if len(declared) != 1:
            wrong.append(f"{name!r} is in {len(declared)} groups {declared}, expected one")
            continue
        found, (group, task) = reached[name], declared[0]
        enough = min(2, len(everyone))
        if (
            (group == "shared" and len(found) < enough)
            or (group == "task" and found != {task})
            or (group == "coupling" and found)
        ):
            of = f"task parameter of {task!r}" if group == "task" else f"{group} parameter"
            wrong.append(f"{name!r} is declared as {of}, but is reached by {sorted(found)}")
    if wrong:
        raise TaskError(f"{type(model).__name__} declares its parameters wrongly:\n  " + "\n  ".join(wrong))


def _declared(model: MultiTaskModel) -> dict[int, list[tuple[str, str]]]:
    groups: dict[int, list[tuple[str, str]]] = {}

    def add(parameters: Any, group: str, task: str = "") -> None:
        parameter: nn.Parameter
        for parameter in parameters:
            groups.setdefault(id(parameter), []).append((group, task))

    add(model.shared_parameters(), "shared")
    add(model.structure_parameters(), "structure")
    add(model.coupling_parameters(), "coupling")
    for task in model.tasks:
        add(model.task_parameters(task), "task", task)
    return groups
