"""The penalty of sluice networks: the subspaces of a layer should learn different things."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._precision import full_precision, widened

__all__ = ["SubspaceOrthogonality", "last_weight"]


def last_weight(stage: nn.Module) -> Tensor:
    """Weight of the last linear layer or convolution of a stage, in the order in which layers are registered.

    Raises:
        TaskError: the stage has none.
    """
    layers = [part for part in stage.modules() if isinstance(part, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)]
    if not layers:
        raise TaskError(
            f"a stage {type(stage).__name__} has no linear layer and no convolution whose rows could be orthogonal; "
            "say with SubspaceOrthogonality(weights=...) which weight of a stage counts, or pass orthogonality=None"
        )
    return layers[-1].weight


@dataclass(frozen=True)
class SubspaceOrthogonality:
    """Squared products between the rows of a weight that write different subspaces.

        strength * sum over tasks and stages of  sum_(s<u) ||G_s^T G_u||_F^2

    with G_s (C/S, D) the rows that write subspace s; a convolution is flattened to (C, channels in * kernel).

    Args:
        strength: 0 or more; default 1e-3 (our choice; the authors' example has 0.1).
        normalise: divide each term by ``||G_s||^2 ||G_u||^2``, so that it does not shrink with the weights; default
            False.
        weights: stage -> the weight (C, ...) that writes its features; default the last linear layer or convolution.

    Raises:
        TaskError: a negative strength.

    Source:
        S. Ruder, J. Bingel, I. Augenstein, A. Søgaard, Latent Multi-task Architecture Learning, AAAI 2019,
        arXiv:1705.08142; the sum over pairs for more than two subspaces is our choice.

    Example:
        >>> stage = nn.Linear(2, 2, bias=False)
        >>> _ = stage.weight.data.copy_(torch.tensor([[1.0, 0.0], [2.0, 0.0]]))
        >>> SubspaceOrthogonality().overlap([stage], 2)
        tensor(4., grad_fn=<SumBackward0>)
    """

    strength: float = 1e-3
    normalise: bool = False
    weights: Callable[[nn.Module], Tensor] = last_weight

    def __post_init__(self) -> None:
        if not self.strength >= 0:
            raise TaskError(f"the strength of SubspaceOrthogonality must be 0 or more, found {self.strength!r}")

    def check(self, stage: nn.Module, subspaces: int) -> None:
        """Raise a TaskError if the rows of a stage's weight do not divide into subspaces."""
        weight = self.weights(stage)
        if weight.ndim < 2 or weight.shape[0] % subspaces:
            raise TaskError(
                f"a weight {tuple(weight.shape)} does not divide into {subspaces} subspaces of rows; expected a "
                "matrix or a convolution with a multiple of that many rows"
            )

    def overlap(self, stages: Sequence[nn.Module], subspaces: int) -> Tensor:
        """The sum over one stage of all networks, without the strength; scalar.

        Args:
            stages: the same stage of each network.
            subspaces: number of subspaces S.
        """
        weight = widened(torch.stack([self.weights(stage).flatten(1) for stage in stages]))  # (K, C, D)
        with full_precision(weight):
            return self._overlap(weight.view(len(stages), subspaces, -1, weight.shape[2]))

    def _overlap(self, rows: Tensor) -> Tensor:
        """Of rows (K, S, C/S, D)."""
        if rows.shape[2] <= rows.shape[3]:  # ||G^T H||^2 = <G G^T, H H^T>
            grams = (rows @ rows.transpose(2, 3)).flatten(2)  # (K, S, (C/S)^2)
            products = grams @ grams.transpose(1, 2)  # (K, S, S)
        else:
            products = (rows.transpose(2, 3).unsqueeze(2) @ rows.unsqueeze(1)).square().sum((3, 4))
        if self.normalise:
            sizes = rows.square().sum((2, 3))  # (K, S)
            scale = sizes.unsqueeze(2) * sizes.unsqueeze(1)
            products = products / scale.clamp(min=torch.finfo(scale.dtype).tiny)
        return products.triu(1).sum()
