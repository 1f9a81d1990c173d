"""The candidates of ``architectures_on_data.py`` on Omniglot: one small network, shared in several ways."""

from __future__ import annotations

from collections.abc import Callable

import torch
from _plans import Alone, Network, candidate
from torch import nn

import taskloom as tl
from taskloom.nn import CrossStitch, FactorisedNetworks, HardSharing, SoftOrdering, TensorFactorised
from taskloom.nn.factors import TensorTrain, Tucker
from taskloom.nn.model import MultiTaskModel
from taskloom.study.plans._networks import Shape
from taskloom.study.space import Choice, LogRange, Parameter

__all__ = ["candidates"]

_CHANNELS = (8, 12, 16)
_FEATURES = 64
_ORDERED = 16  # channels of the layers of soft ordering, which have one width
_USUAL: tuple[Parameter, ...] = (
    LogRange("learning_rate", 1e-3, 1e-2, default=3e-3),
    LogRange("weight_decay", 1e-3, 1.0, default=3e-2),
)
_RANK = Choice("rank", (4, 8, 16), default=8, structural=True)
_ERROR = Choice("error", (0.1, 0.3), default=0.1, structural=True)  # sets the ranks


def _side(shape: Shape) -> int:
    return round(shape.n_inputs**0.5)


def _stages(shape: Shape) -> list[nn.Module]:
    """Three convolutions of 5x5, 3x3 and 3x3, each with pooling, and a layer of 64, as in Yang & Hospedales (2017)."""
    side, (first, second, third) = _side(shape), _CHANNELS
    return [
        nn.Sequential(nn.Unflatten(1, (1, side, side)), *_convolution(1, first, 5)),
        nn.Sequential(*_convolution(first, second, 3)),
        nn.Sequential(*_convolution(second, third, 3)),
        nn.Sequential(nn.Flatten(), nn.Linear(third * (side // 8) ** 2, _FEATURES), nn.ReLU()),
    ]


def _convolution(before: int, after: int, size: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, size, padding=size // 2), nn.ReLU(), nn.MaxPool2d(2)]


def _encoder(shape: Shape) -> nn.Module:
    return nn.Sequential(*_stages(shape))


def _example(shape: Shape) -> torch.Tensor:
    return torch.zeros(2, shape.n_inputs)


def _hard(shape: Shape) -> MultiTaskModel:
    return HardSharing(_encoder(shape), shape.tasks, example=_example(shape))


def _cross_stitch(shape: Shape) -> MultiTaskModel:
    return CrossStitch(lambda: _stages(shape), shape.tasks, example=_example(shape))


def _tucker(shape: Shape) -> MultiTaskModel:
    return _factorised(shape, Tucker(rank=int(shape.settings["rank"])))


def _tensor_train(shape: Shape) -> MultiTaskModel:
    return _factorised(shape, TensorTrain(rank=int(shape.settings["rank"])))


def _factorised(shape: Shape, factorisation: Tucker | TensorTrain) -> MultiTaskModel:
    return TensorFactorised(lambda: _encoder(shape), shape.tasks, factorisation=factorisation, example=_example(shape))


def _trained_tucker(shape: Shape) -> MultiTaskModel:
    return _trained(shape, Tucker(rank=float(shape.settings["error"])))


def _trained_tensor_train(shape: Shape) -> MultiTaskModel:
    return _trained(shape, TensorTrain(rank=float(shape.settings["error"])))


def _trained(shape: Shape, factorisation: Tucker | TensorTrain) -> MultiTaskModel:
    return FactorisedNetworks(
        lambda: _encoder(shape), shape.tasks, factorisation=factorisation, single_epochs=15, example=_example(shape)
    )


def _soft_ordering(shape: Shape) -> MultiTaskModel:
    """Three common convolutions of 3x3 at three depths; behind them a layer of 64 of every task's own."""
    side = _side(shape)
    stem = nn.Sequential(
        nn.Unflatten(1, (1, side, side)), nn.Conv2d(1, _ORDERED, 5, padding=2), nn.ReLU(), nn.MaxPool2d(4)
    )
    n_features = _ORDERED * (side // 8) ** 2
    heads = {
        task.name: nn.Sequential(
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(n_features, _FEATURES),
            nn.ReLU(),
            nn.Linear(_FEATURES, task.kind.n_outputs),
        )
        for task in shape.tasks
    }
    return SoftOrdering(lambda: nn.Conv2d(_ORDERED, _ORDERED, 3, padding=1), shape.tasks, stem=stem, heads=heads)


def candidates(schedule: tl.Schedule, *, stitched: bool) -> list[tl.Candidate]:
    """All candidates; cross-stitch networks only where the tasks are few: every picture goes through all networks."""

    def network(name: str, title: str, model: Callable[[Shape], MultiTaskModel], *extra: Parameter) -> tl.Candidate:
        return candidate(name, title, Network(model, (*_USUAL, *extra), schedule))

    found = [
        candidate("single_task", "single task", Alone(_hard, _USUAL, schedule)),
        network("hard_sharing", "hard sharing", _hard),
    ]
    found += [network("cross_stitch", "cross-stitch", _cross_stitch)] if stitched else []
    return [
        *found,
        network("tucker", "Tucker", _tucker, _RANK),
        network("tensor_train", "tensor train", _tensor_train, _RANK),
        network("trained_tucker", "Tucker, networks trained first", _trained_tucker, _ERROR),
        network("trained_tensor_train", "tensor train, networks trained first", _trained_tensor_train, _ERROR),
        network("soft_ordering", "soft ordering", _soft_ordering),
    ]
