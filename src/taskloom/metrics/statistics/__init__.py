"""Tests and intervals for a handful of seeds: exact where enumeration is possible, honest about what n can show."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "benjamini_hochberg": "multiplicity",
        "bootstrap_interval": "bootstrap",
        "holm": "multiplicity",
        "permutation_test": "unpaired",
        "seeds_needed": "multiplicity",
        "sign_flip_test": "paired",
        "smallest_p": "paired",
        "smallest_p_unpaired": "unpaired",
        "t_interval": "paired",
        "t_test": "paired",
        "two_level_bootstrap": "bootstrap",
        "welch_interval": "unpaired",
        "wilcoxon_test": "paired",
    },
)
