"""Multi-task attention: one network for all tasks, and per task a mask on its features at every stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn

from taskloom.errors import NoCommonFeature
from taskloom.nn._attention_level import Level, attend, shared_features
from taskloom.nn._grow import freeze_module, grown
from taskloom.nn._inputs import read_request
from taskloom.nn._layout import channels_last, one_by_one
from taskloom.nn._pairs import HasPairs, Pair, as_pairs, shapes_of
from taskloom.nn.attention.base import Attention
from taskloom.nn.fork import fork
from taskloom.nn.heads.default import build_heads, default_head
from taskloom.nn.heads.pooled import PooledHead
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.nn.parallel import Parallel
from taskloom.task import Kind, Task

__all__ = ["MTAN"]


class MTAN(MultiTaskModel):
    """One shared network; each task picks from its features with masks of its own (multi-task attention network).

    Between hard sharing, which it becomes when all masks are 1, and one network per task, at the price of small masks.
    Made for images and for tasks with outputs at every position, where tasks need different features of one place.

        u_l = body_l(p_(l-1)),  p_l = last_l(u_l),  p_0 = x
        a_t^1 = mask_t^1(u_1),  a_t^l = mask_t^l([u_l; resize(norm(refine_(l-1)(o_t^(l-1))))])
        o_t^l = a_t^l * p_l,    y_t = head_t(o_t^L)

    Stages may hand tuples on; their first item are the features. So the stages of an encoder-decoder, with skip
    connections, are given like any others. Images are kept with the channels of a position side by side in memory
    ("channels last"), in the stages too; a stage of your own must use ``reshape``, not ``view``.

    Args:
        stages: pairs (body, last) per stage, where last is the final block; or an encoder with a method ``pairs()``,
            such as CNN, ResNet, UNet, SegNet and TransformerEncoder. A single module in place of a pair is its body:
            the mask then sees the very features that it gates.
        tasks: the tasks.
        attention: what masks, and what leads from one to the next, are made of; default :class:`ImageAttention` for
            features (n, C, height, width), else :class:`RowAttention`.
        private_refine: give each task its own refine; then the model has a cut. Default False, as published.
        channels: number of channels behind each stage, with an attention, instead of an example.
        heads: task name -> head module; default a linear layer by kind of task, behind the mean over all positions of
            an image.
        example: sample input; the stages are run once to find the shapes.

    Raises:
        TaskError: neither example nor channels, stages whose two parts differ in shape, or heads that do not match.

    Cost:
        the stages once, per task the masks and L - 1 refinements of its features.

    Differs from the paper:
        features of a stage are resized by max-pooling to whatever size comes next; by interpolation in a decoder.

    Source:
        S. Liu, E. Johns, A. J. Davison, End-to-End Multi-Task Learning with Attention, CVPR 2019, arXiv:1803.10704.

    Example:
        >>> import torch
        >>> from taskloom.nn import CNN
        >>> from taskloom.task import Binary, Regression
        >>> tasks = [Task(name="age", kind=Regression()), Task(name="smiles", kind=Binary())]
        >>> model = MTAN(CNN(3, (4, 8)), tasks, example=torch.zeros(1, 3, 16, 16))
        >>> model(torch.zeros(2, 3, 16, 16))["smiles"].shape
        torch.Size([2, 1])
    """

    def __init__(
        self,
        stages: HasPairs | Sequence[nn.Module | Pair],
        tasks: Sequence[Task],
        *,
        attention: Attention | None = None,
        private_refine: bool = False,
        channels: Sequence[int] | None = None,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(tasks)
        pairs = as_pairs(stages)
        widths, found = shapes_of(pairs, channels=channels, attention=attention, example=example)
        self.attention = found
        self.private_refine = private_refine
        self.channels = tuple(widths)
        self.levels = nn.ModuleList([self._new_level(pair, number) for number, pair in enumerate(pairs)])
        own = {task.name: self._new_head(task.kind) for task in self.task_objects} if heads is None else heads
        self.heads = build_heads(self.task_objects, self.levels, heads=own)
        if self.attention.dimension == 1:
            for parts in (self.heads, *(part for level in self._levels() for part in level.parts())):
                one_by_one(parts)

    @property
    def has_cut(self) -> bool:  # type: ignore[override]
        """Whether the refinements are private: then u and p of all stages are all that the shared part contributes."""
        return self.private_refine

    # ---------------------------------------------------------------- parts

    def _new_level(self, pair: Pair, number: int) -> Level:
        masks = Parallel(self._new_mask(number) for _ in self.tasks)
        n_refines, n_norms = (len(self.tasks) if own else 1 for own in (self.private_refine, self._own_norms))
        if number == 0:
            n_refines = n_norms = 0
        refines = Parallel(self._new_refine(number) for _ in range(n_refines))
        norms = Parallel(self.attention.norm(self.channels[number]) for _ in range(n_norms))
        return Level(*pair, masks=masks, refines=refines, norms=norms)

    def _new_mask(self, number: int) -> nn.Module:
        width = self.channels[number]
        return self.attention.mask(2 * width if number else width, width)

    def _new_refine(self, number: int) -> nn.Module:
        return self.attention.refine(self.channels[number - 1], self.channels[number])

    def _new_head(self, kind: Kind) -> nn.Module:
        head = default_head(kind, self.channels[-1])
        return PooledHead(head) if self.attention.dimension == 1 else head

    @property
    def _own_norms(self) -> bool:
        return self.private_refine or self.attention.norm_per_task

    def _levels(self) -> list[Level]:
        return [level for level in self.levels if isinstance(level, Level)]

    # ---------------------------------------------------------------- forward

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        return self._attend(self._shared([inputs] * len(indices)), indices)

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        return self._attend(self._shared(parts), indices)

    def _shared(self, parts: Sequence[Any]) -> list[tuple[list[Tensor], list[Tensor]]]:
        if all(part is parts[0] for part in parts):
            return shared_features(self._levels(), [channels_last(parts[0])] * len(parts))
        return shared_features(self._levels(), [channels_last(part) for part in parts])

    def _attend(self, shared: list[tuple[list[Tensor], list[Tensor]]], indices: Sequence[int]) -> list[Tensor]:
        if self.private_refine:
            shared = [(self._fork(us, indices), self._fork(ps, indices)) for us, ps in shared]
        before: list[Tensor] | None = None
        for level, (us, ps) in zip(self._levels(), shared, strict=True):
            before, _ = attend(level, us, ps, before=before, members=indices, attention=self.attention)
        assert before is not None
        return before

    def _fork(self, features: Sequence[Tensor], indices: Sequence[int]) -> list[Tensor]:
        return [fork(part, self.tasks[index]) for part, index in zip(features, indices, strict=True)]

    def encode(self, inputs: Any, tasks: Sequence[str] | None = None) -> tuple[Any, ...]:
        """u_1, p_1, u_2, p_2, ...; for one input per task, those of the first task, then those of the next.

        Raises:
            NoCommonFeature: refine is shared, so that shared parameters come behind every such tensor.
        """
        self._check_cut()
        request = read_request(inputs, tasks, self._positions)
        shared = self._shared([inputs] if request.parts is None else request.parts)
        return tuple(part for row in range(len(shared[0][0])) for us, ps in shared for part in (us[row], ps[row]))

    def decode(self, cut: Sequence[Any], tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Outputs from the cut; the tasks of an encoded mapping must be named, in model order.

        Raises:
            NoCommonFeature: as for :meth:`encode`.
        """
        self._check_cut()
        request = read_request(None, tasks, self._positions)
        size = 2 * len(self.levels)
        rows = [cut[start : start + size] for start in range(0, len(cut), size)]
        rows = rows * len(request.names) if len(rows) == 1 else rows
        shared = [([row[at] for row in rows], [row[at + 1] for row in rows]) for at in range(0, size, 2)]
        features = self._attend(shared, request.indices)
        return dict(zip(request.names, self.decide(features, request.indices), strict=True))

    def _check_cut(self) -> None:
        if not self.private_refine:
            raise NoCommonFeature(
                "MTAN with a shared refine has no feature tensor that all shared parameters feed; use parameter "
                "gradients, or private_refine=True"
            )

    def attention_masks(self, inputs: Any, tasks: Sequence[str] | None = None) -> dict[str, list[Tensor]]:
        """The masks of the tasks at every stage, to look at; values between 0 and 1.

        Args:
            inputs: as for ``forward``.
            tasks: names of the tasks asked for; default all.
        """
        request = read_request(inputs, tasks, self._positions)
        parts = [inputs] * len(request.names) if request.parts is None else request.parts
        found: dict[str, list[Tensor]] = {name: [] for name in request.names}
        before: list[Tensor] | None = None
        for level, (us, ps) in zip(self._levels(), self._shared(parts), strict=True):
            before, masks = attend(level, us, ps, before=before, members=request.indices, attention=self.attention)
            for name, mask in zip(request.names, masks, strict=True):
                found[name].append(mask)
        return found

    # ---------------------------------------------------------------- parameters and copies

    def _shared_modules(self) -> list[nn.Module]:
        levels = self._levels()
        shared: list[nn.Module] = [part for level in levels for part in (level.body, level.last)]
        shared += [] if self.private_refine else [level.refines for level in levels]
        return shared + ([] if self._own_norms else [level.norms for level in levels])

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """The stages, and what maps features from stage to stage unless it is private."""
        return trainable(*self._shared_modules())

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The masks and the head of the task, and its refinements where they are private."""
        index = self.position(task)
        own = [part[index] for level in self._levels() for part in self._private(level) if len(part)]
        return trainable(*own, self.heads[index])

    def _private(self, level: Level) -> list[Parallel]:
        """Lists of modules with one per task."""
        refines = [level.refines] if self.private_refine else []
        return [level.masks, *refines, *([level.norms] if self._own_norms else [])]

    def path(self, task: str) -> nn.Module:
        index = self.position(task)
        return _Path([level.only(index) for level in self._levels()], self.attention, self.heads[index])

    def add_task(self, task: Task, *, freeze: Freeze = "none", head: nn.Module | None = None) -> Self:
        """A new model with one more task, which gets new masks.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes everything that exists, ``"shared"`` the stages and shared refinements.
            head: head of the new task; default by kind.
        """
        model = grown(self, task, freeze=freeze, shared=())
        if freeze == "shared":
            for module in model._shared_modules():
                freeze_module(module)
        for number, level in enumerate(model._levels()):
            level.masks.append(model._new_mask(number))
            if number and self.private_refine:
                level.refines.append(model._new_refine(number))
            if number and self._own_norms:
                level.norms.append(self.attention.norm(self.channels[number]))
        model.heads.append(self._new_head(task.kind) if head is None else head)
        reference = next(self.parameters())
        for part in (own[-1] for level in model._levels() for own in model._private(level) if len(own)):
            part.to(reference)
        model.heads[-1].to(reference)
        return model

    def forget(self, index: int) -> None:
        """Drop the masks, the head and private refinements of a task, in place."""
        for level in self._levels():
            for parts in self._private(level):
                if len(parts):
                    del parts[index]
        super().forget(index)

    def describe(self) -> dict[str, Any]:
        """Adds the number of parameters of the masks of one task, and of what leads from stage to stage."""
        levels = self._levels()
        refines = [part for level in levels for part in (*level.refines, *level.norms)]
        return super().describe() | {
            "channels": self.channels,
            "masks": sum(parameter.numel() for level in levels for parameter in level.masks[0].parameters()),
            "refine": sum(parameter.numel() for part in refines for parameter in part.parameters()),
            "private_refine": self.private_refine,
        }


class _Path(nn.Module):
    """The network of one task."""

    def __init__(self, levels: Sequence[Level], attention: Attention, head: nn.Module) -> None:
        super().__init__()
        self.levels = nn.ModuleList(levels)
        self.attention = attention
        self.head = head

    def forward(self, inputs: Any) -> Tensor:
        levels = [level for level in self.levels if isinstance(level, Level)]
        before: list[Tensor] | None = None
        for level, (us, ps) in zip(levels, shared_features(levels, [channels_last(inputs)]), strict=True):
            before, _ = attend(level, us, ps, before=before, members=[0], attention=self.attention)
        assert before is not None
        output: Tensor = self.head(before[0])
        return output
