"""What a law suite for models is told about the model under test, and how it builds one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from taskloom.nn import MultiTaskModel
from taskloom.task import Binary, Multiclass, Regression, Task

__all__ = ["ModelCase"]

_NAMES = ("height", "keys", "a.b/c", "길이", "5", "training", "price (€)")


class ModelCase:
    """Settings of a test class, and models and inputs made by them."""

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

    def added_tasks(self, name: str) -> tuple[str, ...]:
        """Tasks that a model has more after ``add_task`` of a task of this name."""
        return (name,)

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
