"""DualProj: the projected mean, preferences, TorchJD's ridge."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance.base import chain
from taskloom.balance.mix.pcgrad import project_conflicts
from taskloom.balance.mix.upgrad import upgrad
from taskloom.balance.reduce.dualproj import dualproj
from taskloom.errors import BalanceError


def jacobian(n_tasks: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n_tasks, size, generator=torch_stream(seed, "test"), dtype=torch.float64)


@pytest.mark.parametrize("n_tasks", [1, 2, 3, 5, 10])
def test_it_is_the_nearest_direction_that_opposes_nobody(n_tasks: int) -> None:
    for seed in range(5):
        rows = jacobian(n_tasks, n_tasks + 1, seed)
        mean, direction = rows.mean(0), dualproj().direction(rows)
        assert float((rows @ direction).min()) >= -1e-12
        # the mean lies beyond it, seen from every direction that opposes nobody
        assert float((mean - direction) @ direction) == pytest.approx(0, abs=1e-12)
        for other in range(5):
            allowed = upgrad().direction(rows + 0.1 * jacobian(n_tasks, n_tasks + 1, 10 + other))
            if float((rows @ allowed).min()) >= 0:
                assert float((mean - direction) @ (allowed - direction)) <= 1e-12


def test_without_conflict_it_is_the_mean() -> None:
    rows = jacobian(4, 6).abs()
    assert dualproj().weights(rows @ rows.T).tolist() == [0.25] * 4


def test_preferences() -> None:
    rows = jacobian(3, 5)
    gramian = rows @ rows.T
    by_name = dualproj({"c": 0.5, "a": 0.2, "b": 0.3})
    by_name.bind(["a", "b", "c"])
    assert torch.equal(by_name.weights(gramian), dualproj([0.2, 0.3, 0.5]).weights(gramian))
    aligned = rows.abs()
    assert dualproj([0.2, 0.3, 0.5]).weights(aligned @ aligned.T).tolist() == [0.2, 0.3, 0.5]
    part = by_name.combine(torch.zeros(2, dtype=torch.float64), gramian[1:, 1:], tasks=["b", "c"]).weights
    torch.testing.assert_close(part, dualproj([0.3, 0.5]).weights(gramian[1:, 1:]))


def test_edge_cases() -> None:
    assert dualproj().weights(torch.tensor([[4.0]])).tolist() == [1.0]
    assert dualproj().weights(torch.zeros(4, 4)).tolist() == [0.25] * 4
    opposite = torch.tensor([[1.0, 2.0], [-3.0, -6.0]], dtype=torch.float64)
    torch.testing.assert_close(dualproj().direction(opposite), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-14)


def test_torchjd_agrees_with_its_ridge() -> None:
    pytest.importorskip("quadprog")
    pytest.importorskip("qpsolvers")
    aggregation = pytest.importorskip("torchjd.aggregation")
    for n_tasks in (2, 4, 7):
        rows = jacobian(n_tasks, n_tasks + 2, seed=n_tasks)
        expected = aggregation.DualProj()(rows)
        torch.testing.assert_close(dualproj(ridge=1e-4).direction(rows), expected, rtol=1e-6, atol=1e-8)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(BalanceError, match="preference"):
        dualproj([-1.0, 2.0])
    with pytest.raises(BalanceError, match="ridge must be a number >= 0"):
        dualproj(ridge=-1)
    with pytest.raises(BalanceError, match="there is no task 'd'"):
        dualproj({"a": 1.0, "d": 1.0}).bind(["a", "b"])
    three_rows = chain(_Stack(), dualproj([1.0, 2.0]))
    with pytest.raises(BalanceError, match="prefers tasks, found 3 rows for 2 tasks"):
        three_rows.weights(torch.eye(2))
    assert repr(dualproj([1.0, 2.0], ridge=1e-4)) == "chain(dualproj([1.0, 2.0], ridge=0.0001))"


class _Stack(type(project_conflicts())):
    """Leaves one row more than it is given."""

    def __init__(self) -> None:
        super().__init__("ascending", seed=0, generator=None)

    def mix(self, gramian: Tensor) -> Tensor:
        return torch.ones(len(gramian) + 1, len(gramian), dtype=gramian.dtype)
