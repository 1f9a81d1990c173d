"""Three tasks with samples and weights of their own, and what ties them to their mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from taskloom.regularised.data import TaskData
from taskloom.regularised.penalties.coupling import TaskCoupling

__all__ = ["problem"]


def problem(**changes: Any) -> tuple[TaskData, TaskCoupling]:
    rng = np.random.default_rng(4)
    designs = tuple(rng.normal(size=(n, 4)) + 1 for n in (8, 5, 11))
    targets = tuple(rng.normal(size=len(X)) for X in designs)
    weights = tuple(rng.uniform(0.05, 0.2, size=len(X)) for X in designs)
    data = replace(TaskData(designs, targets, weights), **changes)
    return data, TaskCoupling.to_mean(3, alpha=0.2, coupling=4.0)
