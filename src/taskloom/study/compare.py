"""``tl.compare``: is it better to learn these tasks together?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from taskloom.balance.base import Balancer
from taskloom.data.multitask import MultiTaskData
from taskloom.data.split import Splitter
from taskloom.study.budget import Budget
from taskloom.study.candidate import Candidate
from taskloom.study.results import Results
from taskloom.study.run import Progress, Study

__all__ = ["compare"]


def compare(
    data: MultiTaskData,
    *,
    candidates: Sequence[Candidate | Balancer | str] | str = "default",
    main: str | None = None,
    seeds: int = 5,
    seed: int = 0,
    budget: Budget | int | str = "8 trials",
    split: Splitter | None = None,
    workers: int | None = None,
    out: str | Path | None = None,
    storage: str | None = None,
    alpha: float = 0.05,
    margin: float = 0.01,
    batched: bool = True,
    progress: bool | Progress = True,
    title: str | None = None,
    command: str | None = None,
) -> Results:
    """Compare learning the tasks of a data set apart and together.

    Every candidate is tuned with the same budget under the same splits; settings are chosen on validation rows, scores
    are taken on test rows, and gains over the tuned single-task networks are tested seed by seed.

    Args:
        data: the data set.
        candidates: see :class:`Study`.
        main: the task that counts; default all that are not auxiliary.
        seeds: number of replications; default 5. With few tasks, 8 are needed before a two-sided test at 5 % can find
            anything; the results say so.
        seed: base seed.
        budget: ``"8 trials"`` (default), a number of trials, or a time such as ``"10m"``.
        split: how the data are split.
        workers: processes that train at the same time; default one per core when there is much to do.
        out: folder of the run; the same call continues an unfinished run.
        storage: Optuna storage URL that several machines share.
        alpha: level of the tests.
        margin: relative difference that does not matter.
        batched: train networks of one shape together (default); the results are the same without.
        progress: True shows a line per step on the error stream, False nothing, or a function (done, total, text).
        title: what the report is headed with; default the name of the data.
        command: how to repeat the run, shown in the report.

    Returns:
        the results.

    Raises:
        DataError: the data cannot be used or split.
        StudyError: candidates, budget, folder or storage cannot be used.

    Example:
        >>> import taskloom as tl, numpy as np
        >>> x = np.random.default_rng(0).normal(size=(100, 3))
        >>> data = tl.MultiTaskData.from_arrays(
        ...     x, {"a": x[:, 0] + x[:, 2], "b": x[:, 0] - x[:, 1]},
        ...     tasks=[tl.Task(name="a", kind=tl.Regression()), tl.Task(name="b", kind=tl.Regression())])
        >>> results = tl.compare(data, candidates=["linear"], seeds=2, budget="1 trial", progress=False)
        >>> results.gains("linear").tasks[0].task
        'a'
    """
    study = Study(
        data.checked(),
        candidates=candidates,
        main=main,
        seeds=seeds,
        seed=seed,
        budget=Budget.parse(budget),
        split=split,
        workers=workers,
        out=Path(out) if out is not None else None,
        storage=storage,
        alpha=alpha,
        margin=margin,
        batched=batched,
        title=title,
        command=command,
    )
    shown = progress if callable(progress) else _lines if progress else None
    return study.run(shown)


def _lines(done: float, total: float, text: str) -> None:
    """One line on the error stream that is written over."""
    end = "\n" if done >= total else ""
    sys.stderr.write(f"\rcomparing: {done:g} of {total:g} trials {text:<40.40}{end}")
    sys.stderr.flush()
