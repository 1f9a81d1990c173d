"""Attention per task on one network: the multi-task attention network."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from _architectures.case import Case, Pair, copy_weights
from _architectures.encoders import ResidualBlock, image_batch, table_batch
from taskloom.nn import CNN, MTAN, ImageAttention, PositionMask
from taskloom.task import Regression, Task

__all__ = ["CASES"]

Pairs = list[tuple[nn.Module, nn.Module]]


class LoopedAttention(nn.Module):
    """As multi-task libraries usually write it: at every stage, one task after the other.

    A task joins its own features to those of the stage, masks them, and refines and pools the result for the next
    stage. Masks are convolutions, images have the usual layout.
    """

    def __init__(self, pairs: Pairs, masks: Sequence[Sequence[nn.Module]], links: Sequence[nn.Module]) -> None:
        super().__init__()
        self.bodies = nn.ModuleList(body for body, _ in pairs)
        self.lasts = nn.ModuleList(last for _, last in pairs)
        self.masks = nn.ModuleList(nn.ModuleList(row) for row in masks)  # stage, task
        self.links = nn.ModuleList(links)
        self.heads = nn.ModuleList()

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        features: list[Tensor] = []
        for number, (body, last) in enumerate(zip(self.bodies, self.lasts)):
            body_output = body(inputs)
            inputs = last(body_output)
            previous, features = features, []
            for task, mask in enumerate(self.masks[number]):
                joined = body_output
                if number:
                    own = self.links[number - 1](previous[task])
                    if own.ndim == 4 and own.shape[2:] != body_output.shape[2:]:
                        own = F.max_pool2d(own, 2)
                    joined = torch.cat([body_output, own], dim=1)
                features.append(mask(joined) * inputs)
        rows = [part.mean((2, 3)) if part.ndim == 4 else part for part in features]
        return {f"task {k}": head(row) for k, (head, row) in enumerate(zip(self.heads, rows))}


def looped(model: MTAN, pairs: Pairs, mask_of: Callable[[PositionMask], nn.Module]) -> LoopedAttention:
    """The network of a model as loops, with the same weights."""
    levels = list(model.levels)
    masks = [[mask_of(mask) for mask in level.masks] for level in levels]
    links = [nn.Sequential(level.refines[0], level.norms[0]) for level in levels[1:]]
    copies = [copy.deepcopy(link) for link in links]
    peer = LoopedAttention(pairs, masks, copies)
    for level, body, last in zip(levels, peer.bodies, peer.lasts):
        copy_weights(level.body, body)
        copy_weights(level.last, last)
    for head in model.heads:
        peer.heads.append(copy.deepcopy(getattr(head, "head", head)))
    return peer


def as_convolutions(mask: PositionMask) -> nn.Module:
    into, inner, out = mask.first.in_features, mask.first.out_features, mask.second.out_features
    layers = nn.Sequential(
        nn.Conv2d(into, inner, 1),
        nn.BatchNorm2d(inner),
        nn.ReLU(inplace=True),
        nn.Conv2d(inner, out, 1),
        nn.BatchNorm2d(out),
        nn.Sigmoid(),
    )
    for layer, own in zip((layers[0], layers[3]), (mask.first, mask.second)):
        copy_weights_of_convolution(own, layer)
    return layers


def copy_weights_of_convolution(source: nn.Linear, destination: nn.Module) -> None:
    destination.load_state_dict({"weight": source.weight[:, :, None, None], "bias": source.bias})


def as_linear_layers(mask: PositionMask) -> nn.Module:
    parts = (copy.deepcopy(part) for part in (mask.first, mask.first_norm, mask.second, mask.second_norm))
    first, first_norm, second, second_norm = parts
    return nn.Sequential(first, first_norm, nn.ReLU(inplace=True), second, second_norm, nn.Sigmoid())


def tasks_of(n_tasks: int) -> list[Task]:
    return [Task(name=f"task {k}", kind=Regression()) for k in range(n_tasks)]


def small_pairs() -> Pairs:
    return CNN(3, (16, 32, 64)).pairs()


def residual_pairs(channels: Sequence[int] = (16, 32, 64)) -> Pairs:
    stem = nn.Sequential(nn.Conv2d(3, channels[0], 3, 1, 1, bias=False), nn.BatchNorm2d(channels[0]), nn.ReLU())
    pairs: Pairs = []
    for before, width in itertools.pairwise([channels[0], *channels]):
        first = ResidualBlock(before, width, 1 if before == width else 2)
        pairs.append((first, ResidualBlock(width, width, 1)))
    pairs[0] = (nn.Sequential(stem, pairs[0][0]), pairs[0][1])
    return pairs


def row_pairs(widths: Sequence[int]) -> Pairs:
    def layer(into: int, out: int) -> nn.Module:
        return nn.Sequential(nn.Linear(into, out), nn.ReLU())

    return [(layer(into, out), layer(out, out)) for into, out in itertools.pairwise(widths)]


def image_case(pairs: Callable[[], Pairs], *, n_rows: int, size: int, reduction: int = 1) -> Callable[[int], Pair]:
    def make(n_tasks: int) -> Pair:
        images = image_batch(n_rows, size)
        attention = ImageAttention(reduction=reduction)
        model = MTAN(pairs(), tasks_of(n_tasks), attention=attention, example=images)
        return Pair(ours=model, peer=looped(model, pairs(), as_convolutions), inputs=images)

    return make


def row_case(*widths: int) -> Callable[[int], Pair]:
    def make(n_tasks: int) -> Pair:
        rows = table_batch(n_features=widths[0])
        model = MTAN(row_pairs(widths), tasks_of(n_tasks), example=rows)
        return Pair(ours=model, peer=looped(model, row_pairs(widths), as_linear_layers), inputs=rows)

    return make


CASES = [
    Case(name="MTAN, CNN, 16 images of 32", make=image_case(small_pairs, n_rows=16, size=32), target=1.3),
    Case(name="MTAN, CNN, 64 images of 16", make=image_case(small_pairs, n_rows=64, size=16), target=1.3),
    Case(
        name="MTAN, ResNet, 16 images of 32",
        make=image_case(residual_pairs, n_rows=16, size=32, reduction=4),
        target=1.3,
    ),
    Case(name="MTAN, MLP of 32, 128 rows", make=row_case(64, 32, 32, 32)),
    Case(name="MTAN, MLP of 128, 128 rows", make=row_case(64, 128, 128, 128)),
]
