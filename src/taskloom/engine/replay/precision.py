"""Which precision a replay runs in: bfloat16 where that is quicker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from taskloom.engine.layers.graph import Graph
from taskloom.engine.layers.proofs import Layer
from taskloom.errors import EngineError

__all__ = ["no_gain", "quick_precision", "read_precision"]

_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")
_FEW_CHANNELS = 16


def read_precision(owner: str, precision: torch.dtype | None) -> torch.dtype | None:
    """A precision that a caller asked for.

    Raises:
        EngineError: a type in which gradients cannot be propagated.
    """
    if precision not in (None, torch.bfloat16, torch.float32, torch.float64):
        raise EngineError(
            f"{owner}: precision must be torch.bfloat16, torch.float32, torch.float64 or None, found {precision!r}; "
            "float16 is too short of exponents for gradients that nobody scales"
        )
    return precision


def quick_precision(device: torch.device) -> torch.dtype | None:
    """bfloat16 where the device multiplies it faster than float32, else None."""
    if device.type == "cuda":
        is_quick = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        known: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
        is_quick = any(known.get(name, False) for name in _INSTRUCTIONS)
    return torch.bfloat16 if is_quick else None


def no_gain(graph: Graph, layers: Sequence[Layer]) -> str:
    """Why a replay is no quicker than autograd; empty where it is. Measured on CPUs."""
    for layer in layers:
        if layer.kind != "convolution" or layer.weight.device.type != "cpu" or layer.weight.shape[1] >= _FEW_CHANNELS:
            continue
        if any(graph.inputs[call.node][0][0] is not None for call in layer.calls):
            return "convolutions of few channels are no quicker by replay on a CPU"
    return ""
