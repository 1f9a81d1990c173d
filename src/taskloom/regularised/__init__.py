"""Regularised risk with certificates: data, risks, penalties, and solvers that stop at a duality gap."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ColumnNorm": "penalties.column_norm",
        "Coupled": "penalties.coupled",
        "Elastic": "penalties.elastic",
        "EntryNorm": "penalties.entry",
        "FusedRows": "penalties.fused",
        "LogisticDual": "certificate",
        "LogisticPoint": "logistic_risk",
        "LogisticRisk": "logistic_risk",
        "PartSum": "penalties.part_sum",
        "Penalty": "penalties.base",
        "RiskPoint": "certificate",
        "RowGroups": "penalties.row_groups",
        "RowNorm": "penalties.row_norm",
        "Solution": "data",
        "SparseGroup": "penalties.sparse_group",
        "SpectralBox": "penalties.spectral_box",
        "SquaredDual": "certificate",
        "SquaredRisk": "risk",
        "SquaredTrace": "penalties.trace",
        "TaskCoupling": "penalties.coupling",
        "TaskData": "data",
        "Trace": "penalties.trace",
        "TraceBall": "penalties.trace",
        "largest_alpha": "solve",
        "lower_bound": "certificate",
        "path": "solve",
        "solve": "solve",
        "with_coupling": "penalties.coupled",
        "with_ridge": "penalties.elastic",
    },
)
