"""The mixture of experts: ``f = sum_i q_i E_i``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from taskloom.errors import TaskError

__all__ = ["mix", "mix_apart", "mix_for_gates"]


def mix(experts: Tensor | Sequence[Tensor], weights: Tensor) -> Tensor:
    """Mix the outputs of experts with the weights of one gate.

        f[b] = sum_i q[b, i] E_i[b]

    The experts are added one after the other, so that an expert with weight 0 may be left out without changing a bit.

    Args:
        experts: outputs (n, B, ...), or n tensors (B, ...).
        weights: (B, n).

    Returns:
        (B, ...), in the precision of the experts.

    Raises:
        TaskError: another number of experts or rows than weights.

    Example:
        >>> mix(torch.tensor([[[1.0, 10.0]], [[3.0, 30.0]]]), torch.tensor([[0.5, 0.5]]))
        tensor([[ 2., 20.]])
    """
    parts = experts.unbind(0) if isinstance(experts, Tensor) else tuple(experts)
    if weights.ndim != 2 or len(parts) != weights.shape[1] or parts[0].shape[0] != weights.shape[0]:
        raise TaskError(
            f"{len(parts)} experts of {parts[0].shape[0] if parts else 0} rows need weights of shape (rows, experts), "
            f"found {tuple(weights.shape)}"
        )
    shape = (-1, *[1] * (parts[0].ndim - 1))
    columns = [column.view(shape) for column in weights.to(parts[0].dtype).unbind(1)]
    mixed = columns[0] * parts[0]
    for column, part in zip(columns[1:], parts[1:], strict=True):
        mixed = torch.addcmul(mixed, column, part)
    return mixed


# Below this number of products per row torch's bmm takes a plain loop, which broadcasting beats by 3 (one CPU core).
_SMALL_PRODUCT = 400


def mix_for_gates(experts: Tensor, weights: Tensor) -> Tensor:
    """The mixtures of several gates of the same experts and rows, as one product.

    Args:
        experts: outputs (n, B, ...).
        weights: (G, B, n).

    Returns:
        (G, B, ...).
    """
    flat, weights = experts if experts.ndim == 3 else experts.flatten(2), weights.to(experts.dtype)  # (n, B, d)
    if weights.shape[0] * flat.shape[0] * flat.shape[2] < _SMALL_PRODUCT:
        mixed = (weights.movedim(2, 0).unsqueeze(3) * flat.unsqueeze(1)).sum(0)
    else:
        mixed = torch.bmm(weights.transpose(0, 1), flat.transpose(0, 1)).transpose(0, 1)
    return mixed if experts.ndim == 3 else mixed.reshape(*mixed.shape[:2], *experts.shape[2:])


def mix_apart(experts: Tensor, weights: Tensor) -> Tensor:
    """The mixtures of several gates of the same experts, each on rows of its own.

    Args:
        experts: outputs (n, G * b, ...) on the rows of all gates, one block of b after the other.
        weights: (G, b, n).

    Returns:
        (G, b, ...).
    """
    mixed = mix_for_gates(experts, weights.flatten(0, 1).unsqueeze(0))  # (1, G b, ...)
    return mixed.reshape(*weights.shape[:2], *experts.shape[2:])
