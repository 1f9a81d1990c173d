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
        "GraphRegularized": "graph_regularized",
        "GraphRegularizedClassifier": "graph_regularized",
        "HierarchicalBayes": "hierarchical_bayes",
        "MeanRegularized": "mean_regularized",
        "MeanRegularizedCV": "mean_regularized_cv",
        "MeanRegularizedClassifier": "mean_regularized",
        "TaskCoupledRidge": "task_coupled_ridge",
        "TaskCoupledRidgeClassifier": "task_coupled_ridge",
        "TaskPrior": "_task_posteriors",
        "correlation_graph": "graph",
        "deviation_form": "mean_regularized",
        "difference_graph": "graph",
        "graph_laplacian": "graph",
    },
)
