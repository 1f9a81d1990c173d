# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.instance.reweighting import TaskReweighting as TaskReweighting

__all__ = [
    "TaskReweighting",
]
