# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.regularised.data import Solution as Solution
from taskloom.regularised.data import TaskData as TaskData
from taskloom.regularised.penalties.base import Penalty as Penalty
from taskloom.regularised.penalties.entry import EntryNorm as EntryNorm

__all__ = [
    "EntryNorm",
    "Penalty",
    "Solution",
    "TaskData",
]
