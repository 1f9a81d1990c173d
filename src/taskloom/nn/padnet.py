"""PAD-Net: every task makes a first prediction; then each reads, through gates, the features of all others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._batching import run_together
from taskloom.nn._distillation import Reader, dense_head, initial_task
from taskloom.nn._grow import freeze_module, fresh_copy, grown
from taskloom.nn._layout import channels_last, one_by_one
from taskloom.nn.encoders._blocks import Norm, conv_block, whole_numbers
from taskloom.nn.encoders.dry_run import dry_run
from taskloom.nn.heads.default import build_heads
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.nn.parallel import Parallel
from taskloom.task import Task, check_tasks

__all__ = ["PADNet"]


class PADNet(MultiTaskModel):
    """A dense-prediction network in two steps: initial predictions per task, then tasks help each other.

    For tasks with outputs at every position (depth, classes, normals, edges) that explain one another: where there is
    an edge in depth, the class is likely to change.

        z = f(x),   F_k = branch_k(z),   y_(aux/k) = head_(aux/k)(F_k)
        y_t = head_t(F_t + sum_(k != t) sigmoid(W_g,tk * F_k) * (W_f,tk * F_k))

    The initial predictions are tasks of the model, named ``aux/`` and the name of their task. They have its target
    column and do not count in the final score; ``model.task_objects`` are the tasks to describe the data with, and each
    loss has a weight of its own. Without their losses the network still works, but is no longer the published one.

    Args:
        encoder: gives features (n, C, h, w).
        tasks: the tasks that are predicted in the end.
        extra: tasks with an initial prediction only, which help the others; default none.
        width: channels of the features of a task; default 64, our choice.
        norm: makes the normalisation of a number of channels; default ``nn.BatchNorm2d``.
        heads: name -> head for all of ``model.tasks``; default a 1x1 convolution, enlarged to the size of the image.
        example: sample images (n, channels, height, width).

    Raises:
        TaskError: no example, features of another form, a width below 1, or heads that do not match.

    Cost:
        the encoder, K branches of two 3x3 convolutions, and two 3x3 convolutions per ordered pair of tasks.

    Differs from the paper:
        branches are two 3x3 convolutions at the size of the features; outputs are enlarged by interpolation.

    Source:
        D. Xu, W. Ouyang, X. Wang, N. Sebe, PAD-Net: Multi-Tasks Guided Prediction-and-Distillation Network for
        Simultaneous Depth Estimation and Scene Parsing, CVPR 2018, arXiv:1805.04409 (distillation with attention).

    Example:
        >>> import torch
        >>> from taskloom.nn import CNN
        >>> from taskloom.task import Multiclass, Regression
        >>> tasks = [Task(name="depth", kind=Regression()), Task(name="class", kind=Multiclass(5))]
        >>> images = torch.zeros(2, 3, 16, 16)
        >>> model = PADNet(CNN(3, (4, 8), pool=False), tasks, width=8, example=images)
        >>> {task: tuple(output.shape) for task, output in model(images, ["class", "aux/depth"]).items()}
        {'class': (2, 5, 16, 16), 'aux/depth': (2, 1, 16, 16)}
    """

    def __init__(
        self,
        encoder: nn.Module,
        tasks: Sequence[Task],
        *,
        extra: Sequence[Task] = (),
        width: int = 64,
        norm: Norm = nn.BatchNorm2d,
        heads: Mapping[str, nn.Module] | None = None,
        example: Tensor | None = None,
    ) -> None:
        targets = check_tasks(tasks)
        described = check_tasks([*targets, *extra])
        super().__init__([*targets, *(initial_task(task) for task in described)])
        (self.width,) = whole_numbers([width], what="width")
        self.encoder = encoder
        self.image_size, self.feature_shape = _shapes(encoder, example)
        self.branches = one_by_one(Parallel(self._new_branch(norm) for _ in described))
        everyone = range(len(described))
        final = [[own, *(other for other in everyone if other != own)] for own in range(len(targets))]
        initial = [[own] for own in everyone]
        self.readers = nn.ModuleList(Reader(sources, self.width) for sources in [*final, *initial])
        own_heads = {task.name: self._new_head(task) for task in self.task_objects} if heads is None else heads
        self.heads = one_by_one(build_heads(self.task_objects, encoder, heads=own_heads))

    def _new_branch(self, norm: Norm) -> nn.Module:
        first = conv_block(self.feature_shape[0], self.width, norm=norm)
        return nn.Sequential(first, conv_block(self.width, self.width, norm=norm))

    def _new_head(self, task: Task) -> nn.Module:
        return dense_head(task, self.width, image=self.image_size, features=self.feature_shape[1:])

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        return self._read(self.encoder(channels_last(inputs)), indices)

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        encoded = run_together(self.encoder, [channels_last(part) for part in parts])
        return [self._read(features, [index])[0] for features, index in zip(encoded, indices, strict=True)]

    def _read(self, encoded: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """Features of the tasks asked for; only branches that one of them reads are computed."""
        readers = [self._reader(index) for index in indices]
        needed = sorted({source for reader in readers for source in reader.sources})
        found = dict(zip(needed, self.branches.run_same(encoded, members=needed), strict=True))
        return [reader([found[source] for source in reader.sources]) for reader in readers]

    def _reader(self, index: int) -> Reader:
        reader = self.readers[index]
        assert isinstance(reader, Reader)
        return reader

    def _readers_of(self, branch: int) -> list[int]:
        """Indices of the tasks that read a branch."""
        return [index for index in range(len(self.readers)) if branch in self._reader(index).sources]

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """The encoder, and the branches that two or more tasks read (an initial prediction counts as one)."""
        shared = [module for k, module in enumerate(self.branches) if len(self._readers_of(k)) > 1]
        return trainable(self.encoder, *shared)

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """What the task takes from others and its head; a branch that no other task reads."""
        index = self.position(task)
        own = [module for k, module in enumerate(self.branches) if self._readers_of(k) == [index]]
        return trainable(*own, self.readers[index], self.heads[index])

    def path(self, task: str) -> nn.Module:
        index = self.position(task)
        reader = self._reader(index)
        return _Path(self.encoder, [self.branches[k] for k in reader.sources], reader, self.heads[index])

    def add_task(
        self,
        task: Task,
        *,
        freeze: Freeze = "none",
        head: nn.Module | None = None,
        initial_head: nn.Module | None = None,
    ) -> Self:
        """A new model with one more final task and its initial prediction, which have a branch of their own.

        The new task reads all others; the old tasks do not read it, so that their outputs stay.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes everything that exists, ``"shared"`` the encoder and the shared branches.
            head: head of the new task; default as for the others.
            initial_head: head of its initial prediction; default as for the others.
        """
        initial = initial_task(task)
        model = grown(self, task, freeze=freeze, shared=("encoder",), besides=[initial])
        if freeze == "shared":
            for k, module in enumerate(model.branches):
                if len(self._readers_of(k)) > 1:
                    freeze_module(module)
        own = len(self.branches)
        reference = next(self.parameters())
        model.branches.append(fresh_copy(self.branches[0]))
        for new, given, sources in ((task, head, [own, *range(own)]), (initial, initial_head, [own])):
            model.readers.append(Reader(sources, self.width).to(reference))
            model.heads.append((self._new_head(new) if given is None else given).to(reference))
        return model

    def forget(self, index: int) -> None:
        """Drop, in place, the head of a task, what it takes from others, and branches that nobody reads any more."""
        super().forget(index)
        del self.readers[index]
        for branch in reversed(range(len(self.branches))):
            if not self._readers_of(branch):
                del self.branches[branch]
                for other in range(len(self.readers)):
                    reader = self._reader(other)
                    reader.sources = [source - (source > branch) for source in reader.sources]

    def describe(self) -> dict[str, Any]:
        """Adds the number of branches, and of parameters that carry messages from task to task."""
        messages = sum(parameter.numel() for parameter in self.readers.parameters())
        return super().describe() | {"branches": len(self.branches), "messages": messages}


class _Path(nn.Module):
    """The network of one task."""

    def __init__(self, encoder: nn.Module, branches: Sequence[nn.Module], reader: Reader, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.branches = nn.ModuleList(branches)
        self.reader = reader
        self.head = head

    def forward(self, images: Any) -> Any:
        encoded = self.encoder(channels_last(images))
        return self.head(self.reader([branch(encoded) for branch in self.branches]))


def _shapes(encoder: nn.Module, example: Tensor | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(height, width) of the image, (C, h, w) of its features."""
    if example is None:
        raise TaskError("PADNet needs the shape of its features: give example= (sample images)")
    (shape,) = dry_run([encoder], channels_last(example))
    if len(shape) != 4 or example.ndim != 4:
        raise TaskError(
            f"PADNet reads images (n, channels, height, width) and features (n, C, h, w), found {tuple(example.shape)} "
            f"and {tuple(shape)}; use an encoder without pooling (pool=False)"
        )
    return tuple(example.shape[2:]), tuple(shape[1:])
