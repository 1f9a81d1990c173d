"""K copies of an encoder in stages: how they are built, and how wide the features behind each stage are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._chains import chain_of
from taskloom.nn.adapters import build_copies
from taskloom.nn.parallel import Parallel

__all__ = ["Stages", "build_stages", "stage_widths"]

Stages = nn.Module | Sequence[nn.Module | Callable[[], nn.Module]] | Callable[[], nn.Module | Sequence[nn.Module]]

LOOP_UP_TO = 16
"""Up to this number of networks a stage is computed in a loop, unless it is a small chain of linear layers.

Measured on one CPU core: convolutions (16 images, 32 x 32, 16 to 64 channels) of 10 networks take 25 % longer by
``vmap``, of 2 and 5 networks the two are even; linear layers by ``vmap`` take 20 to 45 % longer with 6 networks and are
even from 14 on.
"""

SMALL = 50_000
"""Chains of linear layers with at most this number of parameters are left to :class:`Parallel`.

Its products need the weights of all networks in one tensor. Measured on one CPU core, whole steps of 10 cross-stitched
networks: layers 64 -> 64 take 3.1 ms looped and 2.7 ms so, 128 -> 128 8.9 and 8.7 ms, 512 -> 512 122 and 139 ms.
"""

_KEEP_WIDTH = (
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout,
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid,
    nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Softsign, nn.Softmax, nn.LayerNorm, nn.GroupNorm,
    nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm,
    nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd, nn.modules.pooling._AdaptiveAvgPoolNd,
)  # fmt: skip


def build_stages(stages: Stages, n_copies: int, *, same_start: bool) -> nn.ModuleList:
    """Build K encoders; returned by stage, each stage a :class:`Parallel` of K modules.

    Args:
        stages: an ``nn.Sequential`` whose children are the stages, or an encoder with a method ``stages()``; or the
            stages in order, each a module (copied and re-initialised for every network) or a function that builds one;
            or a function that builds the stages, or such an encoder, of one network.
        n_copies: number of networks.
        same_start: give all networks the weights of the first.

    Raises:
        TaskError: no stages, an encoder that is no sequence of stages, or factories that repeat themselves.
    """
    if callable(stages) and not isinstance(stages, nn.Module):
        networks = build_copies(_network_factory(stages), n_copies, same=same_start)
        columns = [list(network.children()) for network in networks]
        _check_lengths([len(column) for column in columns])
        built = [Parallel(column[depth] for column in columns) for depth in range(len(columns[0]))]
    else:
        built = [build_copies(stage, n_copies, what="stage", same=same_start) for stage in _cut(stages)]
    if not built:
        raise TaskError("the encoder has no stages; give at least one")
    for stage in built:
        if chain_of(stage[0]) is None or sum(parameter.numel() for parameter in stage[0].parameters()) > SMALL:
            stage.loop_up_to = LOOP_UP_TO
            stage.chain_from = LOOP_UP_TO + 1
    return nn.ModuleList(built)


def _cut(stages: Any) -> list[Any]:
    """The stages of what is a list of them or an encoder that says what they are."""
    if not isinstance(stages, nn.Module):
        return list(stages)
    if isinstance(stages, nn.ModuleList) or type(stages).forward is nn.Sequential.forward:
        return list(stages.children())
    if callable(own := getattr(stages, "stages", None)):
        return list(own())
    raise TaskError(
        f"{type(stages).__name__} is no sequence of stages; cut it with stages_of(encoder, cuts=[...]), or give a list "
        "of stages"
    )


def _network_factory(make: Callable[[], Any]) -> Callable[[], nn.Module]:
    return lambda: nn.ModuleList(_cut(make()))


def _check_lengths(lengths: Sequence[int]) -> None:
    if len(set(lengths)) > 1:
        raise TaskError(f"the encoder factory returned networks of {sorted(set(lengths))} stages; expected one number")


def stage_widths(
    network: Sequence[nn.Module], *, channels: Sequence[int] | None, example: Any, dimension: int
) -> list[int | None]:
    """Number of channels behind each stage: as given, from a dry run, or as far as the layers tell.

    Args:
        network: the stages of one network.
        channels: the numbers, if the user gives them.
        example: sample input of the encoder.
        dimension: axis of the channels.

    Raises:
        TaskError: as many numbers are given as there are no stages.
    """
    if channels is not None:
        if len(channels) != len(network):
            raise TaskError(f"channels has {len(channels)} numbers, but the encoder has {len(network)} stages")
        return list(channels)
    if example is not None:
        return _widths_of_run(network, example, dimension)
    return [_width_of(stage) for stage in network]


def _widths_of_run(network: Sequence[nn.Module], example: Any, dimension: int) -> list[int | None]:
    modes = [(part, part.training) for stage in network for part in stage.modules()]
    widths: list[int | None] = []
    features = example
    try:
        with torch.no_grad():
            for stage in network:
                features = stage.eval()(features)
                widths.append(features.shape[dimension % features.ndim] if isinstance(features, Tensor) else None)
    finally:
        for part, training in modes:
            part.training = training
    return widths


def _width_of(module: nn.Module) -> int | None:
    """Number of output channels, where the layers leave no doubt."""
    for name in ("out_features", "out_channels", "embedding_dim"):
        if isinstance(width := getattr(module, name, None), int):
            return width
    if type(module).forward is nn.Sequential.forward:
        for child in reversed(list(module.children())):
            if not isinstance(child, _KEEP_WIDTH):
                return _width_of(child)
    return None
