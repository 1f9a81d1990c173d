"""What the oracle builders of all families use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

__all__ = ["Outcome", "Parameters", "Unsupported", "only", "tensor"]

Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """Result of one case.

    Args:
        case: id of the case.
        status: "pass", "fail" or "unsupported".
        reason: what differs or what is missing; empty for a pass.
    """

    case: str
    status: Literal["pass", "fail", "unsupported"]
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.status:<11} {self.case}" + (f": {self.reason}" if self.reason else "")


class Unsupported(Exception):
    """This version cannot run a case; the message says why."""


def only(params: Parameters, *known: str, defaults: Parameters | None = None) -> dict[str, Any]:
    """Parameters with defaults filled in; unknown and missing ones mean an unsupported case."""
    given = {**(defaults or {}), **params}
    if set(params) - set(known) or set(known) - set(given):
        raise Unsupported(f"parameters {sorted(params)}")
    return given


def tensor(values: Any) -> Tensor:
    """Numbers of the file in float64."""
    return torch.tensor(values, dtype=torch.float64)
