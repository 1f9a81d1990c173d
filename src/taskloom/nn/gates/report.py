"""What the gates of a network say together: their penalties, how they weighed the rows they saw last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from taskloom.nn.gates.gate import Gate

__all__ = ["describe_gates", "gate_penalties", "watched"]


def gate_penalties(gates: Iterable[Gate]) -> dict[str, Tensor]:
    """Penalties of gates by name, each summed over the gates."""
    total: dict[str, Tensor] = {}
    for gate in gates:
        for name, value in gate.penalties().items():
            total[name] = total[name] + value if name in total else value
    return total


def describe_gates(gates: Sequence[nn.Module | None]) -> list[dict[str, Any]]:
    """Mean weights and mean entropy (nats) of each gate over the rows it saw last in training; None before the first.

    Where there is one expert and so no gate, the weight is 1.
    """
    return [_described(gate) for gate in gates]


def _described(gate: nn.Module | None) -> dict[str, Any]:
    if not isinstance(gate, Gate):
        return {"weights": [1.0], "entropy": 0.0}
    weights, entropy = gate.last_weights, gate.last_entropy
    return {
        "weights": None if weights is None else weights.tolist(),
        "entropy": None if entropy is None else entropy.item(),
    }


@contextmanager
def watched(network: nn.Module, gates: Mapping[str, Sequence[Gate | None]]) -> Iterator[dict[str, list[Tensor]]]:
    """Evaluation mode without gradients; afterwards the dictionary holds the weights (n, experts) of each gate called.

    Args:
        network: put in evaluation mode, and back.
        gates: gates by name; a missing one is left out.
    """
    outputs: dict[int, Tensor] = {}
    found: dict[str, list[Tensor]] = {}

    def keep(gate: nn.Module, inputs: Any, output: Tensor) -> None:
        outputs[id(gate)] = output

    there = [gate for each in gates.values() for gate in each if gate is not None]
    handles = [gate.register_forward_hook(keep) for gate in there]
    modes = [(part, part.training) for part in network.modules()]
    try:
        network.eval()
        with torch.no_grad():
            yield found
        for name, each in gates.items():
            found[name] = [outputs[id(gate)] for gate in each if gate is not None]
    finally:
        for handle in handles:
            handle.remove()
        for part, training in modes:
            part.training = training
