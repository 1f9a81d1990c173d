"""Oracle runs: norms of singular values, parts with outliers, and progressions, with both losses."""

from __future__ import annotations

from typing import Any

from taskloom.linear import (
    ClusteredTasks,
    ClusteredTasksClassifier,
    FusedSparseGroupLasso,
    FusedSparseGroupLassoClassifier,
    RobustFeature,
    RobustFeatureClassifier,
    RobustLowRank,
    RobustLowRankClassifier,
    SparseLowRank,
    SparseLowRankClassifier,
    SquaredTraceNorm,
    SquaredTraceNormClassifier,
    TemporalGroupLasso,
    TemporalGroupLassoClassifier,
    TraceNorm,
    TraceNormClassifier,
)
from taskloom.regularised import Trace
from taskloom.testing._oracles_base import Unsupported
from taskloom.testing._oracles_classical_base import (
    Array,
    Case,
    Method,
    certified,
    fit_case,
    fit_school,
    is_classes,
    largest_strength,
)

__all__ = ["METHODS"]

SCHOOL_TOLERANCES = {"obj": 1e-7, "A": 1e-4}


def _trace(case: Case) -> dict[str, Any]:
    twin = TraceNormClassifier if is_classes(case) else TraceNorm
    if "lambda_max" in case.expected:
        return {"lambda_max": largest_strength(case, twin(), Trace(1.0))}
    return certified(fit_case(case, twin(case.parameter("alpha"))))


def _squared_trace(case: Case) -> dict[str, Any]:
    twin = SquaredTraceNormClassifier if is_classes(case) else SquaredTraceNorm
    return certified(fit_case(case, twin(case.parameter("alpha"))))


def _relations(case: Case) -> dict[str, Any]:
    twin = SquaredTraceNormClassifier if is_classes(case) else SquaredTraceNorm
    alpha, ridge = case.parameter("alpha_relation"), case.parameter("alpha_ridge")
    return certified(fit_case(case, twin(alpha, alpha_ridge=ridge)))


def _sparse_low_rank(case: Case) -> dict[str, Any]:
    twin = SparseLowRankClassifier if is_classes(case) else SparseLowRank
    alpha, trace = case.parameter("alpha_sparse"), case.parameter("alpha_trace")
    return certified(fit_case(case, twin(alpha, alpha_trace=trace)))


def _sparse_low_rank_bounded(case: Case) -> dict[str, Any]:
    twin = SparseLowRankClassifier if is_classes(case) else SparseLowRank
    return certified(fit_case(case, twin(case.parameter("alpha_sparse"), tau=case.parameter("tau"))))


def _robust_low_rank(case: Case) -> dict[str, Any]:
    twin = RobustLowRankClassifier if is_classes(case) else RobustLowRank
    alpha, outlier = case.parameter("alpha_trace"), case.parameter("alpha_outlier")
    return certified(fit_case(case, twin(alpha, alpha_outlier=outlier)))


def _robust_feature(case: Case) -> dict[str, Any]:
    twin = RobustFeatureClassifier if is_classes(case) else RobustFeature
    alpha, outlier = case.parameter("alpha_feature"), case.parameter("alpha_outlier")
    return certified(fit_case(case, twin(alpha, alpha_outlier=outlier)))


def _shared_structure(case: Case) -> dict[str, Any]:
    """CMTL, and cASO, which has the same coefficients."""
    params = case.params or case.others.get(case.key.rpartition("/")[0].replace("/caso", "/cmtl_zhou"), {})
    if not {"rho1", "rho2", "n_clusters"} <= set(params):
        raise Unsupported(f"no parameters rho1, rho2, n_clusters in {sorted(params)}")
    twin = ClusteredTasksClassifier if is_classes(case) else ClusteredTasks
    return certified(fit_case(case, _cmtl(twin, params["rho1"], params["rho2"], params["n_clusters"])))


def _cmtl(twin: Any, rho1: float, rho2: float, n_clusters: int) -> Any:
    return twin(n_clusters, formulation="cmtl", eps_between=2 * rho2, eps_within=2 * (rho1 + rho2))


def _school_trace(case: Case) -> dict[str, Array]:
    return fit_school(case, TraceNorm(case.parameter("rho1")), factor=1)


def _school_robust_low_rank(case: Case) -> dict[str, Array]:
    trace, outlier = case.parameter("rho1"), case.parameter("rho2")
    return fit_school(case, RobustLowRank(trace / 2, alpha_outlier=outlier / 2), factor=2)


def _school_robust_feature(case: Case) -> dict[str, Array]:
    feature, outlier = case.parameter("lambda1"), case.parameter("lambda2")
    return fit_school(case, RobustFeature(feature / 2, alpha_outlier=outlier / 2), factor=2)


def _school_sparse_trace(case: Case) -> dict[str, Array]:
    sparse, tau = case.parameter("gamma"), case.parameter("tau")
    return fit_school(case, SparseLowRank(sparse / 2, tau=tau), factor=2)


def _temporal(case: Case) -> dict[str, Any]:
    twin = TemporalGroupLassoClassifier if is_classes(case) else TemporalGroupLasso
    temporal, ridge = case.parameter("alpha_temporal"), case.parameter("alpha_ridge")
    return certified(fit_case(case, twin(case.parameter("alpha_group"), alpha_temporal=temporal, alpha_ridge=ridge)))


def _fused(case: Case) -> dict[str, Any]:
    twin = FusedSparseGroupLassoClassifier if is_classes(case) else FusedSparseGroupLasso
    fused, group = case.parameter("alpha_fused"), case.parameter("alpha_group")
    return certified(fit_case(case, twin(case.parameter("alpha_l1"), alpha_fused=fused, alpha_group=group)))


def _school_cmtl(case: Case) -> dict[str, Array]:
    rho1, rho2, k = (case.parameter(name) for name in ("rho1", "rho2", "k"))
    return fit_school(case, _cmtl(ClusteredTasks, rho1, rho2, k), factor=1)


METHODS = {
    "trace": Method(_trace),
    "sq_trace(mtfl)": Method(_squared_trace),
    "mtrl": Method(_relations),
    "sparse_lowrank_pen": Method(_sparse_low_rank),
    "sparse_lowrank_con": Method(_sparse_low_rank_bounded),
    "rmtl": Method(_robust_low_rank),
    "rmtfl": Method(_robust_feature),
    "cmtl_zhou": Method(_shared_structure),
    "caso": Method(_shared_structure),
    "tgl": Method(_temporal),
    "cfsgl": Method(_fused),
    "school/trace": Method(_school_trace, tolerances=SCHOOL_TOLERANCES),
    "school/rmtl": Method(_school_robust_low_rank, tolerances=SCHOOL_TOLERANCES),
    "school/rmtfl": Method(_school_robust_feature, tolerances=SCHOOL_TOLERANCES),
    "school/sparsetrace": Method(_school_sparse_trace, tolerances=SCHOOL_TOLERANCES),
    "school/cmtl": Method(_school_cmtl, tolerances=SCHOOL_TOLERANCES),
}
