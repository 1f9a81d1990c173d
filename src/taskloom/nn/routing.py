"""Task routing: one network, of which every task uses a fixed random part of the channels."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._batching import run_together
from taskloom.nn._grow import freeze_module, grown
from taskloom.nn._said import said_width, with_width
from taskloom.nn._slicing import without_channels
from taskloom.nn.heads.default import build_head, build_heads
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.task import Task

__all__ = ["TaskRouting"]


class TaskRouting(MultiTaskModel):
    """Hard sharing in which each task sees some channels of every stage: fixed masks, drawn once.

    For many tasks on one network: no parameters are added, interference falls with the overlap of the masks.

        h_t^l = m_t^l * s_l(h_t^(l-1)),   m_t^l in {0, 1}^C with round(keep C) ones

    Two tasks share a fraction keep^2 of the channels in expectation, more with ``common``.

    Args:
        stages: the stages of the encoder, an ``nn.Sequential`` or modules in order. The mask follows each of them that
            is named in ``after``; put it behind a whole convolution + norm + activation.
        tasks: the tasks.
        channels: channels C behind every masked stage, in order; default: what stages say by ``out_features`` or
            ``out_channels``, or a run on ``example``.
        keep: share of the channels that a task keeps, in (0, 1]; at least one channel. Default 0.6 (our choice). (In
            the authors' code a parameter of nearly this name counts the channels that are switched off.)
        common: share of the channels, the first ones, that all tasks keep; at most ``keep``. Default 0.
        after: indices of the stages with a mask; default all.
        dimension: axis of the channels; default 1.
        seed: seed of the masks; default 0.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input, for widths that stages do not say.

    Raises:
        TaskError: shares out of range, a stage that is not there, or unknown widths.

    Cost:
        the encoder once per task from the first mask on; ``export`` of a task cuts its channels out of stages that are
        linear layers and convolutions with norms and activations: about keep^2 of the parameters.

    Differs from the paper:
        ``common`` is ours; the paper trains one task at a time.

    Source:
        G. Strezoski, N. van Noord, M. Worring, Many Task Learning With Task Routing, ICCV 2019, arXiv:1903.12117.

    Example:
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())]
        >>> model = TaskRouting(MLP(4, (10, 10)), tasks, keep=0.5)
        >>> model.masks[0].sum(1).tolist(), model(torch.zeros(2, 4))["a"].shape
        ([5.0, 5.0], torch.Size([2, 1]))
    """

    def __init__(
        self,
        stages: nn.Sequential | Sequence[nn.Module],
        tasks: Sequence[Task],
        *,
        channels: Sequence[int] | None = None,
        keep: float = 0.6,
        common: float = 0.0,
        after: Sequence[int] | None = None,
        dimension: int = 1,
        seed: int = 0,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(tasks)
        built = list(stages)
        if not built:
            raise TaskError("TaskRouting needs at least one stage")
        if not 0 < keep <= 1 or not 0 <= common <= keep:
            raise TaskError(f"keep must lie in (0, 1] and common in [0, keep], found {keep!r} and {common!r}")
        places = tuple(range(len(built))) if after is None else tuple(sorted(set(after)))
        for place in places:
            if not 0 <= place < len(built):
                raise TaskError(f"after has stage {place}, but the stages are 0 to {len(built) - 1}")
        self.keep, self.common, self.dimension = keep, common, dimension
        self.places = places
        self.stages = nn.ModuleList(built)
        widths = _widths(built, places, channels=channels, example=example, dimension=dimension)
        self._generator = torch.Generator().manual_seed(seed)
        for number, width in enumerate(widths):
            self.register_buffer(f"mask_{number}", torch.stack([self._draw(width) for _ in self.tasks]))
        last = with_width(built[-1]) if example is None else nn.Sequential(*built)
        self.heads = build_heads(self.task_objects, last, heads=heads, example=example)

    def _draw(self, width: int) -> Tensor:
        """One mask: the common channels, and a random choice of the others."""
        n_kept = max(1, round(self.keep * width))
        n_common = min(n_kept, round(self.common * width))
        others = n_common + torch.randperm(width - n_common, generator=self._generator)[: n_kept - n_common]
        mask = torch.zeros(width)
        mask[:n_common] = 1.0
        mask[others] = 1.0
        return mask

    @property
    def masks(self) -> list[Tensor]:
        """The masks behind every masked stage, (K, C) each."""
        return [getattr(self, f"mask_{number}") for number in range(len(self.places))]

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        return self._run([inputs] * len(indices), indices)

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        return self._run(list(parts), indices)

    def _run(self, hidden: list[Any], indices: Sequence[int]) -> list[Any]:
        masks = dict(zip(self.places, self.masks, strict=True))
        for place, stage in enumerate(self.stages):
            hidden = run_together(stage, hidden)
            if place in masks:
                hidden = [self._masked(part, masks[place][index]) for part, index in zip(hidden, indices, strict=True)]
        return hidden

    def _masked(self, features: Tensor, mask: Tensor) -> Tensor:
        shape = [1] * features.ndim
        shape[self.dimension] = len(mask)
        return features * mask.to(features.dtype).reshape(shape)

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """The stages: tensors that all tasks reach, even where their channels differ."""
        return trainable(self.stages)

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The head of the task."""
        return trainable(self.heads[self.position(task)])

    def path(self, task: str) -> nn.Module:
        return _Path(self, self.position(task))

    def export(self, task: str | None = None) -> nn.Module:
        """A copy for use; for one task with the channels that it does not see cut out, where the stages allow it."""
        if task is None:
            return super().export()
        index = self.position(task)
        masks = {place: mask[index] > 0 for place, mask in zip(self.places, self.masks, strict=True)}
        parts = [copy.deepcopy(part) for part in (*self.stages, self.heads[index])]
        cut = without_channels(parts, masks) if self.dimension == 1 else None
        return nn.Sequential(*cut).eval() if cut is not None else super().export(task)

    def describe(self) -> dict[str, Any]:
        """Counts of parameters, and the share of channels that two tasks have in common, per masked stage."""
        overlap = [((mask @ mask.T) / mask.shape[1]).tolist() for mask in self.masks]
        return {**super().describe(), "overlap": overlap}

    def add_task(
        self, task: Task, *, freeze: Freeze = "none", head: nn.Module | None = None, example: Any = None
    ) -> Self:
        """A new model with masks and a head for one more task.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes everything that exists, ``"shared"`` the stages, ``"none"`` nothing.
            head: head of the new task; default by kind.
            example: sample input of the last stage, only needed when no head is linear and it does not say its width.
        """
        model = grown(self, task, freeze=freeze, shared=())
        if freeze == "shared":
            freeze_module(model.stages)
        for number, mask in enumerate(self.masks):
            setattr(model, f"mask_{number}", torch.cat([mask, model._draw(mask.shape[1])[None].to(mask)]))
        model.heads.append(
            build_head(task, with_width(model.stages[-1]), others=self.heads, head=head, example=example)
        )
        return model

    def forget(self, index: int) -> None:
        super().forget(index)
        kept = [task for task in range(len(self.tasks)) if task != index]
        for number, mask in enumerate(self.masks):
            setattr(self, f"mask_{number}", mask[kept])

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state["_generator"] = self._generator.get_state()  # generators themselves cannot be copied
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        generator = torch.Generator()
        generator.set_state(state.pop("_generator"))
        self.__dict__.update(state)
        self._generator = generator


