"""What one training step sees: inputs, and for every task its targets and which of them are labelled.

Two layouts serve every data set:

- *multi-label*: one input per sample and several targets; ``inputs`` is one tensor (b, ...), each target (b,).
- *multi-data-set*: every task has samples of its own; ``inputs`` maps each task to its own mini-batch (b, ...),
  all padded to one b, and the mask is False on the padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from taskloom.task import Task

__all__ = ["Batch", "assemble"]


@dataclass
class Batch:
    """Inputs, targets and label masks of one step.

    Args:
        inputs: whatever the model takes: a tensor (b, ...), or a mapping task -> tensor (b, ...).
        targets: task name -> targets (b,), or (b, ...) for dense tasks; floating point for regression, int64
            codes for classes.
        mask: task name -> bool in the shape of its targets, True where one is known; None: every target is.

    Example:
        >>> batch = Batch(torch.zeros(2, 3), {"a": torch.ones(2)}, {"a": torch.tensor([True, False])})
        >>> int(batch.known("a").sum())
        1
    """

    inputs: Any
    targets: dict[str, Tensor]
    mask: dict[str, Tensor] | None = None

    def known(self, task: str) -> Tensor:
        """Which targets of a task are known, bool in the shape of its targets."""
        return torch.ones_like(self.targets[task], dtype=torch.bool) if self.mask is None else self.mask[task]

    def only(self, tasks: Sequence[str]) -> Batch:
        """The batch with the targets of some tasks, and with their inputs where each task has its own."""
        per_task = isinstance(self.inputs, dict) and self.inputs.keys() == self.targets.keys()

        def some(parts: dict[str, Any]) -> dict[str, Any]:
            return {name: part for name, part in parts.items() if name in tasks}

        return Batch(
            inputs=some(self.inputs) if per_task else self.inputs,
            targets=some(self.targets),
            mask=None if self.mask is None else some(self.mask),
        )


def assemble(tasks: Sequence[Task], inputs: Tensor, targets: Tensor, mask: Tensor | None, *, per_task: bool) -> Batch:
    """Build the batch of one step from dense tensors; runs under ``torch.func.vmap``.

    Args:
        tasks: the K tasks, in the order of the task axis.
        inputs: (b, ...) for the multi-label layout, (K, b, ...) for the multi-data-set layout.
        targets: (b, K) or (K, b), floating point; classes as their codes.
        mask: bool, the shape of ``targets``; None: every target is known.
        per_task: True for the multi-data-set layout.

    Returns:
        the batch; the target of a task with classes is cast to int64.

    Example:
        >>> import torch
        >>> from taskloom.task import Regression
        >>> task = Task(name="a", kind=Regression())
        >>> batch = assemble([task], torch.zeros(2, 3), torch.ones(2, 1), torch.ones(2, 1).bool(), per_task=False)
        >>> batch.targets["a"]
        tensor([1., 1.])
    """
    task_axis = 0 if per_task else -1
    names = [task.name for task in tasks]
    columns = [
        target.long() if task.kind.n_classes else target
        for task, target in zip(tasks, targets.unbind(task_axis), strict=True)
    ]
    return Batch(
        inputs=dict(zip(names, inputs.unbind(0), strict=True)) if per_task else inputs,
        targets=dict(zip(names, columns, strict=True)),
        mask=None if mask is None else dict(zip(names, mask.unbind(task_axis), strict=True)),
    )
