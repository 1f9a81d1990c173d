"""Features of every task at every scale, from the smallest map to the largest: what MTI-Net's tasks have in common.

A *stream* is a task's features at all scales. Streams that were there from the beginning are one generation: each reads
all of them on the way from scale to scale. A stream that came later is a generation of its own: it reads all before it,
and none of those reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._grow import fresh_copy
from taskloom.nn._layout import one_by_one
from taskloom.nn.encoders._blocks import Norm, conv_block
from taskloom.nn.parallel import Parallel

__all__ = ["Propagation", "Pyramid", "Scale", "enlarged", "new_propagation", "new_scale"]


def enlarged(features: Tensor, like: Tensor) -> Tensor:
    """Bilinear interpolation to the size of ``like``."""
    if features.shape[2:] == like.shape[2:]:
        return features
    return F.interpolate(features, size=like.shape[2:], mode="bilinear", align_corners=False)


class SqueezeExcite(nn.Module):
    """Scale every channel by what its means over the image say: ``x * sigmoid(W_2 relu(W_1 mean(x)))``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(4, channels // 4)
        self.first = nn.Linear(channels, inner)
        self.second = nn.Linear(inner, channels)

    def forward(self, features: Tensor) -> Tensor:
        scale: Tensor = self.second(self.first(features.mean((2, 3))).relu()).sigmoid()
        return features * scale[:, :, None, None]


class Propagation(nn.Module):
    """Features of the streams of one generation for the next scale, from those of all streams at one scale.

    The features of the streams are joined; a non-linear block scores every stream at every channel and position,
    softmax over streams; what that lets through is reduced to the channels of one; each stream of the generation scales
    the channels of that and adds its own features.

    Args:
        scores: the block that scores; None for one stream, since softmax over one is 1.
        reduce: the block that reduces.
        own: stream -> what scales its channels.
        n_read: number of streams that are read, the first ones.
    """

    def __init__(
        self, scores: nn.Module | None, reduce: nn.Module, own: Mapping[int, nn.Module], *, n_read: int
    ) -> None:
        super().__init__()
        self.scores = scores
        self.reduce = reduce
        self.own = nn.ModuleList(own.values())
        self.streams = tuple(own)
        self.n_read = n_read

    def forward(self, features: Mapping[int, Tensor], streams: Collection[int]) -> dict[int, Tensor]:
        read = [features[stream] for stream in range(self.n_read)]
        joined = torch.cat(read, dim=1)
        if self.scores is not None:
            shape = (self.n_read, read[0].shape[1])
            weights = self.scores(joined).unflatten(1, shape).softmax(1)  # (n, streams, C, h, w)
            joined = (weights * joined.unflatten(1, shape)).flatten(1, 2)
        common = self.reduce(joined)
        each = zip(self.streams, self.own, strict=True)
        return {stream: own(common) + features[stream] for stream, own in each if stream in streams}

    def only(self, streams: Collection[int]) -> Propagation:
        """The same modules for some streams of the generation."""
        each = zip(self.streams, self.own, strict=True)
        own = {stream: module for stream, module in each if stream in streams}
        return Propagation(self.scores, self.reduce, own, n_read=self.n_read)


def new_propagation(n_read: int, channels: int, *, first: int, norm: Norm) -> Propagation:
    """A propagation for the streams from ``first`` on, which reads the first ``n_read`` streams."""
    joined = n_read * channels
    inner = max(1, joined // 4)
    blocks = (conv_block(joined, inner, norm=norm), conv_block(inner, inner, norm=norm))
    scores = nn.Sequential(*blocks, nn.Conv2d(inner, joined, 1)) if n_read > 1 else None
    own = {stream: SqueezeExcite(channels) for stream in range(first, n_read)}
    return Propagation(scores, conv_block(joined, channels, norm=norm), own, n_read=n_read)


class Scale(nn.Module):
    """Features of the streams at one scale, from those of the encoder and what comes from the scale below.

    Args:
        branches: one per stream.
        generations: what passes features on from the scale below; none at the smallest scale.
    """

    def __init__(self, branches: Iterable[nn.Module], generations: Iterable[Propagation]) -> None:
        super().__init__()
        self.branches = one_by_one(Parallel(branches))
        self.generations = nn.ModuleList(generations)

    def passing(self) -> Iterator[Propagation]:
        """The propagations, oldest generation first."""
        return cast(Iterator[Propagation], iter(self.generations))

    def reads(self, streams: Collection[int]) -> set[int]:
        """Streams of the scale below that some streams of this one need."""
        needed = [one.n_read for one in self.passing() if not set(one.streams).isdisjoint(streams)]
        return set(range(max(needed, default=0)))

    def forward(self, encoded: Tensor, below: Mapping[int, Tensor], streams: Sequence[int]) -> dict[int, Tensor]:
        given: list[Tensor] = [encoded] * len(streams)
        if len(self.generations):
            passed: dict[int, Tensor] = {}
            for generation in self.passing():
                if not set(generation.streams).isdisjoint(streams):
                    passed |= generation(below, streams)
            given = [torch.cat([encoded, enlarged(passed[stream], encoded)], dim=1) for stream in streams]
        return dict(zip(streams, self.branches.run(given, members=streams), strict=True))

    def only(self, streams: Collection[int]) -> Scale:
        """The same modules for some streams; the others are empty."""
        branches = [branch if k in streams else nn.Identity() for k, branch in enumerate(self.branches)]
        return Scale(branches, [g.only(streams) for g in self.passing() if not set(g.streams).isdisjoint(streams)])

    def add_stream(self, channels: int, *, norm: Norm) -> None:
        """One more stream, in place, which reads all others and is read by none.

        Raises:
            TaskError: the scale is empty, since no task needs it any more.
        """
        whole = next((branch for branch in self.branches if not isinstance(branch, nn.Identity)), None)
        if whole is None:
            raise TaskError("no task is left that reads the features of this scale; build the model anew")
        n_read = len(self.branches) + 1
        if len(self.generations):
            self.generations.append(new_propagation(n_read, channels, first=n_read - 1, norm=norm))
        self.branches.append(fresh_copy(whole))


def new_scale(in_channels: int, channels: int, *, n_streams: int, norm: Norm, is_smallest: bool) -> Scale:
    """A scale with one generation.

    Args:
        in_channels: channels of the encoder's features.
        channels: channels of a stream's features.
        n_streams: number of streams.
        norm: makes the normalisation of a number of channels.
        is_smallest: whether no scale is below.
    """
    generations = [] if is_smallest else [new_propagation(n_streams, channels, first=0, norm=norm)]
    into = in_channels if is_smallest else in_channels + channels
    branches = [
        nn.Sequential(conv_block(into, channels, norm=norm), conv_block(channels, channels, norm=norm))
        for _ in range(n_streams)
    ]
    return Scale(branches, generations)


class Pyramid(nn.Module):
    """Encoder and scales.

    Args:
        stages: stages of the encoder.
        scales: the scales, that of the last stage first.
    """

    def __init__(self, stages: Iterable[nn.Module], scales: Iterable[Scale]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.scales = nn.ModuleList(scales)

    def scale(self, number: int) -> Scale:
        """The scale of a stage."""
        return cast(Scale, self.scales[len(self.stages) - 1 - number])

    def needed(self, wanted: Mapping[int, Collection[int]]) -> list[list[int]]:
        """Per stage, the streams that are computed where some are wanted.

        Args:
            wanted: number of a stage -> streams.
        """
        found = [set(wanted.get(number, ())) for number in range(len(self.stages))]
        for number in range(len(found) - 1):
            if found[number]:
                found[number + 1] |= self.scale(number).reads(found[number])
        return [sorted(streams) for streams in found]

    def only(self, wanted: Mapping[int, Collection[int]]) -> Pyramid:
        """The same modules, without those that nothing wanted needs."""
        needed = self.needed(wanted)
        kept = [number for number, streams in enumerate(needed) if streams]
        return Pyramid(self.stages, [self.scale(number).only(needed[number]) for number in reversed(kept)])

    def forward(self, images: Any, wanted: Mapping[int, Collection[int]]) -> dict[int, dict[int, Tensor]]:
        """Number of a stage -> stream -> features, for what is wanted and what that needs."""
        encoded: list[Tensor] = []
        for stage in self.stages:
            images = stage(images)
            encoded.append(images)
        found: dict[int, dict[int, Tensor]] = {}
        below: dict[int, Tensor] = {}
        for number, streams in reversed(list(enumerate(self.needed(wanted)))):
            if streams:
                below = found[number] = self.scale(number)(encoded[number], below, streams)
        return found
