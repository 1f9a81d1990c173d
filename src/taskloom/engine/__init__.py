"""Gradients of tasks: how they are measured, and how they become one scalar to differentiate."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "AutogradEngine": "autograd",
        "Cost": "base",
        "FeatureEngine": "features",
        "GradientEngine": "base",
        "LayerEngine": "layers.engine",
        "Layout": "base",
        "Measurement": "measure",
        "ShardedEngine": "sharded",
        "balance": "combine",
        "explain_cost": "explain",
        "measure": "measure",
    },
)
