"""Find out what the stages of an encoder give, by running them once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn.encoders._carry import State, opened

__all__ = ["dry_run"]


def dry_run(stages: Sequence[nn.Module], example: Any) -> list[torch.Size]:
    """Shapes of the features behind each stage.

    The stages run one after the other in evaluation mode and without gradients; they keep their mode and statistics.

    Args:
        stages: modules whose composition is an encoder. A stage may give a tuple, whose first item are the features.
        example: input of the first stage, one row or more.

    Returns:
        the shapes, one per stage.

    Raises:
        TaskError: a stage gives no tensor.

    Example:
        >>> from taskloom.nn import CNN
        >>> dry_run(list(CNN(3, (4, 8))), torch.zeros(1, 3, 16, 16))
        [torch.Size([1, 4, 16, 16]), torch.Size([1, 8])]
    """
    modes = [(part, part.training) for stage in stages for part in stage.modules()]
    shapes = []
    state: State = example
    try:
        with torch.no_grad():
            for number, stage in enumerate(stages):
                state = stage.eval()(state)
                features = opened(state)[0] if isinstance(state, Tensor | tuple) else state
                if not isinstance(features, Tensor):
                    raise TaskError(
                        f"stage {number} returned a {type(state).__name__}; give stages that return a tensor, or a "
                        "tuple whose first item is one"
                    )
                shapes.append(features.shape)
    finally:
        for part, training in modes:
            part.training = training
    return shapes
