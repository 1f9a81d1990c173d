"""Penalties that tie the parameters of several tasks to each other."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "CentreDistance": "softshare",
        "GraphDistance": "softshare",
        "PairwiseDistance": "softshare",
        "ParameterCoupling": "base",
        "TraceNorm": "trace",
    },
)
