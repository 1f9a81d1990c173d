"""Linear models of several tasks with a scikit-learn interface and a certificate: every fit reports its duality gap.

Give the column of X that says which task a row belongs to as ``task_feature``; see :mod:`taskloom.task_column`.
"""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ClusteredTasks": "clustered",
        "ClusteredTasksClassifier": "clustered",
        "DeviationForm": "mean_regularized",
        "DirtyModel": "dirty",
        "DirtyModelCV": "dirty_cv",
        "DirtyModelClassifier": "dirty",
        "FusedSparseGroupLasso": "fused_sparse_group_lasso",
        "FusedSparseGroupLassoClassifier": "fused_sparse_group_lasso",
        "GOMTL": "go_mtl",
        "GOMTLClassifier": "go_mtl",
        "GraphRegularized": "graph_regularized",
        "GraphRegularizedClassifier": "graph_regularized",
        "HierarchicalBayes": "hierarchical_bayes",
        "MeanRegularized": "mean_regularized",
        "MeanRegularizedCV": "mean_regularized_cv",
        "MeanRegularizedClassifier": "mean_regularized",
        "MultiStageFeature": "multi_stage_feature",
        "MultiTaskGroupLasso": "group_lasso",
        "MultiTaskGroupLassoCV": "group_lasso_cv",
        "MultiTaskGroupLassoClassifier": "group_lasso",
        "MultiTaskLasso1": "lasso",
        "MultiTaskLasso1Classifier": "lasso",
        "RobustFeature": "robust_feature",
        "RobustFeatureClassifier": "robust_feature",
        "RobustLowRank": "robust_low_rank",
        "RobustLowRankClassifier": "robust_low_rank",
        "SparseLowRank": "sparse_low_rank",
        "SparseLowRankClassifier": "sparse_low_rank",
        "SquaredTraceNorm": "squared_trace_norm",
        "SquaredTraceNormClassifier": "squared_trace_norm",
        "TaskCoupledRidge": "task_coupled_ridge",
        "TaskCoupledRidgeClassifier": "task_coupled_ridge",
        "TaskPrior": "_task_posteriors",
        "TemporalGroupLasso": "temporal_group_lasso",
        "TemporalGroupLassoClassifier": "temporal_group_lasso",
        "TraceNorm": "trace_norm",
        "TraceNormCV": "trace_norm_cv",
        "TraceNormClassifier": "trace_norm",
        "correlation_graph": "graph",
        "deviation_form": "mean_regularized",
        "difference_graph": "graph",
        "graph_laplacian": "graph",
    },
)
