"""What a comparison is, as plain data: everything that determines its results, and the words the report adds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskloom.data.multitask import MultiTaskData
from taskloom.data.split import Splitter
from taskloom.losses import Loss, default_loss
from taskloom.study.candidate import Candidate
from taskloom.study.catalogue import REFERENCE
from taskloom.study.folder import RunFolder
from taskloom.study.problem import metrics_of
from taskloom.task import Task, slugs

if TYPE_CHECKING:
    from taskloom.study.run import Study

__all__ = ["configuration"]


def configuration(
    study: Study, candidates: Sequence[Candidate], left_out: Mapping[str, str], splitter: Splitter
) -> dict[str, Any]:
    """Settings of a comparison with the fingerprint of what determines its trials.

    Args:
        study: the comparison.
        candidates: those that take part.
        left_out: candidate -> why it was left out.
        splitter: how the data are split.

    Returns:
        ``version``, ``fingerprint`` and ``settings``, all JSON-able.
    """
    data = study.data
    settings = {
        "title": study.title or str(data.origin.source or "comparison"),
        "tasks": [
            _task_entry(task, slug, auxiliary=task.auxiliary if study.main is None else task.name != study.main)
            for task, slug in zip(data.tasks, slugs([one.name for one in data.tasks]), strict=True)
        ],
        "main": study.main,
        "candidates": [
            {key: getattr(one, key) for key in ("name", "title", "family", "summary", "source")} for one in candidates
        ],
        "left_out": dict(left_out),
        "seeds": list(range(study.seed, study.seed + study.seeds)),
        "seed": study.seed,
        "budget": str(study.budget),
        "alpha": study.alpha,
        "margin": study.margin,
        "split": str(splitter),
        "data": _data_entry(data),
        "notices": list(data.notices),
        "command": study.command or _python_command(study),
        "reference": REFERENCE,
    }
    return RunFolder.fingerprinted(settings)


def _python_command(study: Study) -> str:
    return (
        f"tl.compare(data, seeds={study.seeds}, seed={study.seed}, budget={str(study.budget)!r}, "
        f"main={study.main!r}, alpha={study.alpha}, margin={study.margin})"
    )


def _task_entry(task: Task, slug: str, *, auxiliary: bool) -> dict[str, Any]:
    metrics = metrics_of(task)
    return {
        "name": task.name,
        "slug": slug,
        "kind": task.kind.name,
        "labels": list(getattr(task.kind, "labels", ())),
        "metric": metrics[0].name,
        "metrics": [{"name": metric.name, "lower_is_better": metric.lower_is_better} for metric in metrics],
        "auxiliary": auxiliary,
        "loss": _loss_text(task.loss or default_loss(task.kind)),
        "loss_weight": task.loss_weight,
    }


def _loss_text(loss: Loss) -> str:
    """A loss with its parameters; of a function or an object of another kind the name, the same in every process."""
    return repr(loss) if dataclasses.is_dataclass(loss) else getattr(loss, "__qualname__", type(loss).__qualname__)


def _data_entry(data: MultiTaskData) -> dict[str, Any]:
    return {
        "source": str(data.origin.source or ""),
        "fingerprint": data.fingerprint,
        "n_rows": data.n_rows,
        "n_features": len(data.features) or (int(data.inputs[0].size) if data.inputs is not None else 0),
        "layout": data.layout,
        "features": [{"name": column.name, "kind": column.kind, "note": ""} for column in data.features],
    }
