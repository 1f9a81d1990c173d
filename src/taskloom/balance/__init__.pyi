# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.balance._blocks import Blocks as Blocks
from taskloom.balance._diagnostics import Diagnostics as Diagnostics
from taskloom.balance._features import at_features as at_features
from taskloom.balance.adapters.torchjd import from_torchjd as from_torchjd
from taskloom.balance.base import Balancer as Balancer
from taskloom.balance.base import Link as Link
from taskloom.balance.base import Mix as Mix
from taskloom.balance.base import Reduce as Reduce
from taskloom.balance.base import RowRule as RowRule
from taskloom.balance.base import Scale as Scale
from taskloom.balance.base import chain as chain
from taskloom.balance.flow import Combination as Combination
from taskloom.balance.flow import Flow as Flow
from taskloom.balance.flow import Need as Need
from taskloom.balance.flow import Rows as Rows
from taskloom.balance.flow import Signals as Signals
from taskloom.balance.mix.aux_cosine import aux_cosine as aux_cosine
from taskloom.balance.mix.aux_cosine import keep_agreeing as keep_agreeing
from taskloom.balance.mix.gradvac import gradvac as gradvac
from taskloom.balance.mix.gradvac import vaccinate as vaccinate
from taskloom.balance.mix.pcgrad import pcgrad as pcgrad
from taskloom.balance.mix.pcgrad import project_conflicts as project_conflicts
from taskloom.balance.mix.upgrad import project_dual_cone as project_dual_cone
from taskloom.balance.mix.upgrad import upgrad as upgrad
from taskloom.balance.reduce.aligned_mtl import aligned_mtl as aligned_mtl
from taskloom.balance.reduce.cagrad import cagrad as cagrad
from taskloom.balance.reduce.config import config as config
from taskloom.balance.reduce.dualproj import dualproj as dualproj
from taskloom.balance.reduce.fairgrad import fairgrad as fairgrad
from taskloom.balance.reduce.imtl_g import imtl_g as imtl_g
from taskloom.balance.reduce.krum import krum as krum
from taskloom.balance.reduce.mean import mean as mean
from taskloom.balance.reduce.mgda import mgda as mgda
from taskloom.balance.reduce.mgda import mgda_ub as mgda_ub
from taskloom.balance.reduce.modo import modo as modo
from taskloom.balance.reduce.nash_mtl import nash_mtl as nash_mtl
from taskloom.balance.reduce.sdmgrad import sdmgrad as sdmgrad
from taskloom.balance.reduce.sum import equal as equal
from taskloom.balance.reduce.sum import sum_ as sum_
from taskloom.balance.rows.db_mtl import db_mtl as db_mtl
from taskloom.balance.rows.db_mtl import equal_norms as equal_norms
from taskloom.balance.rows.excess_mtl import excess_mtl as excess_mtl
from taskloom.balance.rows.graddrop import graddrop as graddrop
from taskloom.balance.rows.graddrop import graddrop_features as graddrop_features
from taskloom.balance.rows.moco import moco as moco
from taskloom.balance.rows.trimmed_mean import trimmed_mean as trimmed_mean
from taskloom.balance.scale.almo import almo as almo
from taskloom.balance.scale.almo import projected_ascent as projected_ascent
from taskloom.balance.scale.auto_lambda import auto_lambda as auto_lambda
from taskloom.balance.scale.dwa import dwa as dwa
from taskloom.balance.scale.dwa import loss_trends as loss_trends
from taskloom.balance.scale.famo import even_progress as even_progress
from taskloom.balance.scale.famo import famo as famo
from taskloom.balance.scale.fixed import fixed as fixed
from taskloom.balance.scale.fixed import scale_by as scale_by
from taskloom.balance.scale.gls import geometric_mean as geometric_mean
from taskloom.balance.scale.gls import gls as gls
from taskloom.balance.scale.gradnorm import gradnorm as gradnorm
from taskloom.balance.scale.gradnorm import gradnorm_loss as gradnorm_loss
from taskloom.balance.scale.group_dro import group_dro as group_dro
from taskloom.balance.scale.group_dro import multiplicative_ascent as multiplicative_ascent
from taskloom.balance.scale.imtl_l import imtl_l as imtl_l
from taskloom.balance.scale.imtl_l import log_scales as log_scales
from taskloom.balance.scale.log_scalarisation import log_losses as log_losses
from taskloom.balance.scale.log_scalarisation import log_scalarisation as log_scalarisation
from taskloom.balance.scale.normalize import normalize as normalize
from taskloom.balance.scale.rlw import random_weights as random_weights
from taskloom.balance.scale.rlw import rlw as rlw
from taskloom.balance.scale.stch import smooth_log_maximum as smooth_log_maximum
from taskloom.balance.scale.stch import smooth_maximum as smooth_maximum
from taskloom.balance.scale.stch import stch as stch
from taskloom.balance.scale.stch import stch_mtl as stch_mtl
from taskloom.balance.scale.uncertainty import likelihood_of as likelihood_of
from taskloom.balance.scale.uncertainty import log_variances as log_variances
from taskloom.balance.scale.uncertainty import uncertainty as uncertainty
from taskloom.balance.scale.worst_task import favour_worst as favour_worst
from taskloom.balance.scale.worst_task import worst_task as worst_task
from taskloom.balance.wrap.blockwise import blockwise as blockwise
from taskloom.balance.wrap.clip import clip as clip
from taskloom.balance.wrap.every import every as every
from taskloom.balance.wrap.only import only as only
from taskloom.balance.wrap.rescale import rescale as rescale
from taskloom.balance.wrap.smoothed import smoothed as smoothed
from taskloom.balance.wrap.warmup import warm_up as warm_up

__all__ = [
    "Balancer",
    "Blocks",
    "Combination",
    "Diagnostics",
    "Flow",
    "Link",
    "Mix",
    "Need",
    "Reduce",
    "RowRule",
    "Rows",
    "Scale",
    "Signals",
    "aligned_mtl",
    "almo",
    "at_features",
    "auto_lambda",
    "aux_cosine",
    "blockwise",
    "cagrad",
    "chain",
    "clip",
    "config",
    "db_mtl",
    "dualproj",
    "dwa",
    "equal",
    "equal_norms",
    "even_progress",
    "every",
    "excess_mtl",
    "fairgrad",
    "famo",
    "favour_worst",
    "fixed",
    "from_torchjd",
    "geometric_mean",
    "gls",
    "graddrop",
    "graddrop_features",
    "gradnorm",
    "gradnorm_loss",
    "gradvac",
    "group_dro",
    "imtl_g",
    "imtl_l",
    "keep_agreeing",
    "krum",
    "likelihood_of",
    "log_losses",
    "log_scalarisation",
    "log_scales",
    "log_variances",
    "loss_trends",
    "mean",
    "mgda",
    "mgda_ub",
    "moco",
    "modo",
    "multiplicative_ascent",
    "nash_mtl",
    "normalize",
    "only",
    "pcgrad",
    "project_conflicts",
    "project_dual_cone",
    "projected_ascent",
    "random_weights",
    "rescale",
    "rlw",
    "scale_by",
    "sdmgrad",
    "smooth_log_maximum",
    "smooth_maximum",
    "smoothed",
    "stch",
    "stch_mtl",
    "sum_",
    "trimmed_mean",
    "uncertainty",
    "upgrad",
    "vaccinate",
    "warm_up",
    "worst_task",
]
