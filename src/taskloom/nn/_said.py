"""How wide features are, as far as modules say it themselves."""

from __future__ import annotations

from torch import nn

__all__ = ["Width", "said_width", "with_width"]


class Width(nn.Module):
    """Stands for an encoder that says how wide its features are."""

    def __init__(self, out_features: int) -> None:
        super().__init__()
        self.out_features = out_features


def said_width(module: nn.Module) -> int | None:
    """Width of the last part that writes features: its ``out_features`` or ``out_channels``; None where none says."""
    for part in (module, *reversed(list(module.modules()))):
        for name in ("out_features", "out_channels"):
            width = getattr(part, name, None)
            if isinstance(width, int):
                return width
    return None


def with_width(module: nn.Module) -> nn.Module:
    """The module, or what stands for it where only a part of it says the width."""
    width = said_width(module)
    return module if width is None or isinstance(getattr(module, "out_features", None), int) else Width(width)
