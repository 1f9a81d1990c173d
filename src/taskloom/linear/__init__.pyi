# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.linear._task_posteriors import TaskPrior as TaskPrior
from taskloom.linear.hierarchical_bayes import HierarchicalBayes as HierarchicalBayes
from taskloom.linear.mean_regularized import DeviationForm as DeviationForm
from taskloom.linear.mean_regularized import MeanRegularized as MeanRegularized
from taskloom.linear.mean_regularized import MeanRegularizedClassifier as MeanRegularizedClassifier
from taskloom.linear.mean_regularized import deviation_form as deviation_form

__all__ = [
    "DeviationForm",
    "HierarchicalBayes",
    "MeanRegularized",
    "MeanRegularizedClassifier",
    "TaskPrior",
    "deviation_form",
]
