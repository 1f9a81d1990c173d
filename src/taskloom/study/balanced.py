"""Any balancer as a candidate: hard sharing whose losses or gradients it balances."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass

from taskloom._rng import stream_seed
from taskloom.balance.base import Balancer
from taskloom.data.multitask import MultiTaskData
from taskloom.errors import StudyError
from taskloom.nn import HardSharing
from taskloom.nn.model import MultiTaskModel
from taskloom.study.candidate import Candidate
from taskloom.study.plans._networks import Shape
from taskloom.study.plans.together import Together
from taskloom.study.problem import Problem
from taskloom.study.space import Settings

__all__ = ["balanced"]


def balanced(balancer: Balancer, *, name: str = "", title: str = "", summary: str = "", source: str = "") -> Candidate:
    """Candidate that learns all tasks in one network with hard sharing, under a balancer.

    ``taskloom.compare(data, candidates=[tl.nash_mtl()])`` makes it for you.

    Args:
        balancer: a balancer that was not used yet; every training gets a copy, with random numbers of its own seed.
        name: identifier; default: ``hard_sharing_`` and the links of the chain.
        title: how tables show it; default: hard sharing and the chain.
        summary: one plain line.
        source: where the method comes from.

    Raises:
        StudyError: what is no balancer, or one that looks at several batches in a step.

    Example:
        >>> import taskloom as tl
        >>> balanced(tl.pcgrad("mean")).name
        'hard_sharing_project_conflicts_mean'
    """
    if not isinstance(balancer, Balancer):
        raise StudyError(f"expected a balancer such as tl.pcgrad(), found {balancer!r}")
    if balancer.n_batches > 1:
        raise StudyError(
            f"{balancer!r} looks at {balancer.n_batches} independent batches in a step; a comparison gives it one. "
            "Train it in a loop of your own with taskloom.balance(..., independent=[...])"
        )
    shown = ", ".join(repr(link) for link in balancer)
    plain = "_".join(re.findall(r"[a-z0-9]+", shown.lower()))
    return Candidate(
        name=name or f"hard_sharing_{plain}"[:80].rstrip("_"),
        title=title or f"hard sharing, {shown}",
        summary=summary or f"Hard sharing under {balancer!r}.",
        family="joint",
        plan=Together(_hard_sharing, _Copy(balancer), needs=_common_inputs if balancer.looks_at_features else None),
        source=source,
        in_default=False,
    )


def _hard_sharing(shape: Shape) -> MultiTaskModel:
    return HardSharing(shape.encoder(), shape.tasks)


def _common_inputs(data: MultiTaskData) -> str | None:
    if data.task_ids is not None:
        return "it compares gradients of common features, and here every task has rows of its own"
    return None


@dataclass(frozen=True)
class _Copy:
    """A fresh copy of a balancer for every training; an object, so that it can go to worker processes."""

    balancer: Balancer

    def __call__(self, problem: Problem, settings: Settings) -> Balancer:
        own = copy.deepcopy(self.balancer)
        for position, link in enumerate(own):
            link.seed = stream_seed(problem.seed, "balancer", position)
        return own
