"""Discrete choices that are learned: logits, samples that carry gradients, and the choice in the end."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"Policy": "policy"})
