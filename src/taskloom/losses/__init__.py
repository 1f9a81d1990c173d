"""Losses: one object per loss, masked, and one stacked call for many tasks.

:func:`default_loss` gives the loss of a kind of task; :func:`task_losses` evaluates the losses of all tasks of a batch.
"""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "AbsoluteError": "absolute_error",
        "BinaryCrossEntropy": "binary_cross_entropy",
        "CrossEntropy": "cross_entropy",
        "Huber": "huber",
        "Loss": "base",
        "SquaredError": "squared_error",
        "by_position": "positions",
        "default_loss": "defaults",
        "labelled_count": "base",
        "task_losses": "task_losses",
    },
)