class _Path(nn.Module):
    """The stages with the masks of one task, and its head."""

    def __init__(self, model: TaskRouting, index: int) -> None:
        super().__init__()
        self.stages, self.head = model.stages, model.heads[index]
        self.dimension, self.places = model.dimension, model.places
        for number, mask in enumerate(model.masks):
            self.register_buffer(f"mask_{number}", mask[index])

    def forward(self, inputs: Any) -> Tensor:
        hidden = inputs
        for place, stage in enumerate(self.stages):
            hidden = stage(hidden)
            if place in self.places:
                mask = getattr(self, f"mask_{self.places.index(place)}")
                hidden = TaskRouting._masked(self, hidden, mask)  # type: ignore[arg-type]
        output: Tensor = self.head(hidden)
        return output


@torch.no_grad()
def _widths(
    stages: Sequence[nn.Module],
    places: Sequence[int],
    *,
    channels: Sequence[int] | None,
    example: Any,
    dimension: int,
) -> list[int]:
    """Channels behind every masked stage."""
    if channels is not None:
        if len(channels) != len(places):
            raise TaskError(f"channels has {len(channels)} numbers, but {len(places)} stages are masked")
        return [int(width) for width in channels]
    if example is not None:
        found, hidden = {}, example
        for place, stage in enumerate(stages):
            was_training = stage.training
            hidden = stage.eval()(hidden)
            stage.train(was_training)
            found[place] = int(hidden.shape[dimension])
        return [found[place] for place in places]
    widths = []
    for place in places:
        width = said_width(stages[place])
        if width is None:
            raise TaskError(
                f"stage {place} ({type(stages[place]).__name__}) does not say how many channels it has; give channels= "
                "or example="
            )
        widths.append(width)
    return widths
