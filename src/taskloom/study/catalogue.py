"""The candidates that come with the library. The list is data: a new method joins it by being named here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from taskloom._rng import stream_seed
from taskloom.balance import Balancer, equal, fixed, pcgrad, uncertainty
from taskloom.couplings import CentreDistance, PairwiseDistance, TraceNorm
from taskloom.couplings.base import ParameterCoupling
from taskloom.data.table import MultiTaskData
from taskloom.errors import StudyError, nearest
from taskloom.nn import Conditioned, EmbeddingConcat, FiLM, HardSharing, HardSoftMix, OneHotConcat, Pooled, SoftSharing
from taskloom.nn.model import MultiTaskModel
from taskloom.study.architectures import architectures
from taskloom.study.balanced import balanced
from taskloom.study.candidate import Candidate
from taskloom.study.classical import classical
from taskloom.study.methods import methods
from taskloom.study.plans._networks import Shape
from taskloom.study.plans.apart import Apart
from taskloom.study.plans.estimators import BoostedTrees, Estimators, LinearModel, reason_against_pooling
from taskloom.study.plans.together import Together
from taskloom.study.plans.transfer import Transfer
from taskloom.study.problem import Problem
from taskloom.study.space import LogRange, Parameter, Range, Settings

__all__ = ["REFERENCE", "catalogue", "choose"]

REFERENCE = "single_task"
"""The candidate that gains are measured against: tuned single-task networks."""

_FEW_TASKS = 12  # up to here fixed weighting tunes one weight per task
_MANY_TASKS = 32  # beyond, an eigenvalue problem of this size in every step costs more than the networks
_EMBEDDING_WIDTH = 8


# -- architectures ------------------------------------------------------------------------------------------------


def _hard_sharing(shape: Shape) -> MultiTaskModel:
    return HardSharing(shape.encoder(), shape.tasks)


def _pooled(shape: Shape) -> MultiTaskModel:
    return Pooled(shape.encoder(), shape.tasks)


@dataclass(frozen=True)
class _Soft:
    """Soft sharing by a kind of coupling; an object, so that it can go to worker processes."""

    coupling: Callable[[float], ParameterCoupling]

    def __call__(self, shape: Shape) -> MultiTaskModel:
        strength = float(shape.settings["strength"])
        return SoftSharing(shape.encoder, shape.tasks, coupling=self.coupling(strength), layers=["*"])


def _hard_soft(shape: Shape) -> MultiTaskModel:
    strength = float(shape.settings["strength"])
    return HardSoftMix(
        shape.encoder(depth=1),
        shape.tasks,
        encoder=lambda: shape.encoder(depth=1, n_inputs=shape.width),
        coupling=CentreDistance(strength),
    )


def _one_hot(shape: Shape) -> MultiTaskModel:
    n_tasks = len(shape.tasks)
    encoder = shape.encoder(n_inputs=shape.n_inputs + n_tasks)
    return Conditioned(encoder, shape.tasks, condition=OneHotConcat(n_tasks))


def _embedding(shape: Shape) -> MultiTaskModel:
    width = min(_EMBEDDING_WIDTH, len(shape.tasks))
    encoder = shape.encoder(n_inputs=shape.n_inputs + width)
    return Conditioned(encoder, shape.tasks, condition=EmbeddingConcat(len(shape.tasks), width=width))


def _film(shape: Shape) -> MultiTaskModel:
    encoder = shape.encoder()
    width = min(_EMBEDDING_WIDTH, len(shape.tasks))
    # behind every hidden layer: a scale and a shift per task choose among the hidden units
    conditions = {place: FiLM(len(shape.tasks), shape.width, width=width) for place in range(1, len(encoder) + 1)}
    return Conditioned(encoder, shape.tasks, condition=conditions, head=nn.Linear(shape.width, _n_outputs(shape)))


def _n_outputs(shape: Shape) -> int:
    return shape.tasks[0].kind.n_outputs


# -- balancers and their hyperparameters --------------------------------------------------------------------------


def _equal(problem: Problem, settings: Settings) -> Balancer:
    return equal()


def _uncertainty(problem: Problem, settings: Settings) -> Balancer:
    return uncertainty()


def _pcgrad(problem: Problem, settings: Settings) -> Balancer:
    return pcgrad(seed=stream_seed(problem.seed, "pcgrad"))


def _weight_space(data: MultiTaskData) -> Sequence[Parameter]:
    if len(data.tasks) <= _FEW_TASKS:
        return [LogRange(f"weight_{position}", 0.1, 10.0, default=1.0) for position in range(len(data.tasks))]
    return [Range("size_exponent", -1.0, 1.0, default=0.0)]


def _fixed(problem: Problem, settings: Settings) -> Balancer:
    """One tuned weight per task; with many tasks, weights by a tuned power of the number of labelled rows."""
    if len(problem.tasks) <= _FEW_TASKS:
        weights = np.asarray([float(settings[f"weight_{position}"]) for position in range(len(problem.tasks))])
    else:
        rows = np.asarray(problem.tensors.labelled_rows("train"), dtype=np.float64)
        weights = rows ** float(settings["size_exponent"])
    scaled = weights * len(weights) / weights.sum()
    return fixed({task.name: float(weight) for task, weight in zip(problem.tasks, scaled, strict=True)})


def _strength_space(data: MultiTaskData) -> Sequence[Parameter]:
    return [LogRange("strength", 1e-5, 1e-1, default=1e-3)]


def _few_enough_for_trace_norm(data: MultiTaskData) -> str | None:
    if len(data.tasks) > _MANY_TASKS:
        return (
            f"the trace norm of {len(data.tasks)} networks costs an eigenvalue problem of that size per layer and "
            f"step; it is offered for up to {_MANY_TASKS} tasks"
        )
    return None


# -- the list -----------------------------------------------------------------------------------------------------


def catalogue() -> tuple[Candidate, ...]:
    """All candidates, the reference first.

    Example:
        >>> len({candidate.name for candidate in catalogue()}) == len(catalogue())
        True
    """
    caruana = "R. Caruana, Multitask Learning, Machine Learning 28, 1997"
    return (
        Candidate(
            name=REFERENCE,
            title="single-task networks",
            summary="One network per task, each tuned for its task; nothing is shared.",
            family="single",
            plan=Apart(),
        ),
        Candidate(
            name="hard_sharing",
            title="hard sharing, equal weights",
            summary="One encoder for all tasks, a head per task, the plain sum of the losses.",
            family="joint",
            plan=Together(_hard_sharing, _equal),
            source=caruana,
        ),
        Candidate(
            name="hard_sharing_tuned_weights",
            title="hard sharing, tuned weights",
            summary="Hard sharing with fixed loss weights that the tuner finds.",
            family="joint",
            plan=Together(_hard_sharing, _fixed, extra=_weight_space),
            source=caruana,
        ),
        Candidate(
            name="hard_sharing_uncertainty",
            title="hard sharing, uncertainty weights",
            summary="Hard sharing; every task learns a noise level and counts by its inverse.",
            family="joint",
            plan=Together(_hard_sharing, _uncertainty),
            source="A. Kendall, Y. Gal, R. Cipolla, CVPR 2018, arXiv:1705.07115",
        ),
        Candidate(
            name="hard_sharing_pcgrad",
            title="hard sharing, PCGrad",
            summary="Hard sharing; conflicting parts of the task gradients are projected away.",
            family="joint",
            plan=Together(_hard_sharing, _pcgrad),
            source="T. Yu et al., NeurIPS 2020, arXiv:2001.06782",
        ),
        Candidate(
            name="soft_sharing_mean",
            title="soft sharing, distance to a common copy",
            summary="A network per task, each pulled to a common copy of the weights.",
            family="joint",
            plan=Together(_Soft(CentreDistance), _equal, extra=_strength_space),
            source="L. Duong et al., ACL 2015",
        ),
        Candidate(
            name="soft_sharing_pairwise",
            title="soft sharing, pairwise distance",
            summary="A network per task; every two are pulled to each other.",
            family="joint",
            plan=Together(_Soft(PairwiseDistance), _equal, extra=_strength_space),
            source="L. Duong et al., ACL 2015",
        ),
        Candidate(
            name="soft_sharing_trace",
            title="soft sharing, trace norm",
            summary="A network per task; their stacked weights are pushed to low rank.",
            family="joint",
            plan=Together(_Soft(TraceNorm), _equal, extra=_strength_space, needs=_few_enough_for_trace_norm),
            source="Y. Yang, T. Hospedales, arXiv:1606.04038",
        ),
        Candidate(
            name="hard_soft_mix",
            title="hard and soft sharing",
            summary="A shared first layer, then a layer per task pulled to a common copy.",
            family="joint",
            plan=Together(_hard_soft, _equal, extra=_strength_space),
        ),
        Candidate(
            name="pooled",
            title="one pooled network",
            summary="One network for all tasks that is not told which task a row belongs to.",
            family="pooled",
            plan=Together(_pooled, _equal, needs=reason_against_pooling),
        ),
        Candidate(
            name="conditioned_one_hot",
            title="task as one-hot input",
            summary="One network with a common head; the task is a one-hot input.",
            family="joint",
            plan=Together(_one_hot, _equal, needs=reason_against_pooling),
        ),
        Candidate(
            name="conditioned_embedding",
            title="task as embedding",
            summary="One network with a common head; a learned vector per task is an input.",
            family="joint",
            plan=Together(_embedding, _equal, needs=reason_against_pooling),
        ),
        Candidate(
            name="conditioned_film",
            title="task by FiLM",
            summary="One network with a common head; the task scales and shifts the hidden units.",
            family="joint",
            plan=Together(_film, _equal, needs=reason_against_pooling),
            source="E. Perez et al., AAAI 2018, arXiv:1709.07871",
        ),
        Candidate(
            name="transfer",
            title="transfer, then fine-tuning",
            summary="Train on the other tasks first, then fine-tune on the target.",
            family="joint",
            plan=Transfer(),
        ),
        Candidate(
            name="linear",
            title="ridge / logistic regression",
            summary="One regularised linear model per task (scikit-learn).",
            family="baseline",
            plan=Estimators(LinearModel()),
        ),
        Candidate(
            name="boosted_trees",
            title="boosted trees",
            summary="One histogram gradient boosting per task (scikit-learn).",
            family="baseline",
            plan=Estimators(BoostedTrees(), largest_apart=20),
        ),
        Candidate(
            name="boosted_trees_pooled",
            title="boosted trees, pooled",
            summary="One gradient boosting for all tasks, with the task as input columns (scikit-learn).",
            family="baseline",
            plan=Estimators(BoostedTrees(), pooled=True),
        ),
        *classical(),
        *architectures(),
        *methods(),
    )


def choose(
    wanted: Sequence[Candidate | Balancer | str] | str, data: MultiTaskData
) -> tuple[tuple[Candidate, ...], dict[str, str]]:
    """Candidates of a comparison, and the ones left out with the reason.

    The reference and hard sharing with equal weights always take part: gains need the first, and the second is the
    multi-task baseline that every other method has to beat.

    Args:
        wanted: ``"default"``, ``"all"``, or names, candidates, and balancers (:func:`taskloom.study.balanced`).
        data: the data they must fit.

    Returns:
        the candidates, reference first, and a mapping name -> why it was left out.

    Raises:
        StudyError: an unknown name, two candidates of one name, or a named one that does not fit the data.
    """
    known = {candidate.name: candidate for candidate in catalogue()}
    if isinstance(wanted, str) and wanted in ("default", "all"):
        asked = [one for one in known.values() if one.in_default or wanted == "all"]
        explicit = False
    else:
        asked = [_named(one, known) for one in ([wanted] if isinstance(wanted, str) else wanted)]
        explicit = True
    names = [candidate.name for candidate in asked]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise StudyError(f"candidates: {twice} are named twice; give every candidate its own name")
    always = [known[name] for name in (REFERENCE, "hard_sharing") if name not in names]
    chosen, left_out = [], {}
    for candidate in [*always, *asked]:
        reason = candidate.plan.reason_against(data)
        if reason is None:
            chosen.append(candidate)
        elif explicit and candidate in asked:
            raise StudyError(f"the candidate {candidate.name!r} does not fit these data: {reason}; leave it out")
        else:
            left_out[candidate.name] = reason
    chosen.sort(key=lambda candidate: candidate.name != REFERENCE)
    return tuple(chosen), left_out


def _named(one: Candidate | Balancer | str, known: dict[str, Candidate]) -> Candidate:
    if isinstance(one, Candidate):
        return one
    if isinstance(one, Balancer):
        return balanced(one)
    if one not in known:
        raise StudyError(f"candidates: unknown name {one!r}.{nearest(one, known)}")
    return known[one]
