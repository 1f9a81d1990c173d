# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.nn.encoders.mlp import MLP as MLP

__all__ = [
    "MLP",
]
