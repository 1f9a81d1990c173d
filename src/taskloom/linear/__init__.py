"""Linear models of several tasks with a scikit-learn interface and a certificate: every fit reports its duality gap.

Give the column of X that says which task a row belongs to as ``task_feature``; see :mod:`taskloom.task_column`.
"""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "DeviationForm": "mean_regularized",
        "HierarchicalBayes": "hierarchical_bayes",
        "MeanRegularized": "mean_regularized",
        "MeanRegularizedClassifier": "mean_regularized",
        "TaskPrior": "_task_posteriors",
        "deviation_form": "mean_regularized",
    },
)
