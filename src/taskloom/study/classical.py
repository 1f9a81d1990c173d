"""Classical estimators as candidates by name: linear models, kernels and Gaussian processes that join the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskloom.data.table import MultiTaskData
from taskloom.study.candidate import Candidate, Family
from taskloom.study.plans.classical import Case, TogetherEstimators, strength_space
from taskloom.study.space import Choice, LogRange, Parameter, Range

__all__ = ["classical"]

_MOST_IN_A_KERNEL = 3000  # labels; the time grows with the third power
_MOST_IN_A_PROCESS = 1000  # the same, a hundred times over
_MOST_REWEIGHTED = 50  # tasks; every one is fitted on the rows of all


# -- estimators ---------------------------------------------------------------------------------------------------


def _mean_regularised(case: Case) -> Any:
    from taskloom.linear import MeanRegularized, MeanRegularizedClassifier

    kind = MeanRegularizedClassifier if case.is_binary else MeanRegularized
    return kind(case.number("alpha"), coupling=case.number("coupling"), **case.common)


def _lasso(case: Case) -> Any:
    from taskloom.linear import MultiTaskLasso1, MultiTaskLasso1Classifier

    return (MultiTaskLasso1Classifier if case.is_binary else MultiTaskLasso1)(1.0, **case.common)


def _group_lasso(case: Case) -> Any:
    from taskloom.linear import MultiTaskGroupLasso, MultiTaskGroupLassoClassifier

    return (MultiTaskGroupLassoClassifier if case.is_binary else MultiTaskGroupLasso)(1.0, **case.common)


def _dirty(case: Case) -> Any:
    from taskloom.linear import DirtyModel, DirtyModelClassifier

    kind = DirtyModelClassifier if case.is_binary else DirtyModel
    return kind(case.n_tasks ** case.number("ratio"), alpha_specific=1.0, **case.common)


def _multi_stage(case: Case) -> Any:
    from taskloom.linear import MultiStageFeature

    return MultiStageFeature(case.number("alpha"), theta=case.number("theta"), **case.common)


def _trace_norm(case: Case) -> Any:
    from taskloom.linear import TraceNorm, TraceNormClassifier

    return (TraceNormClassifier if case.is_binary else TraceNorm)(1.0, **case.common)


def _squared_trace_norm(case: Case) -> Any:
    from taskloom.linear import SquaredTraceNorm, SquaredTraceNormClassifier

    kind = SquaredTraceNormClassifier if case.is_binary else SquaredTraceNorm
    alpha = case.number("alpha")
    return kind(alpha, alpha_ridge=alpha * case.number("ridge_share"), **case.common)


def _sparse_low_rank(case: Case) -> Any:
    from taskloom.linear import SparseLowRank, SparseLowRankClassifier

    kind = SparseLowRankClassifier if case.is_binary else SparseLowRank
    return kind(1.0, alpha_trace=case.n_tasks ** case.number("ratio"), **case.common)


def _robust_low_rank(case: Case) -> Any:
    from taskloom.linear import RobustLowRank, RobustLowRankClassifier

    kind = RobustLowRankClassifier if case.is_binary else RobustLowRank
    return kind(case.n_tasks ** (0.5 * case.number("ratio")), alpha_outlier=1.0, **case.common)


def _robust_feature(case: Case) -> Any:
    from taskloom.linear import RobustFeature, RobustFeatureClassifier

    kind = RobustFeatureClassifier if case.is_binary else RobustFeature
    return kind(case.n_tasks ** (0.5 * case.number("ratio")), alpha_outlier=1.0, **case.common)


def _clustered(case: Case) -> Any:
    from taskloom.linear import ClusteredTasks, ClusteredTasksClassifier

    mean = case.number("alpha")
    between = mean * case.number("between")
    return (ClusteredTasksClassifier if case.is_binary else ClusteredTasks)(
        min(int(case.settings["clusters"]), case.n_tasks),
        eps_mean=mean,
        eps_between=between,
        eps_within=between * case.number("within"),
        **case.common,
    )


def _go_mtl(case: Case) -> Any:
    from taskloom.linear import GOMTL, GOMTLClassifier

    latent, alpha = min(int(case.settings["latent"]), case.n_tasks), case.number("alpha")
    return (GOMTLClassifier if case.is_binary else GOMTL)(latent, alpha_sparse=alpha, alpha_basis=alpha, **case.common)


def _hierarchical(case: Case) -> Any:
    from taskloom.linear import HierarchicalBayes

    return HierarchicalBayes(str(case.settings["covariance"]), **case.common)  # type: ignore[arg-type]


def _kernel_ridge(case: Case) -> Any:
    from taskloom.kernel import MultiTaskKernelRidge

    return MultiTaskKernelRidge(
        case.number("alpha"),
        coupling=case.number("coupling"),
        gamma=case.number("gamma"),
        **case.common,
    )


def _process(case: Case) -> Any:
    from taskloom.gp import ICMGaussianProcess

    rank = min(int(case.settings["rank"]), case.n_tasks)
    return ICMGaussianProcess(rank, max_iter=100, random_state=case.seed, **case.common)


def _reweighting(case: Case) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge

    from taskloom.instance import TaskReweighting

    penalty = case.number("penalty")
    base = LogisticRegression(C=1.0 / penalty, max_iter=2000) if case.is_binary else Ridge(alpha=penalty)
    return TaskReweighting(base, gamma=case.number("gamma"), random_state=case.seed, **case.common)


# -- hyperparameters ----------------------------------------------------------------------------------------------


def _alpha() -> Parameter:
    return LogRange("alpha", 1e-5, 10.0, default=0.03)


def _coupling_space(data: MultiTaskData) -> Sequence[Parameter]:
    return [_alpha(), LogRange("coupling", 1.0, 1e4, default=100.0)]


def _stage_space(data: MultiTaskData) -> Sequence[Parameter]:
    return [LogRange("alpha", 1e-4, 1.0, default=0.01), LogRange("theta", 0.01, 10.0, default=0.3)]


def _squared_trace_space(data: MultiTaskData) -> Sequence[Parameter]:
    return [_alpha(), LogRange("ridge_share", 1e-3, 1.0, default=0.03)]


def _ratio_space(data: MultiTaskData) -> Sequence[Parameter]:
    """Where between the two limits the parts share; at 0 and 1 one of them is empty."""
    return [*strength_space(data), Range("ratio", 0.0, 1.0, default=0.5)]


def _cluster_space(data: MultiTaskData) -> Sequence[Parameter]:
    n_tasks = len(data.tasks)
    values = tuple(number for number in (2, 3, 5, 8, 12) if number < n_tasks) or (1,)
    return [
        _alpha(),
        LogRange("between", 1.0, 1e3, default=10.0),
        LogRange("within", 1.0, 1e3, default=10.0),
        Choice("clusters", values, default=values[0]),
    ]


def _latent_space(data: MultiTaskData) -> Sequence[Parameter]:
    values = tuple(number for number in (2, 3, 5, 8) if number < len(data.tasks)) or (1,)
    return [_alpha(), Choice("latent", values, default=values[0])]


def _covariance_space(data: MultiTaskData) -> Sequence[Parameter]:
    return [Choice("covariance", ("full", "diagonal", "spherical"), default="full")]


def _kernel_space(data: MultiTaskData) -> Sequence[Parameter]:
    return [*_coupling_space(data), LogRange("gamma", 1e-3, 1.0, default=0.03)]


def _rank_space(data: MultiTaskData) -> Sequence[Parameter]:
    return [Choice("rank", tuple(range(1, min(3, len(data.tasks)) + 1)), default=1)]


def _reweighting_space(data: MultiTaskData) -> Sequence[Parameter]:
    return [LogRange("penalty", 1e-3, 1e4, default=1.0), Range("gamma", 0.0, 1.0, default=1.0)]


# -- the list -----------------------------------------------------------------------------------------------------


def classical() -> tuple[Candidate, ...]:
    """Candidates without a network that join the tasks.

    Example:
        >>> [candidate.name for candidate in classical()][:2]
        ['mean_regularised', 'lasso']
    """
    argyriou = "A. Argyriou, T. Evgeniou, M. Pontil, Machine Learning 73, 2008"
    return (
        _candidate(
            "mean_regularised",
            "ridge held to the mean",
            "A linear model per task, each pulled to the mean of all.",
            TogetherEstimators(_mean_regularised, _coupling_space),
            "T. Evgeniou, M. Pontil, KDD 2004",
            in_default=True,
        ),
        _candidate(
            "lasso",
            "lasso",
            "A sparse linear model per task; strengths are common, nothing else.",
            TogetherEstimators(_lasso, scaled=("alpha",)),
            "R. Tibshirani, JRSS B 58, 1996",
            family="baseline",
        ),
        _candidate(
            "group_lasso",
            "group lasso (l1/l2)",
            "Linear models of the same few features.",
            TogetherEstimators(_group_lasso, scaled=("alpha",)),
            "G. Obozinski, B. Taskar, M. Jordan, Statistics and Computing 20, 2010",
            in_default=True,
        ),
        _candidate(
            "dirty_model",
            "dirty model",
            "Linear models of the same few features, and of features that single tasks add.",
            TogetherEstimators(_dirty, _ratio_space, scaled=("alpha_shared", "alpha_specific")),
            "A. Jalali, P. Ravikumar, S. Sanghavi, C. Ruan, NIPS 2010",
        ),
        _candidate(
            "multi_stage_feature",
            "multi-stage features",
            "Linear models of the same few features, which are free of the penalty once they are found.",
            TogetherEstimators(_multi_stage, _stage_space, takes_classes=False),
            "P. Gong, J. Ye, C. Zhang, NIPS 2012",
        ),
        _candidate(
            "trace_norm",
            "trace norm",
            "Linear models whose coefficients lie near a few common directions.",
            TogetherEstimators(_trace_norm, scaled=("alpha",)),
            argyriou,
        ),
        _candidate(
            "squared_trace_norm",
            "squared trace norm (MTFL, MTRL)",
            "Linear models under a learned covariance of tasks.",
            TogetherEstimators(_squared_trace_norm, _squared_trace_space),
            f"{argyriou}; Y. Zhang, D.-Y. Yeung, UAI 2010",
        ),
        _candidate(
            "sparse_low_rank",
            "sparse plus low rank",
            "Linear models whose coefficients are few common directions and single deviations.",
            TogetherEstimators(_sparse_low_rank, _ratio_space, scaled=("alpha_sparse", "alpha_trace")),
            "J. Chen, J. Liu, J. Ye, KDD 2010",
        ),
        _candidate(
            "robust_low_rank",
            "low rank with outlier tasks",
            "Linear models with a few common directions, and tasks that are free of them.",
            TogetherEstimators(_robust_low_rank, _ratio_space, scaled=("alpha_trace", "alpha_outlier")),
            "J. Chen, J. Zhou, J. Ye, KDD 2011",
        ),
        _candidate(
            "robust_feature",
            "common features with outlier tasks",
            "Linear models of the same few features, and tasks that are free of them.",
            TogetherEstimators(_robust_feature, _ratio_space, scaled=("alpha_feature", "alpha_outlier")),
            "P. Gong, J. Ye, C. Zhang, KDD 2012",
        ),
        _candidate(
            "clustered_tasks",
            "clustered tasks",
            "Linear models in clusters that are found with them, by a convex relaxation.",
            TogetherEstimators(_clustered, _cluster_space),
            "L. Jacob, F. Bach, J.-P. Vert, NIPS 2009",
        ),
        _candidate(
            "go_mtl",
            "sparse combinations of latent tasks (GO-MTL)",
            "Linear models that are sparse combinations of a few latent tasks: groups that overlap.",
            TogetherEstimators(_go_mtl, _latent_space),
            "A. Kumar, H. Daumé III, ICML 2012",
        ),
        _candidate(
            "hierarchical_bayes",
            "hierarchical Bayes",
            "Linear models drawn from a normal distribution that is learned from all tasks.",
            TogetherEstimators(_hierarchical, _covariance_space, takes_classes=False),
            "B. Bakker, T. Heskes, JMLR 4, 2003",
        ),
        _candidate(
            "kernel_ridge",
            "kernel ridge held to the mean",
            "A Gaussian kernel times one of the tasks; each function is pulled to the mean of all.",
            TogetherEstimators(_kernel_ridge, _kernel_space, takes_classes=False, most_labels=_MOST_IN_A_KERNEL),
            "T. Evgeniou, C. Micchelli, M. Pontil, JMLR 6, 2005",
        ),
        _candidate(
            "gaussian_process",
            "Gaussian process of the tasks (ICM)",
            "A Gaussian process with a learned covariance of tasks and a noise for each.",
            TogetherEstimators(_process, _rank_space, takes_classes=False, most_labels=_MOST_IN_A_PROCESS),
            "E. Bonilla, K. Chai, C. Williams, NIPS 2008",
        ),
        _candidate(
            "reweighting",
            "reweighted rows of all tasks",
            "A linear model per task on the rows of all tasks, weighted by how likely they are this task's.",
            TogetherEstimators(_reweighting, _reweighting_space, most_tasks=_MOST_REWEIGHTED),
            "S. Bickel et al., ICML 2008",
        ),
    )


def _candidate(
    name: str,
    title: str,
    summary: str,
    plan: TogetherEstimators,
    source: str,
    *,
    family: Family = "joint",
    in_default: bool = False,
) -> Candidate:
    return Candidate(
        name=name, title=title, summary=summary, family=family, plan=plan, source=source, in_default=in_default
    )
