# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.regularised.certificate import LogisticDual as LogisticDual
from taskloom.regularised.certificate import RiskPoint as RiskPoint
from taskloom.regularised.certificate import SquaredDual as SquaredDual
from taskloom.regularised.certificate import lower_bound as lower_bound
from taskloom.regularised.data import Solution as Solution
from taskloom.regularised.data import TaskData as TaskData
from taskloom.regularised.logistic_risk import LogisticPoint as LogisticPoint
from taskloom.regularised.logistic_risk import LogisticRisk as LogisticRisk
from taskloom.regularised.moments import MomentRisk as MomentRisk
from taskloom.regularised.moments import Moments as Moments
from taskloom.regularised.penalties.base import Penalty as Penalty
from taskloom.regularised.penalties.column_norm import ColumnNorm as ColumnNorm
from taskloom.regularised.penalties.coupled import Coupled as Coupled
from taskloom.regularised.penalties.coupled import with_coupling as with_coupling
from taskloom.regularised.penalties.coupling import TaskCoupling as TaskCoupling
from taskloom.regularised.penalties.elastic import Elastic as Elastic
from taskloom.regularised.penalties.elastic import with_ridge as with_ridge
from taskloom.regularised.penalties.entry import EntryNorm as EntryNorm
from taskloom.regularised.penalties.fused import FusedRows as FusedRows
from taskloom.regularised.penalties.part_sum import PartSum as PartSum
from taskloom.regularised.penalties.row_groups import RowGroups as RowGroups
from taskloom.regularised.penalties.row_norm import RowNorm as RowNorm
from taskloom.regularised.penalties.sparse_group import SparseGroup as SparseGroup
from taskloom.regularised.penalties.spectral_box import SpectralBox as SpectralBox
from taskloom.regularised.penalties.trace import SquaredTrace as SquaredTrace
from taskloom.regularised.penalties.trace import Trace as Trace
from taskloom.regularised.penalties.trace import TraceBall as TraceBall
from taskloom.regularised.risk import SquaredRisk as SquaredRisk
from taskloom.regularised.solve import largest_alpha as largest_alpha
from taskloom.regularised.solve import path as path
from taskloom.regularised.solve import solve as solve

__all__ = [
    "ColumnNorm",
    "Coupled",
    "Elastic",
    "EntryNorm",
    "FusedRows",
    "LogisticDual",
    "LogisticPoint",
    "LogisticRisk",
    "MomentRisk",
    "Moments",
    "PartSum",
    "Penalty",
    "RiskPoint",
    "RowGroups",
    "RowNorm",
    "Solution",
    "SparseGroup",
    "SpectralBox",
    "SquaredDual",
    "SquaredRisk",
    "SquaredTrace",
    "TaskCoupling",
    "TaskData",
    "Trace",
    "TraceBall",
    "largest_alpha",
    "lower_bound",
    "path",
    "solve",
    "with_coupling",
    "with_ridge",
]
