"""Small data sets of both layouts, and what it means that two results are equal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from taskloom.data.tensors import TaskTensors
from taskloom.fit.result import FitResult
from taskloom.task import Binary, Multiclass, Regression, Task

N_ROWS, N_INPUTS, N_TRAIN = 120, 6, 80


def _inputs() -> torch.Tensor:
    return torch.randn(N_ROWS, N_INPUTS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture(scope="session")
def multi_label() -> TaskTensors:
    """Four tasks of all kinds on one input, a fifth of the labels missing; float64."""
    x = _inputs()
    columns = [x[:, 0] + x[:, 1] ** 2, x[:, 0] - x[:, 2], x[:, 3] > 0, (x[:, 4] > 0).double() + (x[:, 5] > 0)]
    return TaskTensors(
        tasks=(
            Task(name="a", kind=Regression()),
            Task(name="b c", kind=Regression()),
            Task(name="d", kind=Binary()),
            Task(name="e", kind=Multiclass(3)),
        ),
        inputs=x,
        targets=torch.stack([column.double() for column in columns], dim=1),
        mask=torch.rand(N_ROWS, 4, generator=torch.Generator().manual_seed(1)) > 0.2,
        train=np.arange(N_TRAIN),
        validation=np.arange(N_TRAIN, N_ROWS),
    )


@pytest.fixture(scope="session")
def several_sets() -> TaskTensors:
    """Four regression tasks with rows of their own, of different number; float64."""
    x = _inputs()
    ids = np.random.default_rng(2).choice(4, size=N_ROWS, p=[0.4, 0.3, 0.2, 0.1])
    targets, mask = torch.zeros(N_ROWS, 4, dtype=torch.float64), torch.zeros(N_ROWS, 4, dtype=torch.bool)
    targets[np.arange(N_ROWS), ids] = x[:, 0] * torch.from_numpy(ids + 1) + x[:, 1]
    mask[np.arange(N_ROWS), ids] = True
    return TaskTensors(
        tasks=tuple(Task(name=f"s/{k}", kind=Regression()) for k in range(4)),
        inputs=x,
        targets=targets,
        mask=mask,
        train=np.arange(N_TRAIN),
        validation=np.arange(N_TRAIN, N_ROWS),
        task_ids=ids,
    )


@pytest.fixture(scope="session")
def deviation() -> Callable[[FitResult, FitResult], float]:
    """Largest difference of two results, relative to values above 1; counts and epochs must be equal."""

    def largest(found: FitResult, expected: FitResult) -> float:
        for name in ("epochs", "measured", "tasks"):
            assert getattr(found.history, name) == getattr(expected.history, name), name
        assert found.best_epoch == expected.best_epoch
        assert found.steps == expected.steps
        assert found.state.keys() == expected.state.keys()
        pairs = [(value.double().numpy(), expected.state[name].double().numpy()) for name, value in found.state.items()]
        columns = ("train_loss", "validation_loss", "weights", "score", "gramians")
        pairs += [(getattr(found.history, name), getattr(expected.history, name)) for name in columns]
        worst = 0.0
        for one, other in pairs:
            assert one.shape == other.shape
            assert np.array_equal(np.isnan(one), np.isnan(other))
            difference = np.abs(one - other) / np.maximum(1.0, np.abs(other))
            worst = max(worst, float(np.nan_to_num(difference).max(initial=0.0)))
        return worst

    return largest
