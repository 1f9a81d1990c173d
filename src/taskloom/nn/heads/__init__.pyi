# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.nn.heads.default import build_head as build_head
from taskloom.nn.heads.default import build_heads as build_heads
from taskloom.nn.heads.default import default_head as default_head
from taskloom.nn.heads.default import features_of as features_of
from taskloom.nn.heads.dense import DenseHead as DenseHead
from taskloom.nn.heads.pooled import PooledHead as PooledHead

__all__ = [
    "DenseHead",
    "PooledHead",
    "build_head",
    "build_heads",
    "default_head",
    "features_of",
]
