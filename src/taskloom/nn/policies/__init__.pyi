# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.nn.policies.policy import Policy as Policy

__all__ = [
    "Policy",
]
