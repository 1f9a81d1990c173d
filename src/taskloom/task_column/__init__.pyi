# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.task_column._factors import loss_factors as loss_factors
from taskloom.task_column._validate import PredictRows as PredictRows
from taskloom.task_column._validate import TaskRows as TaskRows
from taskloom.task_column._validate import fit_rows as fit_rows
from taskloom.task_column._validate import predict_rows as predict_rows

__all__ = [
    "PredictRows",
    "TaskRows",
    "fit_rows",
    "loss_factors",
    "predict_rows",
]
