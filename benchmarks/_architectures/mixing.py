"""Networks that mix the features of one encoder per task: cross-stitch (per scalar, per channel) and NDDR.

The peers loop over tasks and stages and add up the mixture term by term, with all units of a network in one parameter
(units, K, K), as multi-task libraries do.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import taskloom as tl
from _architectures.case import Case, Pair
from _architectures.encoders import conv_stages, image_batch, mlp_stages, residual_stages, table_batch

__all__ = ["CASES"]

Make = Callable[[], list[nn.Module]]


class StitchLoop(nn.Module):
    """Cross-stitch networks with a loop over stages, tasks and terms of the mixture.

    Args:
        networks: per task, the stages.
        weights: per unit, behind the first stages, weights (K, K) or (K, K, C).
        heads: per task.
    """

    def __init__(
        self, networks: Sequence[Sequence[nn.Module]], weights: Sequence[Tensor], heads: Sequence[nn.Module]
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(nn.ModuleList(stages) for stages in networks)
        self.n_units = len(weights)
        self.heads = nn.ModuleList(heads)
        self.hold(weights)

    def hold(self, weights: Sequence[Tensor]) -> None:
        is_one_shape = len({weight.shape for weight in weights}) == 1
        self.weights = nn.Parameter(torch.stack(list(weights))) if is_one_shape else nn.ParameterList(weights)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        tasks = range(len(self.networks))
        features = [inputs] * len(tasks)
        for place in range(len(self.networks[0])):
            features = [self.networks[task][place](features[task]) for task in tasks]
            if place < self.n_units:
                features = [self.mixed(place, task, features) for task in tasks]
        return {f"t{task}": head(features[task]) for task, head in enumerate(self.heads)}

    def mixed(self, place: int, task: int, features: Sequence[Tensor]) -> Tensor:
        return sum(self.weight(place, task, other, feature.ndim) * feature for other, feature in enumerate(features))

    def weight(self, place: int, task: int, other: int, n_axes: int) -> Tensor:
        weight = self.weights[place][task][other]
        return weight.view(-1, 1, 1) if weight.ndim and n_axes == 4 else weight


class FuseLoop(StitchLoop):
    """NDDR without normalisation: for each task a 1x1 convolution on the concatenation."""

    def hold(self, weights: Sequence[Tensor]) -> None:
        rows = [nn.ParameterList(weight.unbind()) for weight in weights]
        self.weights = nn.ModuleList(rows)

    def mixed(self, place: int, task: int, features: Sequence[Tensor]) -> Tensor:
        together, weight = torch.cat(list(features), 1), self.weights[place][task]
        if together.ndim == 2:
            return torch.relu(nn.functional.linear(together, weight))
        return torch.relu(nn.functional.conv2d(together, weight[:, :, None, None]))


def tasks_of(n_tasks: int) -> list[tl.Task]:
    return [tl.Task(name=f"t{task}", kind=tl.Regression()) for task in range(n_tasks)]


def pair(model: Any, loop: type[StitchLoop], inputs: Tensor) -> Pair:
    """The model and a loop with copies of its weights."""
    copied = model.export()
    networks = list(zip(*copied.stages, strict=True))
    weights = [unit.weight.detach().clone() for unit in copied.units]
    peer = loop(networks, weights, list(copied.heads))
    floor = copy.deepcopy(peer)
    floor.n_units = 0  # the encoders and heads alone
    return Pair(model, peer, inputs, floor=floor)


def stitched(make: Make, inputs: Callable[[], Tensor], **settings: Any) -> Callable[[int], Pair]:
    def build(n_tasks: int) -> Pair:
        batch = inputs()
        model = tl.CrossStitch(make, tasks_of(n_tasks), example=batch[:2], **settings)
        return pair(model, StitchLoop, batch)

    return build


def fused(make: Make, inputs: Callable[[], Tensor]) -> Callable[[int], Pair]:
    def build(n_tasks: int) -> Pair:
        batch = inputs()
        return pair(tl.NDDR(make, tasks_of(n_tasks), example=batch[:2], norm=None), FuseLoop, batch)

    return build


def small_table() -> Tensor:
    return table_batch(64, 16)


def small_mlp() -> list[nn.Module]:
    return mlp_stages((16, 64, 64, 64))


def wide_table() -> Tensor:
    return table_batch(256)


def wide_mlp() -> list[nn.Module]:
    return mlp_stages((64, 512, 512, 512))


CASES = [
    Case("cross-stitch, MLP 3x64", stitched(small_mlp, small_table), target=1.3),
    Case("cross-stitch, MLP 3x128", stitched(mlp_stages, table_batch), target=1.3),
    Case("cross-stitch, MLP 3x512", stitched(wide_mlp, wide_table), target=1.3),
    Case("cross-stitch per channel, MLP 3x128", stitched(mlp_stages, table_batch, per="channel"), target=1.3),
    Case("cross-stitch, convolutions", stitched(conv_stages, image_batch), target=1.3),
    Case("cross-stitch per channel, conv.", stitched(conv_stages, image_batch, per="channel"), target=1.3),
    Case("cross-stitch, residual network", stitched(residual_stages, image_batch), target=1.3),
    Case("NDDR, MLP 3x128", fused(mlp_stages, table_batch)),
]
