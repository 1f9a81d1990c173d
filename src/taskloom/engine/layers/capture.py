"""Inputs of layers as autograd keeps them for its own backward pass: nothing is recorded a second time.

Autograd says which tensors an operation has saved (attributes ``_saved_...``, described in PyTorch's notes on autograd)
and raises when one of them was changed in place since, or when the graph was freed.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

__all__ = ["is_stored_elsewhere", "right_factor", "saved"]


def saved(node: Any, name: str) -> Tensor:
    """A tensor that an operation has saved, without its history.

    Raises:
        RuntimeError: it was changed in place since, or the graph was freed; as autograd raises.
    """
    found: Tensor = getattr(node, f"_saved_{name}")
    return found.detach()


def is_stored_elsewhere(node: Any, name: str) -> bool:
    """Whether hooks keep the tensor in another form: checkpointing computes it anew whenever somebody looks."""
    raw = getattr(node, f"_raw_saved_{name}", None)
    return getattr(raw, "unpack_hook", None) is not None


def right_factor(node: Any, position: int) -> str | None:
    """Name under which a matrix product x W, in which x is one of its inputs, has saved W; None for other operations.

    The gradient of x is then that of the result times W^T.
    """
    if (name := node.name(), position) not in (("AddmmBackward0", 1), ("MmBackward0", 0)):
        return None
    if is_stored_elsewhere(node, "mat2") or (name == "AddmmBackward0" and node._saved_alpha != 1):
        return None
    return None if node._input_metadata[0].dtype.is_complex else "mat2"
