"""What a run ran on: versions and machine, for repeating it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["environment"]

_PACKAGES = ("taskloom", "torch", "numpy", "scipy", "scikit-learn", "lightning", "torchmetrics", "optuna", "polars")


def environment() -> dict[str, Any]:
    """Python, platform, cores and the versions of the packages that take part.

    Example:
        >>> sorted(environment())
        ['cores', 'platform', 'python', 'torch', 'versions']
    """
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "python": platform.python_version(),
        "torch": versions["torch"],
        "platform": platform.platform(terse=True),
        "cores": os.cpu_count(),
        "versions": versions,
    }
