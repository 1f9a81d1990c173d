"""Balancing methods as candidates by name: hard sharing under each of them with its defaults."""

from __future__ import annotations

import importlib
from typing import NamedTuple

from taskloom.balance.base import Balancer
from taskloom.study.balanced import balanced
from taskloom.study.candidate import Candidate

__all__ = ["methods"]


class _Method(NamedTuple):
    """The name of a function of :mod:`taskloom.balance`, how tables show it, what it does, and its source."""

    name: str
    title: str
    summary: str
    source: str


_METHODS = (
    _Method(
        "aligned_mtl", "Aligned-MTL", "task gradients made orthogonal and of one size", "CVPR 2023, arXiv:2305.19000"
    ),
    _Method("almo", "ALMO", "the worst mixture of the losses, by projected steps", "C. Cortes et al., NeurIPS 2020"),
    _Method("cagrad", "CAGrad", "near the mean gradient, best for the worst task", "NeurIPS 2021, arXiv:2110.14048"),
    _Method("config", "ConFIG", "equal angles to all task gradients", "ICLR 2025, arXiv:2408.11104"),
    _Method("db_mtl", "DB-MTL", "logarithms of the losses, gradients of one size", "arXiv:2308.12029"),
    _Method("dualproj", "DualProj", "the mean gradient, projected so that no task gets worse", "arXiv:1706.08840"),
    _Method("dwa", "DWA", "weights by how fast the losses of epochs fall", "CVPR 2019, arXiv:1803.10704"),
    _Method("excess_mtl", "ExcessMTL", "weights by an estimate of the excess risk", "ICML 2024, arXiv:2402.02009"),
    _Method("fairgrad", "FairGrad", "alpha-fair decrease of the losses", "ICML 2024, arXiv:2402.15638"),
    _Method("famo", "FAMO", "even relative decrease of all losses", "NeurIPS 2023, arXiv:2306.03792"),
    _Method("gls", "geometric mean of losses", "the geometric mean of the losses", "CVPRW 2019, arXiv:1904.08492"),
    _Method(
        "graddrop", "GradDrop", "of conflicting entries one sign is kept at random", "NeurIPS 2020, arXiv:2010.06808"
    ),
    _Method("gradnorm", "GradNorm", "gradient norms by the rate of learning", "ICML 2018, arXiv:1711.02257"),
    _Method("gradvac", "GradVac", "task gradients turned to a learned similarity", "ICLR 2021, arXiv:2010.05874"),
    _Method("group_dro", "group DRO", "weights grow with the loss", "ICLR 2020, arXiv:1911.08731"),
    _Method("imtl_g", "IMTL-G", "equal projections on all task gradients", "B. Liu et al., ICLR 2021"),
    _Method("imtl_l", "IMTL-L", "losses scaled to one size", "B. Liu et al., ICLR 2021"),
    _Method("log_scalarisation", "sum of log losses", "the sum of the logarithms of the losses", ""),
    _Method("mgda", "MGDA", "the shortest combination of the task gradients", "NeurIPS 2018, arXiv:1810.04650"),
    _Method("mgda_ub", "MGDA-UB", "MGDA on the gradients of the features", "NeurIPS 2018, arXiv:1810.04650"),
    _Method("moco", "MoCo", "MGDA with tracked gradients", "ICLR 2023, arXiv:2210.12624"),
    _Method("nash_mtl", "Nash-MTL", "the bargaining solution of the tasks", "ICML 2022, arXiv:2202.01017"),
    _Method("rlw", "random weights", "new random weights in every step", "TMLR 2022, arXiv:2111.10603"),
    _Method("sdmgrad", "SDMGrad", "MGDA pulled towards the mean gradient", "NeurIPS 2023, arXiv:2305.18409"),
    _Method("stch", "smooth Tchebycheff", "a smooth form of the largest loss", "ICML 2024, arXiv:2402.19078"),
    _Method("stch_mtl", "smooth Tchebycheff, logarithms", "the same on log losses", "ICML 2024, arXiv:2402.19078"),
    _Method("upgrad", "UPGrad", "every task gradient projected so that no task gets worse", "arXiv:2406.16232"),
    _Method("worst_task", "worst task", "only the largest loss of the step", ""),
)


def methods() -> tuple[Candidate, ...]:
    """One candidate ``hard_sharing_<method>`` for every method that a comparison can run with its defaults.

    Example:
        >>> [candidate.name for candidate in methods()][:2]
        ['hard_sharing_aligned_mtl', 'hard_sharing_almo']
    """
    return tuple(
        balanced(
            _made(method.name),
            name=f"hard_sharing_{method.name}",
            title=f"hard sharing, {method.title}",
            summary=f"Hard sharing; {method.summary}.",
            source=method.source,
        )
        for method in _METHODS
    )


def _made(name: str) -> Balancer:
    balancer: Balancer = getattr(importlib.import_module("taskloom.balance"), name)()
    return balancer
