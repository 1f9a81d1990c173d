"""Features of one task that read those of others, and what networks with initial predictions have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from taskloom.nn.heads.dense import DenseHead
from taskloom.task import Task

__all__ = ["Reader", "dense_head", "initial_task"]


class Message(nn.Module):
    """What one task takes from the features of another: ``sigmoid(W_g * F) * (W_f * F)``, 3x3 convolutions, no bias.

    Both are computed as one convolution.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate_and_value = nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(n, C, h, w) -> (n, C, h, w)."""
        both: Tensor = self.gate_and_value(features)
        gate, value = both.chunk(2, dim=1)
        return gate.sigmoid() * value


class Reader(nn.Module):
    """Own features plus a message from each of the others: ``F_0 + sum_k message_k(F_k)``.

    Args:
        sources: which features are read; the first are the reader's own.
        channels: number of channels of all of them.
    """

    def __init__(self, sources: Sequence[int], channels: int) -> None:
        super().__init__()
        self.sources = list(sources)
        self.messages = nn.ModuleList(Message(channels) for _ in self.sources[1:])

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Sum of own features and messages.

        Args:
            features: those of the sources, in their order.
        """
        total = features[0]
        for message, other in zip(self.messages, features[1:], strict=True):
            total = total + message(other)
        return total


def initial_task(task: Task, label: str = "") -> Task:
    """The task of the initial prediction: same target and kind, auxiliary, with a name of its own."""
    return replace(task, name=f"aux/{label}{task.name}", target=task.column, auxiliary=True)


def dense_head(task: Task, channels: int, *, image: Sequence[int], features: Sequence[int]) -> DenseHead:
    """A head from features of one size to outputs in the size of the image.

    Args:
        task: says the number of outputs.
        channels: channels of the features.
        image: (height, width) of the sample image.
        features: (height, width) of its features.
    """
    (height, width), (own_height, own_width) = image, features
    scale = height // own_height
    if (own_height * scale, own_width * scale) == (height, width):
        return DenseHead(channels, task.kind.n_outputs, scale=scale)
    return DenseHead(channels, task.kind.n_outputs, size=(height, width))
