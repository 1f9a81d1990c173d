"""Regularised risk with certificates: data, risks, penalties, and solvers that stop at a duality gap."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "EntryNorm": "penalties.entry",
        "Penalty": "penalties.base",
        "Solution": "data",
        "TaskData": "data",
    },
)
