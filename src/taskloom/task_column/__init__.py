"""Tables in which one column says which task a row belongs to: the form that scikit-learn's tools leave whole.

:func:`stack_tasks` makes such a table of one table per task. Splitters, scorers, pipelines and searches of
scikit-learn pass the column along without knowing of it; the estimators take it out again.
"""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "FeatureOverlap": "overlap",
        "PredictRows": "_validate",
        "Replicates": "replicates",
        "TaskRows": "_validate",
        "TaskScorer": "scores",
        "TaskStandardScaler": "scaling",
        "TaskStratifiedKFold": "folds",
        "balanced_weights": "balancing",
        "check_deviation": "_parameters",
        "check_flag": "_parameters",
        "check_number": "_parameters",
        "check_whole": "_parameters",
        "describe_several_tables": "_several_tables",
        "feature_overlap": "overlap",
        "fit_rows": "_validate",
        "labelled_accuracy": "labelled_accuracy",
        "labelled_r2": "labelled_r2",
        "loss_factors": "_factors",
        "make_task_scorer": "scores",
        "merge_replicates": "replicates",
        "predict_rows": "_validate",
        "read_table": "_numbers",
        "refuse_several_tables": "_several_tables",
        "refuse_unused": "_parameters",
        "stack_tasks": "stacking",
        "task_scores": "scores",
        "unstack_tasks": "stacking",
    },
)
