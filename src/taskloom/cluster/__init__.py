"""Clusters of rows of several tasks, found together."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"SharedSubspaceClustering": "shared_subspace"})
