# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.fit.checkpoint import load as load
from taskloom.fit.checkpoint import save as save
from taskloom.fit.fit import fit as fit
from taskloom.fit.result import FitResult as FitResult
from taskloom.fit.result import History as History
from taskloom.fit.train import train as train
from taskloom.fit.trainer import TrainerOptions as TrainerOptions
from taskloom.fit.training import Objective as Objective
from taskloom.fit.training import OptimiserSettings as OptimiserSettings
from taskloom.fit.training import Schedule as Schedule
from taskloom.fit.training import Training as Training

__all__ = [
    "FitResult",
    "History",
    "Objective",
    "OptimiserSettings",
    "Schedule",
    "TrainerOptions",
    "Training",
    "fit",
    "load",
    "save",
    "train",
]
