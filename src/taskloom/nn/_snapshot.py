"""Former values of parameters, and how far the parameters have moved since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Snapshot"]


class Snapshot(nn.Module):
    """Copies of parameters by name, which travel with the state of the model.

    Attributes:
        task: index of the task that is training against the copies; -1: none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.task = -1
        self._places: dict[str, str] = {}

    @torch.no_grad()
    def take(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Copy the values of parameters."""
        for name, parameter in parameters.items():
            place = self._places.setdefault(name, f"value_{len(self._places)}")
            if place in self._buffers and getattr(self, place).shape == parameter.shape:
                getattr(self, place).copy_(parameter)
            else:
                self.register_buffer(place, parameter.detach().clone())

    def distance(self, parameters: Mapping[str, nn.Parameter], strengths: Mapping[str, float]) -> Tensor:
        """``sum strength * ||theta - theta'||^2``, a scalar."""
        terms = [
            strengths[name] * (parameter - getattr(self, self._places[name])).square().sum()
            for name, parameter in parameters.items()
        ]
        return sum(terms[1:], start=terms[0]) if terms else torch.zeros(())

    def forget(self) -> None:
        """Drop all copies."""
        for place in self._places.values():
            delattr(self, place)
        self._places = {}
        self.task = -1

    def get_extra_state(self) -> Any:
        """Which task trains against the copies."""
        return torch.tensor(self.task)

    def set_extra_state(self, state: Any) -> None:
        """Take up what :meth:`get_extra_state` gave."""
        self.task = int(state)
