# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.metrics._transfer import GainSummary as GainSummary
from taskloom.metrics._transfer import TaskGain as TaskGain
from taskloom.metrics._transfer import TransferReport as TransferReport
from taskloom.metrics.base import Metric as Metric
from taskloom.metrics.base import relative_gain as relative_gain
from taskloom.metrics.classification import Accuracy as Accuracy
from taskloom.metrics.classification import AreaUnderCurve as AreaUnderCurve
from taskloom.metrics.classification import LogLoss as LogLoss
from taskloom.metrics.defaults import default_metrics as default_metrics
from taskloom.metrics.delta_m import DeltaM as DeltaM
from taskloom.metrics.delta_m import DeltaMResult as DeltaMResult
from taskloom.metrics.delta_m import delta_m as delta_m
from taskloom.metrics.gains import transfer_report as transfer_report
from taskloom.metrics.profile import PerformanceProfile as PerformanceProfile
from taskloom.metrics.profile import mean_rank as mean_rank
from taskloom.metrics.profile import performance_profile as performance_profile
from taskloom.metrics.rates import RateReport as RateReport
from taskloom.metrics.rates import TaskRate as TaskRate
from taskloom.metrics.rates import best_epoch as best_epoch
from taskloom.metrics.rates import checkpoint_regret as checkpoint_regret
from taskloom.metrics.rates import rate_report as rate_report
from taskloom.metrics.rates import relative_training_rates as relative_training_rates
from taskloom.metrics.regression import MeanAbsoluteError as MeanAbsoluteError
from taskloom.metrics.regression import RSquared as RSquared
from taskloom.metrics.regression import RootMeanSquaredError as RootMeanSquaredError
from taskloom.metrics.statistics.bootstrap import bootstrap_interval as bootstrap_interval
from taskloom.metrics.statistics.bootstrap import two_level_bootstrap as two_level_bootstrap
from taskloom.metrics.statistics.multiplicity import benjamini_hochberg as benjamini_hochberg
from taskloom.metrics.statistics.multiplicity import holm as holm
from taskloom.metrics.statistics.multiplicity import seeds_needed as seeds_needed
from taskloom.metrics.statistics.paired import sign_flip_test as sign_flip_test
from taskloom.metrics.statistics.paired import smallest_p as smallest_p
from taskloom.metrics.statistics.paired import t_interval as t_interval
from taskloom.metrics.statistics.paired import t_test as t_test
from taskloom.metrics.statistics.paired import wilcoxon_test as wilcoxon_test
from taskloom.metrics.statistics.unpaired import permutation_test as permutation_test

__all__ = [
    "Accuracy",
    "AreaUnderCurve",
    "DeltaM",
    "DeltaMResult",
    "GainSummary",
    "LogLoss",
    "MeanAbsoluteError",
    "Metric",
    "PerformanceProfile",
    "RSquared",
    "RateReport",
    "RootMeanSquaredError",
    "TaskGain",
    "TaskRate",
    "TransferReport",
    "benjamini_hochberg",
    "best_epoch",
    "bootstrap_interval",
    "checkpoint_regret",
    "default_metrics",
    "delta_m",
    "holm",
    "mean_rank",
    "performance_profile",
    "permutation_test",
    "rate_report",
    "relative_gain",
    "relative_training_rates",
    "seeds_needed",
    "sign_flip_test",
    "smallest_p",
    "t_interval",
    "t_test",
    "transfer_report",
    "two_level_bootstrap",
    "wilcoxon_test",
]
