"""Toy problems with known outcomes: the two-task toy of three papers, and convex quadratics.

The tables are measured figures of an independent implementation in float64 that follows the papers' scripts: where each
method ends from each start, and when it first reaches the Pareto set. The full tables are slow tests; on one slow core
a method takes about a minute with 35,000 steps, two to four with 100,000, and FAMO two with 50,000: 35 minutes in all.
All starts of a table are run together: the step is recorded once, as the trainer does for many small networks.

A run that falls into a crack bounces between its walls, where the gradient jumps by up to 1e5, and its last bits decide
when it gets out. Runs from starts that differ by 1e-13 arrive up to 25 % earlier or later, and some of them not at all
within the steps of the table. Such entries are ``rough`` or ``OPEN``; all others are held to 5 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import taskloom as tl
from taskloom.balance import Balancer
from taskloom.balance._stationarity import stationarity
from taskloom.balance.scale.uncertainty import GAUSSIAN
from taskloom.data.problems import ConvexQuadratics, TwoTaskToy, convex_quadratics
from taskloom.errors import BalanceError
from taskloom.fit._recorded import OverMembers

TASKS = ("first", "second")
FIVE_STARTS = ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0))
THREE_STARTS = ((-8.5, 7.5), (-8.5, -5.0), (9.0, 9.0))


@dataclass(frozen=True)
class End:
    """Where a run ends on the Pareto set, when it first gets there, and how exactly that is known."""

    x_1: float
    step: int
    within: float = 0.5  # of x_1: wherever a run meets the Pareto set
    late: float = 0.05  # of step, relative

    def isolated(self) -> End:
        """The method goes on to one point of the Pareto set."""
        return replace(self, within=0.1)

    def rough(self) -> End:
        """The run was in a crack."""
        return replace(self, within=2 * self.within, late=0.3)


class Open(Enum):
    """Rounding decides whether the run arrives in time."""

    OPEN = "open"


OPEN = Open.OPEN
Row = tuple[End | Open | None, ...]  # one per start; None: the method does not get there


# -- the loop ---------------------------------------------------------------------------------------------------------


class OneStep(nn.Module):
    """Point (2,) -> direction (2,): measure, decide, combine."""

    def __init__(self, toy: TwoTaskToy, balancer: Balancer) -> None:
        super().__init__()
        self.toy, self.balancer, self.draws = toy, balancer, balancer.draw(2)  # two tasks have one order only

    def forward(self, point: Tensor) -> Tensor:
        jacobian = self.toy.jacobian(point)
        found = self.balancer.combine(self.toy.losses(point), jacobian @ jacobian.T, draws=self.draws, tasks=TASKS)
        return found.weights @ jacobian


class AllStarts:
    """The direction at the points of several runs at once, each with a memory of its own."""

    def __init__(self, toy: TwoTaskToy, balancer: Balancer, n_runs: int) -> None:
        balancer.bind(TASKS)
        step = OneStep(toy, balancer)
        self._names = [name for name, _ in balancer.named_buffers(prefix="balancer")] if balancer.remembers else []
        self._memory = [step.get_buffer(name).expand(n_runs, *step.get_buffer(name).shape) for name in self._names]

        def run(point: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
            return functional_call(step, dict(zip(self._names, memory, strict=True)), (point,)), *memory

        self._run = OverMembers(run)

    def __call__(self, points: Tensor) -> Tensor:
        with torch.no_grad():
            direction, *self._memory = self._run((), points, *self._memory)
        return direction


@dataclass(frozen=True)
class Outcome:
    """Where the runs ended (S, 2), and the first step of each on the Pareto set (-1: none)."""

    points: Tensor
    first: list[int]
    in_valley: list[bool]


def follow(
    balancer: Balancer, starts: Sequence[tuple[float, float]], kappa: float, n_steps: int, *, lr: float = 1e-3
) -> Outcome:
    """Adam from every start."""
    toy = TwoTaskToy(kappa)
    points = nn.Parameter(torch.tensor(starts, dtype=torch.float64))
    direction = AllStarts(toy, balancer, len(starts))
    optimiser = torch.optim.Adam([points], lr=lr, fused=True)
    trace = torch.empty(n_steps, *points.shape, dtype=torch.float64)
    for step in range(n_steps):
        points.grad = direction(points.detach())
        optimiser.step()
        trace[step] = points.detach()
    there = toy.in_valley(trace)  # (T, S)
    first = torch.where(there.any(0), there.int().argmax(0) + 1, -1)
    return Outcome(trace[-1], first.tolist(), there[-1].tolist())


def check(row: Row, found: Outcome) -> None:
    """The outcome is that of the table: who arrives, where, and when."""
    print(" | ".join(f"({x:.2f}, {y:.2f}) {first}" for (x, y), first in zip(found.points, found.first, strict=True)))
    for end, point, first, arrived in zip(row, found.points, found.first, found.in_valley, strict=True):
        if end is OPEN:
            continue
        assert arrived == (end is not None)
        if isinstance(end, End):
            assert point[0] == pytest.approx(end.x_1, abs=end.within)
            assert first == pytest.approx(end.step, rel=end.late)


# -- the tables -------------------------------------------------------------------------------------------------------


def row(*ends: tuple[float, int] | Open | None, isolated: bool = False, rough: Sequence[int] = ()) -> Row:
    """One row of a table; ``rough``: positions of the starts whose runs come through a crack."""
    made: list[End | Open | None] = []
    for place, end in enumerate(ends):
        if isinstance(end, tuple):
            exact = End(*end).isolated() if isolated else End(*end)
            made.append(exact.rough() if place in rough else exact)
        else:
            made.append(end)
    return tuple(made)


NASH_ROW = row((-2.93, 14380), (0.00, 8106), (2.94, 15015), (-3.28, 7160), (4.90, 6374))

# The rows of MGDA are those of its official two-point solution, which has 0.001 and 0.999 where the shortest vector has
# 0 and 1; that matters from the starts behind a crack. Those of Aligned-MTL depend, along the Pareto set, on where an
# eigenvalue counts as 0.
NASH_SETTING: dict[str, tuple[Callable[[], Balancer], Row]] = {
    "sum": (tl.equal, row(OPEN, (-5.73, 15211), None, (-5.73, 14719), (-5.73, 27050), isolated=True)),
    "mgda": (
        tl.mgda,
        row((-1.98, 25654), (6.12, 15124), (6.94, 19780), (-4.19, 9027), (7.00, 12852), rough=[0]),
    ),
    "pcgrad": (tl.pcgrad, row((-4.91, 22972), (-3.35, 14645), None, (-3.82, 13899), (5.04, 8192), rough=[0])),
    "cagrad": (tl.cagrad, row(OPEN, (-5.73, 15718), None, (-5.73, 14624), (-5.73, 26680), isolated=True)),
    "imtl_g": (
        tl.imtl_g,
        row((-2.21, 29701), (0.00, 15362), (2.43, 21756), (-3.39, 11348), (5.30, 12372), rough=[0]),
    ),
    "aligned_mtl": (
        tl.aligned_mtl,
        row((-5.72, 24944), (-4.65, 14374), (-3.86, 19601), (-5.72, 9731), (-2.94, 24402), rough=[1, 2, 4]),
    ),
    "nash_mtl": (tl.nash_mtl, NASH_ROW),
    "fairgrad alpha=1 is nash": (lambda: tl.fairgrad(1.0, max_norm=1.0), NASH_ROW),
    "fairgrad alpha=2": (
        lambda: tl.fairgrad(2.0, max_norm=1.0),
        row((-2.32, 13950), (3.75, 8105), (4.25, 15182), (-3.76, 6353), (5.93, 6603)),
    ),
}

CAGRAD_SETTING: dict[str, tuple[Callable[[], Balancer], Row]] = {
    "mean": (lambda: tl.equal("mean"), row(None, (0.00, 5197), None, isolated=True)),
    "mgda": (tl.mgda, row((-3.64, 22313), (-6.99, 5519), (3.50, 23450))),
    "pcgrad": (tl.pcgrad, row(OPEN, (-6.43, 2898), OPEN)),
    "cagrad c=0.2": (
        lambda: tl.cagrad(0.2),
        row((0.00, 92517), (0.00, 6182), (0.00, 90698), isolated=True, rough=[0, 2]),
    ),
    "cagrad c=0.5": (
        lambda: tl.cagrad(0.5),
        row((0.00, 57416), (0.00, 6331), (0.00, 62469), isolated=True, rough=[0, 2]),
    ),
    "cagrad c=0.8": (
        lambda: tl.cagrad(0.8),
        row((0.00, 51407), (0.00, 5136), (0.00, 50038), isolated=True, rough=[0, 2]),
    ),
}

FAMO_SETTING: dict[tuple[float, float], Row] = {  # (kappa, decay)
    (0.1, 0.0): row((-0.49, 20337), (0.08, 15147), (0.34, 19738), (-0.95, 11996), (1.76, 13322)),
    (1.0, 0.0): row((-0.30, 17757), (0.00, 12896), (0.59, 18395), (-1.29, 11181), (1.63, 11098)),
    (0.1, 1e-5): row(None, (0.02, 15140), None, (-2.29, 11856), (4.01, 12923)),
    (0.1, 1e-3): row(None, (-6.24, 13873), None, (-6.23, 12311), (6.23, 13623)),
}

# Steps for rows with runs that come out of a crack shortly before the last step of the table.
LONGER = {"imtl_g": 45_000, "cagrad c=0.2": 120_000}


def famo(kappa: float, decay: float) -> Balancer:
    """As in the authors' toy script: the losses of the following step, which has all the data too."""
    return tl.famo(decay=decay, minimum=(-21 * kappa, -21.0), max_norm=1.0, reuse_next=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("method", NASH_SETTING)
def test_setting_of_nash_mtl(method: str) -> None:
    """kappa 0.1, five starts, 35,000 steps: 20 to 60 s a method."""
    make, ends = NASH_SETTING[method]
    check(ends, follow(make(), FIVE_STARTS, 0.1, LONGER.get(method, 35_000)))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("make", [tl.equal, tl.cagrad], ids=["sum", "cagrad"])
def test_some_leave_a_crack_late(make: Callable[[], Balancer]) -> None:
    """From the first start the sum and CAGrad need longer; from the third they stay in the crack. 30 and 80 s."""
    found = follow(make(), [FIVE_STARTS[0], FIVE_STARTS[2]], 0.1, 60_000)
    assert found.in_valley == [True, False]
    assert found.points[0, 0] == pytest.approx(-5.73, abs=0.1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("kappa", "decay"), FAMO_SETTING)
def test_setting_of_famo(kappa: float, decay: float) -> None:
    """Five starts, 50,000 steps, the losses of the following step: about 100 s a row."""
    check(FAMO_SETTING[kappa, decay], follow(famo(kappa, decay), FIVE_STARTS, kappa, 50_000))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("method", CAGRAD_SETTING)
def test_setting_of_cagrad(method: str) -> None:
    """kappa 1, three starts, 100,000 steps: 1 to 3 minutes a method."""
    make, ends = CAGRAD_SETTING[method]
    found = follow(make(), THREE_STARTS, 1.0, LONGER.get(method, 100_000))
    check(ends, found)
    if method == "pcgrad":  # where it meets the Pareto set is open, not that it does
        assert all(found.in_valley)


@pytest.mark.parametrize(
    "start",
    [pytest.param(start, marks=[pytest.mark.slow] if start[1] > 5 else [], id=str(start)) for start in FIVE_STARTS],
)
def test_uncertainty_weighting_is_not_defined_here(start: tuple[float, float]) -> None:
    """Losses become negative and the log-variances run away; the library says so. Two starts take about 10 s."""
    toy, point = TwoTaskToy(0.1), nn.Parameter(torch.tensor(start, dtype=torch.float64))
    balancer = tl.uncertainty(GAUSSIAN)
    balancer.bind(TASKS)
    optimiser = torch.optim.Adam([{"params": [point]}, *balancer.parameter_groups()], lr=1e-3)

    def descend() -> None:
        for _ in range(35_000):
            optimiser.zero_grad()
            losses = dict(zip(TASKS, toy.losses(point).unbind(), strict=True))
            tl.balance(losses, balancer, shared=[point], verify="never").backward()
            optimiser.step()

    with pytest.raises(BalanceError, match="uncertainty weighting needs losses >= 0"):
        descend()


# -- in short ---------------------------------------------------------------------------------------------------------

IN_SHORT: dict[str, Callable[[], Balancer]] = {
    **{name: make for name, (make, _) in NASH_SETTING.items()},
    "upgrad": tl.upgrad,
    "famo": lambda: famo(0.1, 0.0),
}


@pytest.mark.parametrize("method", IN_SHORT)
def test_starts_together_are_starts_alone(method: str) -> None:
    """The loop of these tests makes the steps that calls of the balancer make."""
    toy, n_steps = TwoTaskToy(0.1), 40
    together = follow(IN_SHORT[method](), FIVE_STARTS, 0.1, n_steps).points
    for start, expected in zip(FIVE_STARTS, together, strict=True):
        point, balancer = nn.Parameter(torch.tensor(start, dtype=torch.float64)), IN_SHORT[method]()
        optimiser = torch.optim.Adam([point], lr=1e-3)
        for _ in range(n_steps):
            point.grad = balancer.direction(toy.jacobian(point), toy.losses(point).detach())
            optimiser.step()
        torch.testing.assert_close(point.detach(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", ["sum", "mgda", "cagrad", "nash_mtl", "upgrad", "famo"])
def test_all_reach_the_valley_from_an_easy_start(method: str) -> None:
    """Ten times longer steps, and fewer: what the full tables say of this start."""
    balancer = famo(1.0, 0.0) if method == "famo" else IN_SHORT[method]()
    found = follow(balancer, [(-8.5, -5.0)], 1.0, 1500, lr=1e-2)
    assert found.in_valley == [True]


def test_nash_mtl_reaches_the_valley_from_everywhere() -> None:
    assert all(follow(tl.nash_mtl(), FIVE_STARTS, 0.1, 1400, lr=1e-2).in_valley)


# -- convex quadratics ------------------------------------------------------------------------------------------------

PROBLEMS = [
    pytest.param(convex_quadratics(n_tasks, size, condition=5.0, seed=seed), id=f"{n_tasks} tasks of {size}")
    for n_tasks, size, seed in ((2, 3, 0), (3, 5, 1), (4, 4, 0))
]


def descend(
    problem: ConvexQuadratics, balancer: Balancer, rate: Callable[[int], float], n_steps: int, until: float = -1.0
) -> tuple[Tensor, float]:
    """Gradient descent until nu <= until; the point, and nu there: min v^T C v over the simplex, C the cosines."""
    theta = 3 * torch.randn(problem.minima.shape[1], dtype=torch.float64, generator=torch.manual_seed(0))
    for step in range(n_steps):
        jacobian = problem.jacobian(theta)
        if float(stationarity(jacobian @ jacobian.T)) <= until:
            break
        theta = theta - rate(step) * balancer.direction(jacobian, problem.losses(theta))
    jacobian = problem.jacobian(theta)
    return theta, float(stationarity(jacobian @ jacobian.T))


@pytest.mark.parametrize("method", ["mgda", "upgrad", "pcgrad", "nash_mtl", "cagrad"])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_they_reach_the_pareto_set(problem: ConvexQuadratics, method: str) -> None:
    n_tasks = len(problem.minima)
    make, rate = {
        "mgda": (tl.mgda, lambda _: 0.2),
        "upgrad": (tl.upgrad, lambda _: 0.2),
        "pcgrad": (tl.pcgrad, lambda _: 0.2 / n_tasks),
        "nash_mtl": (tl.nash_mtl, lambda step: 0.5 * 0.98**step),  # its direction does not get shorter: the rate does
        "cagrad": (tl.cagrad, lambda _: 0.2),
    }[method]
    theta, nu = descend(problem, make(), rate, 400, until=1e-6)
    assert nu <= 1e-6
    if method == "mgda":  # the first stationary point is the last one
        jacobian = problem.jacobian(theta)
        assert tl.mgda().direction(jacobian).norm() < 2e-3 * jacobian.norm()


@pytest.mark.parametrize("method", ["equal", "cagrad"])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_they_reach_the_minimum_of_the_mean(problem: ConvexQuadratics, method: str) -> None:
    balancer = tl.equal("mean") if method == "equal" else tl.cagrad(0.4)
    theta, nu = descend(problem, balancer, lambda _: 0.2, 250)
    middle = problem.pareto_point(torch.ones(len(problem.minima)))
    torch.testing.assert_close(theta, middle, rtol=0, atol=1e-6)
    assert nu < 1e-6
