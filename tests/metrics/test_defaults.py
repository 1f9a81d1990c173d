"""The metrics of a kind, and how a new kind joins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from taskloom.errors import TaskError
from taskloom.metrics import MeanAbsoluteError, default_metrics
from taskloom.task import Binary, Kind, Multiclass, Regression


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Regression(), ["RMSE", "R2", "MAE"]),
        (Binary(), ["log loss", "accuracy", "AUROC"]),
        (Multiclass(3), ["log loss", "accuracy"]),
    ],
)
def test_every_kind_has_metrics_main_one_first(kind: Kind, names: list[str]) -> None:
    metrics = default_metrics(kind)
    assert [metric.name for metric in metrics] == names
    outputs = np.random.default_rng(0).normal(size=(20, kind.n_outputs))
    target = np.arange(20) % max(2, kind.n_classes)
    for metric in metrics:
        score = metric(kind.predict(outputs), target)
        assert isinstance(score, float)
        assert np.isfinite(score)


def test_a_kind_without_metrics_is_named_and_can_be_registered() -> None:
    @dataclass(frozen=True)
    class Survival(Kind):
        pass

    with pytest.raises(TaskError, match=r"Survival.*default_metrics\.register\(Survival"):
        default_metrics(Survival())
    default_metrics.register(Survival, lambda kind: (MeanAbsoluteError(),))
    assert default_metrics(Survival()) == (MeanAbsoluteError(),)
