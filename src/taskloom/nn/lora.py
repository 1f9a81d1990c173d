"""LoRA per task on a common frozen backbone."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Self

from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._grow import freeze_module, grown
from taskloom.nn._low_rank import AdaptedLayer, LowRank
from taskloom.nn.heads.default import build_head, build_heads
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.task import Task

__all__ = ["LoRA"]


class LoRA(MultiTaskModel):
    """A frozen pretrained backbone whose layers get a small low-rank update per task, and one for all tasks.

    For many tasks on one large network: a task costs a few percent of the backbone's parameters, and can be merged into
    a plain network of the backbone's size.

        y_t = W x_t + b + s_0 B_0 A_0 x_t + s_t B_t A_t x_t,   s = alpha / r,   B = 0 at the start

    in every chosen layer, with x_t the stream of task t. Streams are one until the first layer that tells tasks apart;
    of an ``nn.Sequential`` the children before it are computed once.

    Args:
        encoder: the backbone; it is frozen, and its chosen layers are replaced by adapted ones.
        tasks: the tasks.
        targets: name patterns of the layers to adapt; default ``("*",)``, every ``nn.Linear`` and ``nn.Conv2d`` without
            groups.
        rank: r_t of the updates, one number or task -> number; 0 is none. Default 4.
        shared_rank: r_0 of the update for all tasks; default 0, none.
        alpha: s = alpha / r; default None, s = 1.
        dropout: probability of dropping an input of the updates; default 0.
        split: name pattern -> sizes of the slices of a layer's outputs that get updates of their own, for queries, keys
            and values computed by one layer; default none.
        unfreeze: name patterns of parameters of the backbone that learn with the rest, such as ``"*norm*"``; default
            none.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input, only needed when the encoder does not say its ``out_features``.

    Raises:
        TaskError: no layer matches, a chosen layer's weight is used elsewhere too, a rank or a split does not fit.

    Cost:
        r_0 (d_in + d_out) + sum_t r_t (d_in + d_out) parameters per layer; the part of the backbone from the first
        layer that tells tasks apart once per task.

    Differs from the paper:
        MTLoRA's released code leaves the common update out of the task's stream by default and feeds its frozen weight
        the common stream; here the equation holds in every layer. Which layers get only the common update is said by
        two models' worth of patterns there; here a layer has both or none.

    Source:
        E. Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, arXiv:2106.09685; A. Agiza, M.
        Neseem, S. Reda, MTLoRA, CVPR 2024, arXiv:2403.20320.

    Example:
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())]
        >>> model = LoRA(MLP(8, (16, 16)), tasks, rank=2)
        >>> sum(parameter.numel() for parameter in model.task_parameters("a"))  # 2 (8 + 16) + 2 (16 + 16) + head
        129
    """

    def __init__(
        self,
        encoder: nn.Module,
        tasks: Sequence[Task],
        *,
        targets: Sequence[str] = ("*",),
        rank: int | Mapping[str, int] = 4,
        shared_rank: int = 0,
        alpha: float | None = None,
        dropout: float = 0.0,
        split: Mapping[str, Sequence[int]] | None = None,
        unfreeze: Sequence[str] = (),
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(tasks)
        self.ranks = _ranks(rank, self.tasks)
        self.alpha, self.dropout = alpha, dropout
        self.split = {pattern: tuple(sizes) for pattern, sizes in (split or {}).items()}
        self.heads = build_heads(self.task_objects, encoder, heads=heads, example=example)
        chosen = _chosen(encoder, targets)
        freeze_module(encoder)
        for name, parameter in encoder.named_parameters():
            if any(fnmatchcase(name, pattern) for pattern in unfreeze):
                parameter.requires_grad_(True)
        self.encoder = encoder
        self.adapted: list[str] = list(chosen)
        for name, layer in chosen.items():
            common = self._update(name, layer, _checked_rank(shared_rank, "shared_rank"))
            own = [self._update(name, layer, self.ranks[task]) for task in self.tasks]
            self.encoder = _replaced(self.encoder, name, AdaptedLayer(layer, common, own))

    def _update(self, name: str, layer: nn.Module, rank: int) -> LowRank | None:
        if rank == 0:
            return None
        parts = next((sizes for pattern, sizes in self.split.items() if fnmatchcase(name, pattern)), ())
        scale = 1.0 if self.alpha is None else self.alpha / rank
        return LowRank(layer, rank, scale=scale, dropout=self.dropout, parts=parts)

    def layers(self) -> Iterator[AdaptedLayer]:
        """The adapted layers, in the order of the backbone."""
        return (part for part in self.encoder.modules() if isinstance(part, AdaptedLayer))

    # ---------------------------------------------------------------- the forward pass

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        stages = _stages(self.encoder)
        first = next((place for place, stage in enumerate(stages) if _tells_tasks_apart(stage)), len(stages))
        hidden = inputs
        for stage in stages[:first]:
            hidden = stage(hidden)
        rest = stages[first:]
        return [self._run(rest, hidden, index) for index in indices] if rest else [hidden] * len(indices)

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        stages = _stages(self.encoder)
        return [self._run(stages, part, index) for part, index in zip(parts, indices, strict=True)]

    def _run(self, stages: Sequence[nn.Module], hidden: Any, index: int) -> Any:
        for layer in self.layers():
            layer.selected = index
        for stage in stages:
            hidden = stage(hidden)
        return hidden

    # ---------------------------------------------------------------- who owns what

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """The updates for all tasks, and what is unfrozen of the backbone."""
        own = {id(parameter) for layer in self.layers() for parameter in layer.own.parameters()}
        return (parameter for parameter in trainable(self.encoder) if id(parameter) not in own)

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The task's updates and its head."""
        index = self.position(task)
        return trainable(*(layer.own[index] for layer in self.layers()), self.heads[index])

    def path(self, task: str) -> nn.Module:
        return _Path(self, self.position(task))

    def export(self, task: str | None = None) -> nn.Module:
        """A copy for use; for one task a plain network of the backbone's size, with the updates merged into it."""
        if task is None:
            return super().export()
        index = self.position(task)
        encoder = copy.deepcopy(self.encoder)
        for name in self.adapted:
            layer = encoder.get_submodule(name) if name else encoder
            assert isinstance(layer, AdaptedLayer)
            encoder = _replaced(encoder, name, layer.merged(index))
        return nn.Sequential(encoder, copy.deepcopy(self.heads[index])).eval()

    def describe(self) -> dict[str, Any]:
        """Counts of parameters, the rank of every task, and the adapted layers."""
        return {**super().describe(), "ranks": dict(self.ranks), "adapted": list(self.adapted)}

    def add_task(
        self,
        task: Task,
        *,
        freeze: Freeze = "none",
        rank: int | None = None,
        head: nn.Module | None = None,
        example: Any = None,
    ) -> Self:
        """A new model with the updates and the head of one more task.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes everything that exists, ``"shared"`` the updates for all tasks and the backbone.
            rank: rank of its updates; default that of the first task.
            head: head of the new task; default by kind.
            example: sample input, only needed when no head is linear and the encoder does not say its width.
        """
        model = grown(self, task, freeze=freeze, shared=())
        if freeze == "shared":
            for parameter in list(model.shared_parameters()):
                parameter.requires_grad_(False)
        model.ranks = {**self.ranks, task.name: _checked_rank(rank if rank is not None else self.ranks[self.tasks[0]])}
        for name, layer in zip(model.adapted, model.layers(), strict=True):
            update = model._update(name, layer.base, model.ranks[task.name])
            layer.own.append(update if update is not None else nn.Identity())
        model.heads.append(build_head(task, model.encoder, others=self.heads, head=head, example=example))
        return model

    def forget(self, index: int) -> None:
        super().forget(index)
        self.ranks = {task: rank for task, rank in self.ranks.items() if task != self.tasks[index]}
        for layer in self.layers():
            del layer.own[index]
            layer.selected = 0


