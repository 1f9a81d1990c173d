# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.linear._strength import largest_strength as largest_strength
from taskloom.linear._task_posteriors import TaskPrior as TaskPrior
from taskloom.linear.clustered import ClusteredTasks as ClusteredTasks
from taskloom.linear.clustered import ClusteredTasksClassifier as ClusteredTasksClassifier
from taskloom.linear.coefficient_display import CoefficientDisplay as CoefficientDisplay
from taskloom.linear.dirty import DirtyModel as DirtyModel
from taskloom.linear.dirty import DirtyModelClassifier as DirtyModelClassifier
from taskloom.linear.dirty_cv import DirtyModelCV as DirtyModelCV
from taskloom.linear.fused_sparse_group_lasso import FusedSparseGroupLasso as FusedSparseGroupLasso
from taskloom.linear.fused_sparse_group_lasso import FusedSparseGroupLassoClassifier as FusedSparseGroupLassoClassifier
from taskloom.linear.go_mtl import GOMTL as GOMTL
from taskloom.linear.go_mtl import GOMTLClassifier as GOMTLClassifier
from taskloom.linear.graph import correlation_graph as correlation_graph
from taskloom.linear.graph import difference_graph as difference_graph
from taskloom.linear.graph import graph_laplacian as graph_laplacian
from taskloom.linear.graph_regularized import GraphRegularized as GraphRegularized
from taskloom.linear.graph_regularized import GraphRegularizedClassifier as GraphRegularizedClassifier
from taskloom.linear.group_lasso import MultiTaskGroupLasso as MultiTaskGroupLasso
from taskloom.linear.group_lasso import MultiTaskGroupLassoClassifier as MultiTaskGroupLassoClassifier
from taskloom.linear.group_lasso_cv import MultiTaskGroupLassoCV as MultiTaskGroupLassoCV
from taskloom.linear.hierarchical_bayes import HierarchicalBayes as HierarchicalBayes
from taskloom.linear.incomplete_multi_source import IncompleteMultiSource as IncompleteMultiSource
from taskloom.linear.incomplete_multi_source import IncompleteMultiSourceClassifier as IncompleteMultiSourceClassifier
from taskloom.linear.lasso import MultiTaskLasso1 as MultiTaskLasso1
from taskloom.linear.lasso import MultiTaskLasso1Classifier as MultiTaskLasso1Classifier
from taskloom.linear.mean_regularized import DeviationForm as DeviationForm
from taskloom.linear.mean_regularized import MeanRegularized as MeanRegularized
from taskloom.linear.mean_regularized import MeanRegularizedClassifier as MeanRegularizedClassifier
from taskloom.linear.mean_regularized import deviation_form as deviation_form
from taskloom.linear.mean_regularized_cv import MeanRegularizedCV as MeanRegularizedCV
from taskloom.linear.multi_stage_feature import MultiStageFeature as MultiStageFeature
from taskloom.linear.multi_task_wasserstein import MultiTaskWasserstein as MultiTaskWasserstein
from taskloom.linear.multi_task_wasserstein import MultiTaskWassersteinClassifier as MultiTaskWassersteinClassifier
from taskloom.linear.path_display import RegularisationPathDisplay as RegularisationPathDisplay
from taskloom.linear.relation_display import TaskRelationDisplay as TaskRelationDisplay
from taskloom.linear.robust_feature import RobustFeature as RobustFeature
from taskloom.linear.robust_feature import RobustFeatureClassifier as RobustFeatureClassifier
from taskloom.linear.robust_low_rank import RobustLowRank as RobustLowRank
from taskloom.linear.robust_low_rank import RobustLowRankClassifier as RobustLowRankClassifier
from taskloom.linear.sparse_low_rank import SparseLowRank as SparseLowRank
from taskloom.linear.sparse_low_rank import SparseLowRankClassifier as SparseLowRankClassifier
from taskloom.linear.squared_trace_norm import SquaredTraceNorm as SquaredTraceNorm
from taskloom.linear.squared_trace_norm import SquaredTraceNormClassifier as SquaredTraceNormClassifier
from taskloom.linear.task_coupled_ridge import TaskCoupledRidge as TaskCoupledRidge
from taskloom.linear.task_coupled_ridge import TaskCoupledRidgeClassifier as TaskCoupledRidgeClassifier
from taskloom.linear.temporal_group_lasso import TemporalGroupLasso as TemporalGroupLasso
from taskloom.linear.temporal_group_lasso import TemporalGroupLassoClassifier as TemporalGroupLassoClassifier
from taskloom.linear.trace_norm import TraceNorm as TraceNorm
from taskloom.linear.trace_norm import TraceNormClassifier as TraceNormClassifier
from taskloom.linear.trace_norm_cv import TraceNormCV as TraceNormCV

__all__ = [
    "ClusteredTasks",
    "ClusteredTasksClassifier",
    "CoefficientDisplay",
    "DeviationForm",
    "DirtyModel",
    "DirtyModelCV",
    "DirtyModelClassifier",
    "FusedSparseGroupLasso",
    "FusedSparseGroupLassoClassifier",
    "GOMTL",
    "GOMTLClassifier",
    "GraphRegularized",
    "GraphRegularizedClassifier",
    "HierarchicalBayes",
    "IncompleteMultiSource",
    "IncompleteMultiSourceClassifier",
    "MeanRegularized",
    "MeanRegularizedCV",
    "MeanRegularizedClassifier",
    "MultiStageFeature",
    "MultiTaskGroupLasso",
    "MultiTaskGroupLassoCV",
    "MultiTaskGroupLassoClassifier",
    "MultiTaskLasso1",
    "MultiTaskLasso1Classifier",
    "MultiTaskWasserstein",
    "MultiTaskWassersteinClassifier",
    "RegularisationPathDisplay",
    "RobustFeature",
    "RobustFeatureClassifier",
    "RobustLowRank",
    "RobustLowRankClassifier",
    "SparseLowRank",
    "SparseLowRankClassifier",
    "SquaredTraceNorm",
    "SquaredTraceNormClassifier",
    "TaskCoupledRidge",
    "TaskCoupledRidgeClassifier",
    "TaskPrior",
    "TaskRelationDisplay",
    "TemporalGroupLasso",
    "TemporalGroupLassoClassifier",
    "TraceNorm",
    "TraceNormCV",
    "TraceNormClassifier",
    "correlation_graph",
    "deviation_form",
    "difference_graph",
    "graph_laplacian",
    "largest_strength",
]
