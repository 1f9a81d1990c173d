"""What is to be mixed: features of one shape, of modules that are not copies of one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError

__all__ = ["FeatureTypeError", "are_copies", "check_alike"]


class FeatureTypeError(TaskError, TypeError):
    """Features that are to be mixed are no tensors."""


def check_alike(features: Sequence[Any], *, architecture: str, stage: int, name: Callable[[int], str]) -> None:
    """Check the outputs of one stage of several networks.

    Args:
        features: one output per network.
        architecture: name of the model, for the message.
        stage: index of the stage, for the message.
        name: index of a network -> what it is called.

    Raises:
        FeatureTypeError: (a TaskError and a TypeError) an output is no tensor.
        TaskError: two outputs differ in shape.
    """
    for network, found in enumerate(features):
        if not isinstance(found, Tensor):
            raise FeatureTypeError(f"{architecture} mixes tensors, stage {stage} returned a {type(found).__name__}")
        if found.shape != features[0].shape:
            raise TaskError(
                f"stage {stage} outputs differ between tasks: {tuple(features[0].shape)} for {name(0)}, "
                f"{tuple(found.shape)} for {name(network)}; features that are mixed need one shape"
            )


def are_copies(modules: Sequence[nn.Module]) -> bool:
    """Whether a module has the very parameters of the first one, so that choosing between them means nothing."""
    first = list(modules[0].parameters())
    return bool(first) and any(_equal(first, list(other.parameters())) for other in modules[1:])


def _equal(first: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return len(first) == len(other) and all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
