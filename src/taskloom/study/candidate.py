"""A candidate: one way to learn the tasks, as data. A comparison is a list of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from taskloom.errors import StudyError
from taskloom.study.space import Parameter, Settings

if TYPE_CHECKING:
    from taskloom.data.table import MultiTaskData
    from taskloom.fit.result import FitResult
    from taskloom.fit.training import Training
    from taskloom.study.problem import Problem

__all__ = ["Candidate", "Family", "Fitted", "Learned", "Learning", "Plan"]

Family = Literal["single", "baseline", "pooled", "joint"]


class Fitted(Protocol):
    """A fitted predictor without a network. It is stored by skops, so its parts are arrays, numbers and estimators."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks it answers."""
        ...

    def outputs(self, inputs: np.ndarray, rows: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Raw outputs (n, n_outputs) of every task, in the form of a network's: values, or logits.

        Args:
            inputs: prepared inputs, float64 (N, n_inputs).
            rows: which of them each task is asked for, task name -> int (n,).
        """
        ...


@dataclass(frozen=True, eq=False)
class Learned:
    """One predictor that a plan has learned, for one task or several.

    Args:
        tasks: names of the tasks it answers.
        score: its validation score (see :class:`taskloom.fit.training.Objective`); lower is better. Trials compete
            by it.
        outputs: function from a part (``"validation"``, ``"test"``) to raw outputs (n, n_outputs) per task, for the
            rows of the part whose target is known.
        parameters: number of fitted parameters; 0 when that means nothing (trees).
        seconds: training time.
        fit: the network's training, None for other estimators.
        fitted: what answers the tasks for any inputs, so that it can be stored; None for networks, which ``fit`` holds.

    Example:
        >>> guess = Learned(("a",), 1.0, lambda part: {"a": np.zeros((3, 1))}, parameters=0, seconds=0.0)
        >>> guess.outputs("test")["a"].shape
        (3, 1)
    """

    tasks: tuple[str, ...]
    score: float
    outputs: Callable[[str], Mapping[str, np.ndarray]]
    parameters: int
    seconds: float
    fit: FitResult | None = None
    fitted: Fitted | None = None


Learning = Generator["list[Training]", "list[FitResult]", "list[Learned]"]


class Plan(Protocol):
    """How a candidate learns. A plan is a frozen dataclass, so that it can go to worker processes."""

    def reason_against(self, data: MultiTaskData) -> str | None:
        """Why the plan does not fit the data; None if it does."""
        ...

    def space(self, data: MultiTaskData) -> Sequence[Parameter]:
        """Hyperparameters that are tuned."""
        ...

    def learn(self, problem: Problem, settings: Settings) -> Learning:
        """Learn under one setting: a generator that yields trainings, is sent their results, and returns predictors.

        Whoever runs it collects the trainings of many settings and seeds, and trains those of one shape together.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to learn the tasks: a name, a plan, and words for the report.

    Args:
        name: identifier, ``[a-z][a-z0-9_]*``.
        title: how tables show it.
        summary: one plain line.
        family: ``"single"`` (one network per task), ``"baseline"`` (no network), ``"pooled"`` (one for all tasks as
            if they were one), ``"joint"`` (multi-task learning).
        plan: how it learns.
        source: where it comes from (authors, venue, year, arXiv); empty for common practice.
        in_default: whether a comparison includes it unless told otherwise.

    Raises:
        StudyError: the name has other characters; files are named by it.

    Example:
        >>> import taskloom as tl
        >>> from taskloom.study.catalogue import catalogue
        >>> [candidate.name for candidate in catalogue()][:2]
        ['single_task', 'hard_sharing']
    """

    name: str
    title: str
    summary: str
    family: Family
    plan: Plan
    source: str = ""
    in_default: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,79}", self.name):
            raise StudyError(
                f"the candidate's name {self.name!r} must be a small letter and then at most 79 small letters, digits "
                "or underscores, because files are named by it; put other words into title="
            )
