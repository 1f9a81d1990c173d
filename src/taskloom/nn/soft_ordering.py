"""Soft layer ordering: common layers that every task mixes in its own way at every depth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._batching import run_together
from taskloom.nn._grow import freeze_module, grown
from taskloom.nn._param_groups import two_groups
from taskloom.nn._said import with_width
from taskloom.nn.adapters import build_copies
from taskloom.nn.heads.default import build_head, build_heads
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.task import Task

__all__ = ["SoftOrdering"]


class SoftOrdering(MultiTaskModel):
    """D common layers of one width, applied at D depths; each task learns which layer counts where.

    For tasks of little in common: layers become modules that tasks combine in an order of their own.

        h_t^l = act( sum_j softmax_j(s_tlj) layer_j(h_t^(l-1)) ),   s = 0 at the start

    Args:
        layer: builds one of the common layers (a pattern module is copied and re-initialised); it keeps the width.
        tasks: the tasks.
        n_layers: number of layers and depths D; default 3.
        stem: module before the first depth that all tasks run, such as a map to the width; default none.
        activation: what follows every mixture; default the ReLU. The layers should have none of their own.
        dropout: probability of dropping a unit after the activation; default 0.
        score_lr_factor: learning rate of the scores over that of the layers; default 3.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input of a layer, only needed when that does not say its ``out_features``.

    Raises:
        TaskError: no layer, or layers that change the width (found at the first call).

    Cost:
        D^2 layer evaluations per task; D layers, and D^2 numbers per task.

    Differs from the paper:
        a stem, where given, is common; the paper gives every task its own map to the width.

    Source:
        E. Meyerson, R. Miikkulainen, Beyond Shared Hierarchies: Deep Multitask Learning through Soft Layer Ordering,
        ICLR 2018, arXiv:1711.00108.

    Example:
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())]
        >>> model = SoftOrdering(lambda: nn.Linear(8, 8), tasks, stem=MLP(4, (8,)))
        >>> model(torch.zeros(2, 4))["b"].shape, model.mixture("a")[0].tolist()
        (torch.Size([2, 1]), [0.3333333432674408, 0.3333333432674408, 0.3333333432674408])
    """

    def __init__(
        self,
        layer: nn.Module | Callable[[], nn.Module],
        tasks: Sequence[Task],
        *,
        n_layers: int = 3,
        stem: nn.Module | None = None,
        activation: nn.Module | None = None,
        dropout: float = 0.0,
        score_lr_factor: float = 3.0,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(tasks)
        if n_layers < 1:
            raise TaskError(f"n_layers must be 1 or more, found {n_layers!r}")
        if not score_lr_factor > 0:
            raise TaskError(f"score_lr_factor must be positive, found {score_lr_factor!r}")
        self.score_lr_factor = score_lr_factor
        self.stem = stem if stem is not None else nn.Identity()
        self.layers = build_copies(layer, n_layers, what="layer")
        self.activation = activation if activation is not None else nn.ReLU()
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.scores = nn.ModuleList(_Scores(n_layers) for _ in self.tasks)
        self.heads = build_heads(self.task_objects, with_width(self.layers[0]), heads=heads, example=example)

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        return self._run([self.stem(inputs)] * len(indices), indices)

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        return self._run(run_together(self.stem, parts), indices)

    def _run(self, hidden: list[Any], indices: Sequence[int]) -> list[Any]:
        mixtures = [self.scores[index]() for index in indices]
        for depth in range(len(self.layers)):
            columns = [run_together(layer, hidden) for layer in self.layers]  # per layer, one output per task
            _check(columns[0][0], hidden[0])
            hidden = [
                self.dropout(self.activation(_mixed(mixture[depth], [column[k] for column in columns])))
                for k, mixture in enumerate(mixtures)
            ]
        return hidden

    def mixture(self, task: str) -> Tensor:
        """Shares of the layers at every depth for a task, (D, D), rows that sum to 1."""
        found: Tensor = self.scores[self.position(task)]().detach()
        return found

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """The stem and the layers."""
        return trainable(self.stem, self.layers)

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The scores and the head of the task."""
        index = self.position(task)
        return trainable(self.scores[index], self.heads[index])

    def path(self, task: str) -> nn.Module:
        return _Path(self, self.position(task))

    def param_groups(self, lr: float, *, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """Scores learn faster than layers, and are not decayed: decay would make all layers alike.

        Args:
            lr: learning rate of stem, layers and heads.
            weight_decay: that of stem, layers and heads; default 0.
        """
        return two_groups(
            self,
            self.scores.parameters(),
            usual={"lr": lr, "weight_decay": weight_decay},
            own={"lr": self.score_lr_factor * lr, "weight_decay": 0.0},
        )

    def describe(self) -> dict[str, Any]:
        """Counts of parameters, and the mixture of every task."""
        return {**super().describe(), "mixture": {task: self.mixture(task).tolist() for task in self.tasks}}

    def add_task(
        self, task: Task, *, freeze: Freeze = "none", head: nn.Module | None = None, example: Any = None
    ) -> Self:
        """A new model with the scores and the head of one more task.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes everything that exists, ``"shared"`` stem and layers, ``"none"`` nothing.
            head: head of the new task; default by kind.
            example: sample input of a layer, only needed when that does not say its ``out_features``.
        """
        model = grown(self, task, freeze=freeze, shared=())
        if freeze == "shared":
            freeze_module(model.stem)
            freeze_module(model.layers)
        model.scores.append(_Scores(len(self.layers)))
        width = with_width(model.layers[0])
        model.heads.append(build_head(task, width, others=self.heads, head=head, example=example))
        return model

    def forget(self, index: int) -> None:
        super().forget(index)
        del self.scores[index]


class _Scores(nn.Module):
    """Scores of D layers at D depths, for one task."""

    def __init__(self, n_layers: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(n_layers, n_layers))

    def reset_parameters(self) -> None:
        """All layers alike."""
        nn.init.zeros_(self.values)

    def forward(self) -> Tensor:
        values = self.values.float() if self.values.dtype in (torch.float16, torch.bfloat16) else self.values
        return values.softmax(-1)


class _Path(nn.Module):
    """Stem, layers, scores and head for one task."""

    def __init__(self, model: SoftOrdering, index: int) -> None:
        super().__init__()
        self.stem, self.layers = model.stem, model.layers
        self.activation, self.dropout = model.activation, model.dropout
        self.scores, self.head = model.scores[index], model.heads[index]

    def forward(self, inputs: Any) -> Tensor:
        hidden, mixture = self.stem(inputs), self.scores()
        for shares in mixture:
            hidden = self.dropout(self.activation(_mixed(shares, [layer(hidden) for layer in self.layers])))
        output: Tensor = self.head(hidden)
        return output


def _mixed(shares: Tensor, outputs: Sequence[Tensor]) -> Tensor:
    parts = [share.to(output.dtype) * output for share, output in zip(shares.unbind(), outputs, strict=True)]
    return sum(parts[1:], start=parts[0])


def _check(output: Any, given: Any) -> None:
    if not isinstance(output, Tensor) or output.shape != given.shape:
        found = tuple(output.shape[1:]) if isinstance(output, Tensor) else type(output).__name__
        raise TaskError(
            f"a layer of SoftOrdering turned features of shape {tuple(given.shape[1:])} into {found}; layers must keep "
            "the shape. Give stem= to map the inputs to it"
        )
