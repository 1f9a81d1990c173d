# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.losses.absolute_error import AbsoluteError as AbsoluteError
from taskloom.losses.base import Loss as Loss
from taskloom.losses.base import labelled_count as labelled_count
from taskloom.losses.binary_cross_entropy import BinaryCrossEntropy as BinaryCrossEntropy
from taskloom.losses.cross_entropy import CrossEntropy as CrossEntropy
from taskloom.losses.defaults import default_loss as default_loss
from taskloom.losses.huber import Huber as Huber
from taskloom.losses.positions import by_position as by_position
from taskloom.losses.squared_error import SquaredError as SquaredError
from taskloom.losses.task_losses import task_losses as task_losses

__all__ = [
    "AbsoluteError",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Huber",
    "Loss",
    "SquaredError",
    "by_position",
    "default_loss",
    "labelled_count",
    "task_losses",
]
