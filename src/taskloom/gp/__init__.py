"""Gaussian processes of several tasks.

:class:`ICMGaussianProcess` is exact, has a noise per task, and takes tables in which every task has rows of its own.
"""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"ICMGaussianProcess": "icm"})
