"""The error for asking feature-level gradients of a model that has no cut."""

from __future__ import annotations

from taskloom.errors import EngineError

__all__ = ["NoCommonFeature"]


class NoCommonFeature(EngineError):
    """The model has no feature tensor that all shared parameters feed.

    Feature-level gradients stand for parameter gradients only where every path from a shared parameter to an output
    passes through the same tensors and no shared parameter lies behind them. Use parameter gradients elsewhere.

    Example:
        >>> issubclass(NoCommonFeature, EngineError)
        True
    """
