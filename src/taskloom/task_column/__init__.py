"""Tables in which one column says which task a row belongs to: the form that scikit-learn's tools leave whole.

:func:`stack_tasks` makes such a table of one table per task. Splitters, scorers, pipelines and searches of
scikit-learn pass the column along without knowing of it; the estimators take it out again.
"""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "PredictRows": "_validate",
        "TaskRows": "_validate",
        "fit_rows": "_validate",
        "loss_factors": "_factors",
        "predict_rows": "_validate",
    },
)
