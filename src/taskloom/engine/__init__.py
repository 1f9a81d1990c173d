"""Gradients of tasks: how they are measured, and how they become one scalar to differentiate."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Approximation": "replay.engine",
        "AutogradEngine": "autograd",
        "Cost": "base",
        "FeatureEngine": "features",
        "GradientEngine": "base",
        "LastStageEngine": "last_stage",
        "LayerEngine": "layers.engine",
        "Layout": "base",
        "LeanEngine": "lean",
        "LowPrecisionEngine": "low_precision",
        "Measurement": "measure",
        "ShardedEngine": "sharded",
        "SketchedEngine": "sketch",
        "balance": "combine",
        "explain_cost": "explain",
        "measure": "measure",
    },
)
