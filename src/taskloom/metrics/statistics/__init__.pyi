# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

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
from taskloom.metrics.statistics.unpaired import smallest_p_unpaired as smallest_p_unpaired
from taskloom.metrics.statistics.unpaired import welch_interval as welch_interval

__all__ = [
    "benjamini_hochberg",
    "bootstrap_interval",
    "holm",
    "permutation_test",
    "seeds_needed",
    "sign_flip_test",
    "smallest_p",
    "smallest_p_unpaired",
    "t_interval",
    "t_test",
    "two_level_bootstrap",
    "welch_interval",
    "wilcoxon_test",
]
