# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.task_column._factors import loss_factors as loss_factors
from taskloom.task_column._numbers import read_table as read_table
from taskloom.task_column._parameters import check_deviation as check_deviation
from taskloom.task_column._parameters import check_flag as check_flag
from taskloom.task_column._parameters import check_number as check_number
from taskloom.task_column._parameters import check_whole as check_whole
from taskloom.task_column._parameters import refuse_unused as refuse_unused
from taskloom.task_column._several_tables import describe_several_tables as describe_several_tables
from taskloom.task_column._several_tables import refuse_several_tables as refuse_several_tables
from taskloom.task_column._validate import PredictRows as PredictRows
from taskloom.task_column._validate import TaskRows as TaskRows
from taskloom.task_column._validate import fit_rows as fit_rows
from taskloom.task_column._validate import predict_rows as predict_rows
from taskloom.task_column.balancing import balanced_weights as balanced_weights
from taskloom.task_column.folds import TaskStratifiedKFold as TaskStratifiedKFold
from taskloom.task_column.labelled_accuracy import labelled_accuracy as labelled_accuracy
from taskloom.task_column.labelled_r2 import labelled_r2 as labelled_r2
from taskloom.task_column.overlap import FeatureOverlap as FeatureOverlap
from taskloom.task_column.overlap import feature_overlap as feature_overlap
from taskloom.task_column.replicates import Replicates as Replicates
from taskloom.task_column.replicates import merge_replicates as merge_replicates
from taskloom.task_column.scaling import TaskStandardScaler as TaskStandardScaler
from taskloom.task_column.scores import TaskScorer as TaskScorer
from taskloom.task_column.scores import make_task_scorer as make_task_scorer
from taskloom.task_column.scores import task_scores as task_scores
from taskloom.task_column.stacking import stack_tasks as stack_tasks
from taskloom.task_column.stacking import unstack_tasks as unstack_tasks

__all__ = [
    "FeatureOverlap",
    "PredictRows",
    "Replicates",
    "TaskRows",
    "TaskScorer",
    "TaskStandardScaler",
    "TaskStratifiedKFold",
    "balanced_weights",
    "check_deviation",
    "check_flag",
    "check_number",
    "check_whole",
    "describe_several_tables",
    "feature_overlap",
    "fit_rows",
    "labelled_accuracy",
    "labelled_r2",
    "loss_factors",
    "make_task_scorer",
    "merge_replicates",
    "predict_rows",
    "read_table",
    "refuse_several_tables",
    "refuse_unused",
    "stack_tasks",
    "task_scores",
    "unstack_tasks",
]
