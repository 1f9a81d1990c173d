# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.gp.icm import ICMGaussianProcess as ICMGaussianProcess

__all__ = [
    "ICMGaussianProcess",
]
