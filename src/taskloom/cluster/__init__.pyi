# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.cluster.shared_subspace import SharedSubspaceClustering as SharedSubspaceClustering

__all__ = [
    "SharedSubspaceClustering",
]
