"""Several tasks by weighting samples: every task learns from the samples of all, each weighted by how well it fits."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"TaskReweighting": "reweighting"})
