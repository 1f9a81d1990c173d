# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom import cluster as cluster
from taskloom import couplings as couplings
from taskloom import data as data
from taskloom import engine as engine
from taskloom import gp as gp
from taskloom import instance as instance
from taskloom import kernel as kernel
from taskloom import linear as linear
from taskloom import losses as losses
from taskloom import metrics as metrics
from taskloom import nn as nn
from taskloom import regularised as regularised
from taskloom import report as report
from taskloom import study as study
from taskloom import task_column as task_column
from taskloom import testing as testing
from taskloom.balance._features import at_features as at_features
from taskloom.balance.adapters.torchjd import from_torchjd as from_torchjd
from taskloom.balance.base import chain as chain
from taskloom.balance.mix.aux_cosine import aux_cosine as aux_cosine
from taskloom.balance.mix.gradvac import gradvac as gradvac
from taskloom.balance.mix.pcgrad import pcgrad as pcgrad
from taskloom.balance.mix.upgrad import upgrad as upgrad
from taskloom.balance.reduce.aligned_mtl import aligned_mtl as aligned_mtl
from taskloom.balance.reduce.cagrad import cagrad as cagrad
from taskloom.balance.reduce.config import config as config
from taskloom.balance.reduce.dualproj import dualproj as dualproj
from taskloom.balance.reduce.fairgrad import fairgrad as fairgrad
from taskloom.balance.reduce.imtl_g import imtl_g as imtl_g
from taskloom.balance.reduce.krum import krum as krum
from taskloom.balance.reduce.mgda import mgda as mgda
from taskloom.balance.reduce.mgda import mgda_ub as mgda_ub
from taskloom.balance.reduce.modo import modo as modo
from taskloom.balance.reduce.nash_mtl import nash_mtl as nash_mtl
from taskloom.balance.reduce.sdmgrad import sdmgrad as sdmgrad
from taskloom.balance.reduce.sum import equal as equal
from taskloom.balance.rows.db_mtl import db_mtl as db_mtl
from taskloom.balance.rows.excess_mtl import excess_mtl as excess_mtl
from taskloom.balance.rows.graddrop import graddrop as graddrop
from taskloom.balance.rows.moco import moco as moco
from taskloom.balance.rows.trimmed_mean import trimmed_mean as trimmed_mean
from taskloom.balance.scale.almo import almo as almo
from taskloom.balance.scale.auto_lambda import auto_lambda as auto_lambda
from taskloom.balance.scale.dwa import dwa as dwa
from taskloom.balance.scale.famo import famo as famo
from taskloom.balance.scale.fixed import fixed as fixed
from taskloom.balance.scale.gls import gls as gls
from taskloom.balance.scale.gradnorm import gradnorm as gradnorm
from taskloom.balance.scale.group_dro import group_dro as group_dro
from taskloom.balance.scale.imtl_l import imtl_l as imtl_l
from taskloom.balance.scale.log_scalarisation import log_scalarisation as log_scalarisation
from taskloom.balance.scale.normalize import normalize as normalize
from taskloom.balance.scale.rlw import rlw as rlw
from taskloom.balance.scale.stch import stch as stch
from taskloom.balance.scale.stch import stch_mtl as stch_mtl
from taskloom.balance.scale.uncertainty import uncertainty as uncertainty
from taskloom.balance.scale.worst_task import worst_task as worst_task
from taskloom.balance.wrap.blockwise import blockwise as blockwise
from taskloom.balance.wrap.clip import clip as clip
from taskloom.balance.wrap.every import every as every
from taskloom.balance.wrap.only import only as only
from taskloom.balance.wrap.rescale import rescale as rescale
from taskloom.balance.wrap.smoothed import smoothed as smoothed
from taskloom.balance.wrap.warmup import warm_up as warm_up
from taskloom.data.multitask import MultiTaskData as MultiTaskData
from taskloom.data.split import GroupedSplit as GroupedSplit
from taskloom.data.split import RandomSplit as RandomSplit
from taskloom.data.split import TimeSplit as TimeSplit
from taskloom.data.table import read_table as read_table
from taskloom.engine.combine import balance as balance
from taskloom.engine.explain import explain_cost as explain_cost
from taskloom.engine.measure import measure as measure
from taskloom.errors import BalanceError as BalanceError
from taskloom.errors import DataError as DataError
from taskloom.errors import EngineError as EngineError
from taskloom.errors import ExportError as ExportError
from taskloom.errors import StudyError as StudyError
from taskloom.errors import TaskError as TaskError
from taskloom.errors import TaskloomError as TaskloomError
from taskloom.export._view import export_view as export_view
from taskloom.export.onnx import export_onnx as export_onnx
from taskloom.fit.fit import fit as fit
from taskloom.fit.trainer import TrainerOptions as TrainerOptions
from taskloom.fit.training import OptimiserSettings as OptimiserSettings
from taskloom.fit.training import Schedule as Schedule
from taskloom.metrics.delta_m import delta_m as delta_m
from taskloom.metrics.gains import transfer_report as transfer_report
from taskloom.nn.adashare import AdaShare as AdaShare
from taskloom.nn.branching import LearningToBranch as LearningToBranch
from taskloom.nn.cascade import Cascade as Cascade
from taskloom.nn.cgc import CGC as CGC
from taskloom.nn.conditioned import Conditioned as Conditioned
from taskloom.nn.cross_stitch import CrossStitch as CrossStitch
from taskloom.nn.encoders.mlp import MLP as MLP
from taskloom.nn.factorised import TensorFactorised as TensorFactorised
from taskloom.nn.fork import fork as fork
from taskloom.nn.hard import HardSharing as HardSharing
from taskloom.nn.hardsoft import HardSoftMix as HardSoftMix
from taskloom.nn.independent import Independent as Independent
from taskloom.nn.layered import LayeredSupervision as LayeredSupervision
from taskloom.nn.lora import LoRA as LoRA
from taskloom.nn.mmoe import MMoE as MMoE
from taskloom.nn.mtan import MTAN as MTAN
from taskloom.nn.mtinet import MTINet as MTINet
from taskloom.nn.nddr import NDDR as NDDR
from taskloom.nn.omoe import OMoE as OMoE
from taskloom.nn.padnet import PADNet as PADNet
from taskloom.nn.partial import PartialSharing as PartialSharing
from taskloom.nn.perceiver import PerceiverIO as PerceiverIO
from taskloom.nn.ple import PLE as PLE
from taskloom.nn.pooled import Pooled as Pooled
from taskloom.nn.relationship import RelationshipNetwork as RelationshipNetwork
from taskloom.nn.routing import TaskRouting as TaskRouting
from taskloom.nn.sharing_graph import SharingGraph as SharingGraph
from taskloom.nn.sluice import Sluice as Sluice
from taskloom.nn.soft import SoftSharing as SoftSharing
from taskloom.nn.soft_ordering import SoftOrdering as SoftOrdering
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
    "AdaShare",
    "BalanceError",
    "Binary",
    "Budget",
    "CGC",
    "Candidate",
    "Cascade",
    "Conditioned",
    "CrossStitch",
    "DataError",
    "EngineError",
    "ExportError",
    "GroupedSplit",
    "HardSharing",
    "HardSoftMix",
    "Independent",
    "Kind",
    "LayeredSupervision",
    "LearningToBranch",
    "LoRA",
    "MLP",
    "MMoE",
    "MTAN",
    "MTINet",
    "MultiTaskData",
    "Multiclass",
    "NDDR",
    "OMoE",
    "OptimiserSettings",
    "PADNet",
    "PLE",
    "PartialSharing",
    "PerceiverIO",
    "Pooled",
    "RandomSplit",
    "Regression",
    "RelationshipNetwork",
    "Results",
    "Schedule",
    "SharingGraph",
    "Sluice",
    "SoftOrdering",
    "SoftSharing",
    "Study",
    "StudyError",
    "Task",
    "TaskError",
    "TaskRouting",
    "TaskloomError",
    "TensorFactorised",
    "TimeSplit",
    "TrainerOptions",
    "aligned_mtl",
    "almo",
    "at_features",
    "auto_lambda",
    "aux_cosine",
    "balance",
    "blockwise",
    "cagrad",
    "chain",
    "clip",
    "cluster",
    "compare",
    "config",
    "couplings",
    "data",
    "db_mtl",
    "delta_m",
    "demo",
    "dualproj",
    "dwa",
    "engine",
    "equal",
    "every",
    "excess_mtl",
    "explain_cost",
    "export_onnx",
    "export_view",
    "fairgrad",
    "famo",
    "fit",
    "fixed",
    "fork",
    "from_torchjd",
    "gls",
    "gp",
    "graddrop",
    "gradnorm",
    "gradvac",
    "group_dro",
    "imtl_g",
    "imtl_l",
    "instance",
    "kernel",
    "krum",
    "linear",
    "log_scalarisation",
    "losses",
    "measure",
    "metrics",
    "mgda",
    "mgda_ub",
    "moco",
    "modo",
    "nash_mtl",
    "nn",
    "normalize",
    "only",
    "pcgrad",
    "read_table",
    "regularised",
    "report",
    "rescale",
    "rlw",
    "sdmgrad",
    "smoothed",
    "stch",
    "stch_mtl",
    "study",
    "task_column",
    "testing",
    "transfer_report",
    "trimmed_mean",
    "uncertainty",
    "upgrad",
    "warm_up",
    "worst_task",
]
