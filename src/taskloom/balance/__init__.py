"""Balancing: how the gradients of several tasks become one. Every method is a chain of small links.

:func:`taskloom.balance.chain` composes links; a paper's name (``pcgrad``, ``uncertainty``) is a function that returns
its chain.
"""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Balancer": "base",
        "Combination": "flow",
        "Flow": "flow",
        "Link": "base",
        "Mix": "base",
        "Need": "flow",
        "Reduce": "base",
        "RowRule": "base",
        "Rows": "flow",
        "Scale": "base",
        "Signals": "flow",
        "chain": "base",
        "equal": "reduce.sum",
        "every": "wrap.every",
        "fixed": "scale.fixed",
        "mean": "reduce.mean",
        "pcgrad": "mix.pcgrad",
        "project_conflicts": "mix.pcgrad",
        "scale_by": "scale.fixed",
        "sum_": "reduce.sum",
        "uncertainty": "scale.uncertainty",
    },
)
