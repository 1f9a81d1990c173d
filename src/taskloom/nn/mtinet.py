"""MTI-Net: tasks read each other at every scale of an image, and small scales help larger ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._distillation import Reader, dense_head, initial_task
from taskloom.nn._grow import grown
from taskloom.nn._layout import channels_last, one_by_one
from taskloom.nn._pyramid import Pyramid, enlarged, new_scale
from taskloom.nn.encoders._blocks import Norm, norm_like, whole_numbers
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
        self.places = places  # per task: stage (None: the end), and whose features
        self.image_size, self.feature_shapes = tuple(example.shape[2:]), shapes
        scales = [
            new_scale(shape[0], self.width, n_streams=len(targets), norm=norm, is_smallest=number == len(parts) - 1)
            for number, shape in enumerate(shapes)
        ]
        self.pyramid = Pyramid(parts, scales[::-1])
        everyone = range(len(targets))
        self.readers = nn.ModuleList(
            self._new_readers([own, *(other for other in everyone if other != own)] if number is None else [])
            for number, own in places
        )
        own_heads = heads
        if own_heads is None:
            pairs = zip(self.task_objects, self.places, strict=True)
            own_heads = {task.name: self._new_head(task, number) for task, (number, _) in pairs}
        self.heads = one_by_one(build_heads(self.task_objects, self.pyramid, heads=own_heads))

    def _new_readers(self, sources: Sequence[int]) -> nn.ModuleList:
        """What a final task takes from others at every scale; nothing for an initial prediction."""
        return nn.ModuleList(Reader(sources, self.width) for _ in self.feature_shapes if sources)

    def _new_head(self, task: Task, number: int | None) -> nn.Module:
        channels = self.width * (len(self.feature_shapes) if number is None else 1)
        return dense_head(task, channels, image=self.image_size, features=self.feature_shapes[number or 0][1:])

    # ---------------------------------------------------------------- the forward pass

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        wanted: dict[int, set[int]] = {}
        for index in indices:
            for number, streams in self._wanted(index).items():
                wanted.setdefault(number, set()).update(streams)
        found = self.pyramid(channels_last(inputs), wanted)
        return [_read(found, self.places[index], self._readers(index)) for index in indices]

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        return [self.represent(part, [index])[0] for part, index in zip(parts, indices, strict=True)]

    def _wanted(self, index: int) -> dict[int, list[int]]:
        """Number of a stage -> streams whose features a task reads there."""
        number, own = self.places[index]
        if number is not None:
            return {number: [own]}
        return {stage: reader.sources for stage, reader in enumerate(self._readers(index))}

    def _readers(self, index: int) -> list[Reader]:
        readers = self.readers[index]
        assert isinstance(readers, nn.ModuleList)
        return [reader for reader in readers if isinstance(reader, Reader)]

    # ---------------------------------------------------------------- who owns what

    def _users(self) -> Iterator[tuple[nn.Module, set[int]]]:
        """The parts of the pyramid, with the tasks that need them."""
        needed = [self.pyramid.needed(self._wanted(index)) for index in range(len(self.places))]
        yield self.pyramid.stages, set(range(len(needed)))
        for number in range(len(self.pyramid.stages)):
            scale = self.pyramid.scale(number)
            users = [{t for t, own in enumerate(needed) if k in own[number]} for k in range(len(scale.branches))]
            yield from zip(scale.branches, users, strict=True)
            for generation in scale.passing():
                each = [users[stream] for stream in generation.streams]
                yield from zip(generation.own, each, strict=True)
                for part in (generation.scores, generation.reduce):
                    if part is not None:
                        yield part, set().union(*each)

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """The encoder, and features at all scales that two or more tasks need."""
        enough = min(2, len(self.places))
        return trainable(*(part for part, users in self._users() if len(users) >= enough))

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """What the task takes from others at every scale, its head, and features that no other task needs."""
        index = self.position(task)
        own = (part for part, users in self._users() if users == {index} and len(self.places) > 1)
        return trainable(*own, self.readers[index], self.heads[index])

    def path(self, task: str) -> nn.Module:
        index = self.position(task)
        wanted = self._wanted(index)
        return _Path(self.pyramid.only(wanted), wanted, self.places[index], self._readers(index), self.heads[index])

    # ---------------------------------------------------------------- other tasks

    def add_task(
        self,
        task: Task,
        *,
        freeze: Freeze = "none",
        norm: Norm | None = None,
        heads: Mapping[str, nn.Module] | None = None,
    ) -> Self:
        """A new model with one more final task and its initial predictions, which have features of their own.

        The new task reads all others at every scale; the old tasks do not read it, so that their outputs stay.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes everything that exists, ``"shared"`` the encoder and the features of old tasks.
            norm: makes the normalisations of the new parts; default as in the model.
            heads: name -> head for the new task and its initial predictions; default as for the others.
        """
        made = norm_like(self.pyramid.scales) if norm is None else norm
        new = [task, *(initial_task(task, f"{number}/") for number in range(len(self.feature_shapes)))]
        own_heads = heads
        if own_heads is None:
            own_heads = {one.name: self._new_head(one, None if k == 0 else k - 1) for k, one in enumerate(new)}
        if set(own_heads) != {one.name for one in new}:
            raise TaskError(f"heads {sorted(own_heads)} do not match the new tasks {sorted(one.name for one in new)}")
        model = grown(self, task, freeze=freeze, shared=("pyramid",), besides=new[1:])
        stream = len(self.pyramid.scale(0).branches)
        for number in range(len(self.feature_shapes)):
            model.pyramid.scale(number).add_stream(self.width, norm=made)
        model.places = [*self.places, (None, stream), *((number, stream) for number in range(len(new) - 1))]
        for one in new:
            model.readers.append(self._new_readers([stream, *range(stream)] if one is task else []))
            model.heads.append(own_heads[one.name])
        return model.to(next(self.parameters()))

    def forget(self, index: int) -> None:
        """Drop, in place, the head of a task, what it takes from others, and features that nobody needs any more."""
        super().forget(index)
        del self.readers[index]
        self.places = [*self.places[:index], *self.places[index + 1 :]]
        unused = {id(part) for part, users in self._users() if not users}
        for number in range(len(self.pyramid.stages)):
            scale = self.pyramid.scale(number)
            streams = [k for k, branch in enumerate(scale.branches) if id(branch) not in unused]
            self.pyramid.scales[len(self.pyramid.stages) - 1 - number] = scale.only(streams)

    def describe(self) -> dict[str, Any]:
        """Adds the number of scales, and of parameters that carry messages from task to task."""
        messages = sum(parameter.numel() for parameter in self.readers.parameters())
        return super().describe() | {"scales": len(self.pyramid.scales), "messages": messages}


def _read(
    found: Mapping[int, Mapping[int, Tensor]], place: tuple[int | None, int], readers: Sequence[Reader]
) -> Tensor:
    """Features of a task: its own at one scale, or distilled ones of all scales in the size of the first stage."""
    number, own = place
    if number is not None:
        return found[number][own]
    read = [reader([found[stage][k] for k in reader.sources]) for stage, reader in enumerate(readers)]
    return torch.cat([enlarged(part, read[0]) for part in read], dim=1)


class _Path(nn.Module):
    """The network of one task."""

    def __init__(
        self,
        pyramid: Pyramid,
        wanted: Mapping[int, Sequence[int]],
        place: tuple[int | None, int],
        readers: Sequence[Reader],
        head: nn.Module,
    ) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.wanted, self.place = dict(wanted), place
        self.readers = nn.ModuleList(readers)
        self.head = head

    def forward(self, images: Any) -> Any:
        found = self.pyramid(channels_last(images), self.wanted)
        readers = [reader for reader in self.readers if isinstance(reader, Reader)]
        return self.head(_read(found, self.place, readers))


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
