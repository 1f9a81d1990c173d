"""Heads: from the features of a task to its raw outputs."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "DenseHead": "dense",
        "PooledHead": "pooled",
        "build_head": "default",
        "build_heads": "default",
        "default_head": "default",
        "features_of": "default",
    },
)
