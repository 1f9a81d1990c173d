"""Inner products without rows: what they answer, what they refuse, and that ranks average before they multiply."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.engine.layer_networks import jacobian
from tests.engine.processes import on_two_ranks
from torch import Tensor, nn

from taskloom.engine._deferred import DeferredRows, one_pass
from taskloom.engine.base import GradientEngine, Layout
from taskloom.engine.last_stage import LastStageEngine
from taskloom.engine.lean import LeanEngine
from taskloom.engine.low_precision import LowPrecisionEngine
from taskloom.engine.sketch import SketchedEngine
from taskloom.errors import EngineError

ENGINES: dict[str, Any] = {
    "last stage": lambda trunk: LastStageEngine(trunk[2]),
    "lean": lambda trunk: LeanEngine(),
    "low precision": lambda trunk: LowPrecisionEngine(torch.bfloat16),
    "sketch": lambda trunk: SketchedEngine(8, precision=torch.bfloat16),
}


def step_of(part: int) -> tuple[nn.Sequential, list[Tensor | None], list[Tensor]]:
    """The step of one of two ranks; the second lacks a task."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 5)).double()
    inputs = torch.randn(2, 40, 20, dtype=torch.float64)[part]
    z = trunk(inputs)
    losses: list[Tensor | None] = [z[:, 0].square().mean(), (z[:, 1] - 1).square().mean(), z.abs().mean()]
    if part == 1:
        losses[2] = None
    return trunk, losses, [*trunk.parameters()]


def on_rank(rank: int, kind: str) -> tuple[list[list[float]], list[float]]:
    trunk, losses, parameters = step_of(rank)
    engine: GradientEngine = ENGINES[kind](trunk)
    rows = engine.rows(losses, parameters)
    direction = torch.cat(rows.combine(torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)))
    return rows.gramian().tolist(), direction.tolist()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
@pytest.mark.parametrize("kind", ENGINES)
def test_ranks_average_before_they_multiply(kind: str) -> None:
    found = on_two_ranks(on_rank, kind)
    assert found[0] == found[1]
    whole = []
    stage = []
    for part in range(2):
        trunk, losses, parameters = step_of(part)
        whole.append(jacobian(losses, parameters))
        stage.append(jacobian(losses, [*trunk[2].parameters()]))
    mean = (whole[0] + whole[1]) / 2
    looked_at = (stage[0] + stage[1]) / 2 if kind == "last stage" else mean
    torch.testing.assert_close(torch.tensor(found[0][0], dtype=torch.float64), looked_at @ looked_at.T)
    weights = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)
    torch.testing.assert_close(torch.tensor(found[0][1], dtype=torch.float64), mean.T @ weights)


def rows_of() -> tuple[DeferredRows, Tensor]:
    _, losses, parameters = step_of(1)
    exact = jacobian(losses, parameters)
    head = nn.Parameter(torch.ones(1))
    rows = DeferredRows(
        exact @ exact.T,
        one_pass(losses, parameters),
        layout=Layout(parameters),
        heads={id(head): (1, torch.tensor([4.0]))},
        measured_by="An engine",
    )
    return rows, exact


def test_rows_of_smaller_losses() -> None:
    rows, exact = rows_of()
    weights = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)
    smaller = rows.divided(2.0).divided(4.0)
    torch.testing.assert_close(smaller.gramian(), exact @ exact.T / 64)
    torch.testing.assert_close(torch.cat(smaller.combine(weights)), exact.T @ weights / 8)
    (found,) = smaller.of_heads(weights).values()
    assert float(found) == 4.0 / 8 * 2
    assert rows.n_tasks == 3
    assert repr(rows) == "DeferredRows(3 tasks, measured by An engine)"


def test_no_task_is_there() -> None:
    _, _, parameters = step_of(0)
    rows = DeferredRows(
        torch.zeros(2, 2), one_pass([None, None], parameters), layout=Layout(parameters), measured_by=""
    )
    assert rows.gradients(torch.ones(2)) == [None] * len(parameters)
    assert all(not one.any() for one in rows.combine(torch.ones(2)))


@pytest.mark.parametrize("ask", ["matrix", "split", "cross"])
def test_what_is_not_there_is_refused(ask: str) -> None:
    rows, _ = rows_of()
    given = {"matrix": (), "split": (torch.ones(3),), "cross": (rows,)}[ask]
    with pytest.raises(EngineError, match="An engine keeps their inner products only"):
        getattr(rows, ask)(*given)
