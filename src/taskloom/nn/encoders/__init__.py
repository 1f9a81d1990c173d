"""Encoders: plain modules that turn inputs into features."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"MLP": "mlp"})
