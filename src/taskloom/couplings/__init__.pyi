# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.couplings.base import ParameterCoupling as ParameterCoupling
from taskloom.couplings.softshare import CentreDistance as CentreDistance
from taskloom.couplings.softshare import GraphDistance as GraphDistance
from taskloom.couplings.softshare import PairwiseDistance as PairwiseDistance
from taskloom.couplings.trace import TraceNorm as TraceNorm

__all__ = [
    "CentreDistance",
    "GraphDistance",
    "PairwiseDistance",
    "ParameterCoupling",
    "TraceNorm",
]