class _Path(nn.Module):
    """The backbone with the updates of one task selected, and its head."""

    def __init__(self, model: LoRA, index: int) -> None:
        super().__init__()
        kept: dict[int, Any] = {}
        for layer in model.layers():
            kept[id(layer.own)] = nn.ModuleList([layer.own[index]])
        for parameter in (*model.encoder.parameters(), *model.encoder.buffers()):
            kept[id(parameter)] = parameter  # the modules of the path are the model's own, not copies
        self.encoder = copy.deepcopy(model.encoder, kept)
        for part in self.encoder.modules():
            if isinstance(part, AdaptedLayer):
                part.selected = 0
        self.head = model.heads[index]

    def forward(self, inputs: Any) -> Tensor:
        output: Tensor = self.head(self.encoder(inputs))
        return output


def _ranks(rank: int | Mapping[str, int], tasks: Sequence[str]) -> dict[str, int]:
    ranks = dict.fromkeys(tasks, rank) if isinstance(rank, int) else dict(rank)
    if set(ranks) != set(tasks):
        raise TaskError(f"ranks are for {sorted(ranks)}, the tasks are {sorted(tasks)}; give one rank per task")
    return {task: _checked_rank(ranks[task], f"rank of task {task!r}") for task in tasks}


def _checked_rank(rank: int, what: str = "rank") -> int:
    if rank < 0:
        raise TaskError(f"{what} must be 0 (no update) or more, found {rank!r}")
    return rank


def _can_adapt(layer: nn.Module) -> bool:
    # exact types: subclasses may be read by their parents without being called, as the last layer of attention is
    return type(layer) is nn.Linear or (type(layer) is nn.Conv2d and layer.groups == 1)


def _chosen(encoder: nn.Module, targets: Sequence[str]) -> dict[str, nn.Module]:
    """Layers to adapt by name."""
    possible = {name: layer for name, layer in encoder.named_modules(remove_duplicate=False) if _can_adapt(layer)}
    chosen = {name: layer for name, layer in possible.items() if any(fnmatchcase(name, pattern) for pattern in targets)}
    if not chosen:
        raise TaskError(f"no layer matches targets={list(targets)}; layers that can be adapted: {list(possible)}")
    users: dict[int, list[str]] = {}
    for name, parameter in encoder.named_parameters(remove_duplicate=False):
        users.setdefault(id(parameter), []).append(name)
    for name, layer in chosen.items():
        tied = users[id(layer.weight)]
        if len(tied) > 1:
            raise TaskError(f"the weight of {name!r} is used in several places, {tied}; leave it out of targets=")
    return chosen


def _replaced(encoder: nn.Module, name: str, layer: nn.Module) -> nn.Module:
    """The encoder with another module in a place; the module itself, for an encoder that is one layer."""
    if not name:
        return layer
    parent_name, _, child = name.rpartition(".")
    parent = encoder.get_submodule(parent_name)
    setattr(parent, child, layer)
    if isinstance(parent, nn.TransformerEncoderLayer):
        parent.activation_relu_or_gelu = 0  # its fast way would read the weights of its layers without calling them
    return encoder


def _stages(encoder: nn.Module) -> list[nn.Module]:
    is_plain = type(encoder).forward is nn.Sequential.forward
    return list(encoder.children()) if is_plain else [encoder]


def _tells_tasks_apart(stage: nn.Module) -> bool:
    return any(isinstance(part, AdaptedLayer) and part.tells_tasks_apart for part in stage.modules())
