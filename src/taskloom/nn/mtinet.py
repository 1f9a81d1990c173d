"""MTI-Net: tasks read each other at every scale of an image, and small scales help larger ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._distillation import Reader, dense_head, initial_task
from taskloom.nn._layout import channels_last, one_by_one
from taskloom.nn._pyramid import Pyramid, Scale, enlarged
from taskloom.nn.encoders._blocks import Norm, whole_numbers
from taskloom.nn.encoders.dry_run import dry_run
from taskloom.nn.heads.default import build_heads
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.task import Task, check_tasks

__all__ = ["MTINet"]


class MTINet(MultiTaskModel):
    """A dense-prediction network in which tasks help each other at every scale of a multi-scale encoder.

    As :class:`PADNet`, at each of S scales: what one task can tell another differs with the size of what is seen. From
    the smallest map up, with z_s the encoder's features behind stage s:

        F_(s,k) = branch_(s,k)([z_s; up(G_(s+1,k))]),   y_(aux/s/k) = head_(aux/s/k)(F_(s,k))
        G_(s,k) = SE_(s,k)(reduce_s(w_s * [F_(s,1); ...; F_(s,K)])) + F_(s,k),   w_s = softmax over tasks of block_s
        D_(s,t) = F_(s,t) + sum_(k != t) sigmoid(W_g * F_(s,k)) * (W_f * F_(s,k))
        y_t = head_t([D_(1,t); up(D_(2,t)); ...])

    The initial predictions at each scale are tasks of the model, named ``aux/``, the number of the stage from 0, and
    the name of their task (``aux/0/depth``). They have its target column and do not count in the final score;
    ``model.task_objects`` are the tasks to describe the data with, and each loss has a weight of its own.

    Args:
        stages: the stages of an encoder in order, each with features (n, C_s, h_s, w_s); or an encoder whose children
            are its stages, such as CNN, or that has a method ``stages()``, such as ResNet (both with ``pool=False``).
        tasks: the tasks that are predicted in the end.
        width: channels of the features of a task at every scale; default 32, our choice.
        norm: makes the normalisation of a number of channels; default ``nn.BatchNorm2d``.
        heads: name -> head for all of ``model.tasks``; default a 1x1 convolution, enlarged to the size of the image.
        example: sample images (n, channels, height, width).

    Raises:
        TaskError: no example, features of another form, a width below 1, or heads that do not match.

    Cost:
        the encoder; per scale K branches, one propagation, and two 3x3 convolutions per ordered pair of tasks.

    Differs from the paper:
        one width at all scales; plain blocks of 3x3 convolutions instead of residual ones. The softmax is taken over
        tasks, as the paper says; the public code lays the joined channels out so that it runs over other groups.

    Source:
        S. Vandenhende, S. Georgoulis, L. Van Gool, MTI-Net: Multi-Scale Task Interaction Networks for Multi-Task
        Learning, ECCV 2020, arXiv:2001.06902.

    Example:
        >>> from taskloom.nn import CNN
        >>> from taskloom.task import Multiclass, Regression
        >>> tasks = [Task(name="depth", kind=Regression()), Task(name="class", kind=Multiclass(5))]
        >>> images = torch.zeros(2, 3, 16, 16)
        >>> model = MTINet(CNN(3, (4, 8), pool=False), tasks, width=8, example=images)
        >>> {task: tuple(output.shape) for task, output in model(images, ["class", "aux/1/depth"]).items()}
        {'class': (2, 5, 16, 16), 'aux/1/depth': (2, 1, 16, 16)}
    """

    def __init__(
        self,
        stages: nn.Module | Sequence[nn.Module],
        tasks: Sequence[Task],
        *,
        width: int = 32,
        norm: Norm = nn.BatchNorm2d,
        heads: Mapping[str, nn.Module] | None = None,
        example: Tensor | None = None,
    ) -> None:
        targets = check_tasks(tasks)
        parts = _stages_of(stages)
        places: list[tuple[int | None, int]] = [(None, own) for own in range(len(targets))]
        places += [(number, own) for number in range(len(parts)) for own in range(len(targets))]
        super().__init__([targets[k] if s is None else initial_task(targets[k], f"{s}/") for s, k in places])
        (self.width,) = whole_numbers([width], what="width")
        shapes = _shapes(parts, example)
        assert example is not None
        self.places = places  # per task: stage (None: the end), and which target
        scales = [
            Scale(shape[0], self.width, n_tasks=len(targets), norm=norm, is_smallest=number == len(parts) - 1)
            for number, shape in enumerate(shapes)
        ]
        self.pyramid = Pyramid(parts, scales[::-1])
        everyone = range(len(targets))
        sources = [[own, *(other for other in everyone if other != own)] for own in everyone]
        self.readers = nn.ModuleList(nn.ModuleList(Reader(row, self.width) for _ in parts) for row in sources)
        own_heads = heads
        if own_heads is None:
            own_heads = {
                task.name: dense_head(
                    task,
                    self.width * (len(parts) if number is None else 1),
                    image=example.shape[2:],
                    features=shapes[number or 0][1:],
                )
                for task, (number, _) in zip(self.task_objects, self.places, strict=True)
            }
        self.heads = one_by_one(build_heads(self.task_objects, self.pyramid, heads=own_heads))

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        places = [self.places[index] for index in indices]
        found = self.pyramid(channels_last(inputs), min(number or 0 for number, _ in places))
        return [_joined(found, self._readers(own)) if number is None else found[number][own] for number, own in places]

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        return [self.represent(part, [index])[0] for part, index in zip(parts, indices, strict=True)]

    def _readers(self, own: int) -> list[Reader]:
        readers = self.readers[own]
        assert isinstance(readers, nn.ModuleList)
        return [reader for reader in readers if isinstance(reader, Reader)]

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """The encoder, and the features of all tasks at all scales, since each feeds others."""
        return trainable(self.pyramid)

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """What the task takes from others at every scale, and its head."""
        index = self.position(task)
        number, own = self.places[index]
        return trainable(*(self._readers(own) if number is None else []), self.heads[index])

    def path(self, task: str) -> nn.Module:
        index = self.position(task)
        number, own = self.places[index]
        if number is None:
            return _FinalPath(self.pyramid, self._readers(own), self.heads[index])
        return _InitialPath(self.pyramid.up_to(number), (number, own), self.heads[index])

    def add_task(self, task: Task, *, freeze: Freeze = "none") -> NoReturn:
        """Not possible: the features of all tasks are joined at every scale.

        Raises:
            TaskError: always.
        """
        raise TaskError(
            f"MTINet cannot take the task {task.name!r} in: all tasks are joined at every scale; build it anew"
        )

    def remove_task(self, task: str) -> NoReturn:
        """Not possible: the other tasks read the features of every task.

        Raises:
            TaskError: always.
        """
        raise TaskError(f"MTINet cannot do without {task!r}: the other tasks read its features; build it anew")

    def describe(self) -> dict[str, Any]:
        """Adds the number of scales, and of parameters that carry messages from task to task."""
        messages = sum(parameter.numel() for parameter in self.readers.parameters())
        return super().describe() | {"scales": len(self.pyramid.scales), "messages": messages}


def _joined(found: Mapping[int, Sequence[Tensor]], readers: Sequence[Reader]) -> Tensor:
    """Distilled features of a task at all scales, in the size of the first stage."""
    read = [reader([found[number][k] for k in reader.sources]) for number, reader in enumerate(readers)]
    return torch.cat([enlarged(part, read[0]) for part in read], dim=1)


class _FinalPath(nn.Module):
    """The network of a final prediction."""

    def __init__(self, pyramid: Pyramid, readers: Sequence[Reader], head: nn.Module) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.readers = nn.ModuleList(readers)
        self.head = head

    def forward(self, images: Any) -> Any:
        readers = [reader for reader in self.readers if isinstance(reader, Reader)]
        return self.head(_joined(self.pyramid(channels_last(images)), readers))


class _InitialPath(nn.Module):
    """The network of an initial prediction, without the scales above its own."""

    def __init__(self, pyramid: Pyramid, place: tuple[int, int], head: nn.Module) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.place = place
        self.head = head

    def forward(self, images: Any) -> Any:
        number, own = self.place
        return self.head(self.pyramid(channels_last(images), number)[number][own])


def _stages_of(stages: nn.Module | Sequence[nn.Module]) -> list[nn.Module]:
    method = getattr(stages, "stages", None)
    if callable(method):
        return list(method())
    if isinstance(stages, nn.Module) and not isinstance(stages, nn.Sequential | nn.ModuleList):
        raise TaskError(
            f"{type(stages).__name__} has no method stages(); give the stages in a list, or cut it with "
            "stages_of(encoder, cuts=[...])"
        )
    return list(stages)


def _shapes(stages: Sequence[nn.Module], example: Tensor | None) -> list[tuple[int, ...]]:
    """(C, h, w) behind each stage."""
    if example is None:
        raise TaskError("MTINet needs the shapes of its features: give example= (sample images)")
    if not stages:
        raise TaskError("MTINet needs at least one stage")
    shapes = [tuple(shape) for shape in dry_run(stages, channels_last(example))]
    if any(len(shape) != 4 for shape in shapes) or example.ndim != 4:
        raise TaskError(
            f"MTINet reads images (n, channels, height, width) and features (n, C, h, w), found {tuple(example.shape)} "
            f"and {shapes}; use an encoder without pooling (pool=False)"
        )
    return [shape[1:] for shape in shapes]
