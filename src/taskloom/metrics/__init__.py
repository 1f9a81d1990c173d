"""Metrics of single tasks, gains of learning tasks together, and the statistics behind a verdict.

:func:`default_metrics` gives the metrics of a kind of task; :func:`transfer_report` compares learning apart with
learning together over seeds; :func:`delta_m`, :func:`performance_profile` and :func:`mean_rank` sum up many tasks;
:func:`rate_report` says whether tasks learn at different rates.
"""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Accuracy": "classification",
        "AreaUnderCurve": "classification",
        "DeltaM": "delta_m",
        "DeltaMResult": "delta_m",
        "GainSummary": "_transfer",
        "LogLoss": "classification",
        "MeanAbsoluteError": "regression",
        "Metric": "base",
        "PerformanceProfile": "profile",
        "RSquared": "regression",
        "RateReport": "rates",
        "RootMeanSquaredError": "regression",
        "TaskGain": "_transfer",
        "TaskRate": "rates",
        "TransferReport": "_transfer",
        "benjamini_hochberg": "statistics.multiplicity",
        "best_epoch": "rates",
        "bootstrap_interval": "statistics.bootstrap",
        "checkpoint_regret": "rates",
        "default_metrics": "defaults",
        "delta_m": "delta_m",
        "holm": "statistics.multiplicity",
        "mean_rank": "profile",
        "performance_profile": "profile",
        "permutation_test": "statistics.unpaired",
        "rate_report": "rates",
        "relative_gain": "base",
        "relative_training_rates": "rates",
        "seeds_needed": "statistics.multiplicity",
        "sign_flip_test": "statistics.paired",
        "smallest_p": "statistics.paired",
        "t_interval": "statistics.paired",
        "t_test": "statistics.paired",
        "transfer_report": "gains",
        "two_level_bootstrap": "statistics.bootstrap",
        "wilcoxon_test": "statistics.paired",
    },
)
