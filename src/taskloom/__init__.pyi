# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom import couplings as couplings
from taskloom import data as data
from taskloom import engine as engine
from taskloom import losses as losses
from taskloom import metrics as metrics
from taskloom import nn as nn
from taskloom import report as report
from taskloom import study as study
from taskloom import testing as testing
from taskloom.balance.base import chain as chain
from taskloom.balance.mix.pcgrad import pcgrad as pcgrad
from taskloom.balance.reduce.sum import equal as equal
from taskloom.balance.scale.fixed import fixed as fixed
from taskloom.balance.scale.uncertainty import uncertainty as uncertainty
from taskloom.data.multitask import MultiTaskData as MultiTaskData
from taskloom.data.split import GroupedSplit as GroupedSplit
from taskloom.data.split import RandomSplit as RandomSplit
from taskloom.data.split import TimeSplit as TimeSplit
from taskloom.data.table import read_table as read_table
from taskloom.engine.combine import balance as balance
from taskloom.engine.measure import measure as measure
from taskloom.errors import BalanceError as BalanceError
from taskloom.errors import DataError as DataError
from taskloom.errors import EngineError as EngineError
from taskloom.errors import ExportError as ExportError
from taskloom.errors import StudyError as StudyError
from taskloom.errors import TaskError as TaskError
from taskloom.errors import TaskloomError as TaskloomError
from taskloom.fit.fit import fit as fit
from taskloom.fit.trainer import TrainerOptions as TrainerOptions
from taskloom.fit.training import OptimiserSettings as OptimiserSettings
from taskloom.fit.training import Schedule as Schedule
from taskloom.metrics.delta_m import delta_m as delta_m
from taskloom.metrics.gains import transfer_report as transfer_report
from taskloom.nn.conditioned import Conditioned as Conditioned
from taskloom.nn.encoders.mlp import MLP as MLP
from taskloom.nn.fork import fork as fork
from taskloom.nn.hard import HardSharing as HardSharing
from taskloom.nn.hardsoft import HardSoftMix as HardSoftMix
from taskloom.nn.independent import Independent as Independent
from taskloom.nn.pooled import Pooled as Pooled
from taskloom.nn.soft import SoftSharing as SoftSharing
from taskloom.study.budget import Budget as Budget
from taskloom.study.candidate import Candidate as Candidate
from taskloom.study.compare import compare as compare
from taskloom.study.demo import demo as demo
from taskloom.study.results import Results as Results
from taskloom.study.run import Study as Study
from taskloom.task import Binary as Binary
from taskloom.task import Kind as Kind
from taskloom.task import Multiclass as Multiclass
from taskloom.task import Regression as Regression
from taskloom.task import Task as Task

__version__: str

__all__ = [
    "BalanceError",
    "Binary",
    "Budget",
    "Candidate",
    "Conditioned",
    "DataError",
    "EngineError",
    "ExportError",
    "GroupedSplit",
    "HardSharing",
    "HardSoftMix",
    "Independent",
    "Kind",
    "MLP",
    "MultiTaskData",
    "Multiclass",
    "OptimiserSettings",
    "Pooled",
    "RandomSplit",
    "Regression",
    "Results",
    "Schedule",
    "SoftSharing",
    "Study",
    "StudyError",
    "Task",
    "TaskError",
    "TaskloomError",
    "TimeSplit",
    "TrainerOptions",
    "balance",
    "chain",
    "compare",
    "couplings",
    "data",
    "delta_m",
    "demo",
    "engine",
    "equal",
    "fit",
    "fixed",
    "fork",
    "losses",
    "measure",
    "metrics",
    "nn",
    "pcgrad",
    "read_table",
    "report",
    "study",
    "testing",
    "transfer_report",
    "uncertainty",
]
