"""Which laws hold for which balancer."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from taskloom.balance.base import Balancer, Mix, RowRule, chain
from taskloom.balance.mix.pcgrad import pcgrad, project_conflicts
from taskloom.balance.reduce.mean import mean
from taskloom.balance.reduce.sum import equal, sum_
from taskloom.balance.scale.fixed import fixed
from taskloom.balance.scale.uncertainty import GAUSSIAN, LAPLACE, uncertainty
from taskloom.balance.wrap.every import every
from taskloom.testing.balancers import BalancerLaws


class TestEqualSum(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return equal()


class TestEqualMean(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return equal("mean")


class TestFixed(BalancerLaws):
    # The weights are the user's: neither equal nor 1.
    orthogonal_gives_equal: ClassVar[bool] = False
    single_task_weight: ClassVar[float | None] = 0.5

    def make_balancer(self) -> Balancer:
        return _FixedByPosition()


class _FixedByPosition(Balancer):
    """Weights (k + 1) / 2 for whatever number of tasks it is bound to."""

    def __init__(self) -> None:
        super().__init__([])

    def bind(self, tasks: object) -> None:
        weights = {name: (int(str(name).split()[1]) + 1) / 2 for name in tasks}
        self.links.append(next(iter(fixed(weights))))
        super().bind(tasks)


class TestUncertainty(BalancerLaws):
    single_task_weight: ClassVar[float | None] = 0.5

    def make_balancer(self) -> Balancer:
        return uncertainty(GAUSSIAN)


class TestUncertaintyLog1p(BalancerLaws):
    single_task_weight: ClassVar[float | None] = 0.5

    def make_balancer(self) -> Balancer:
        return uncertainty(GAUSSIAN, regulariser="log1p", clamp=(-2.0, 2.0))


class TestPCGrad(BalancerLaws):
    non_conflicting_pairs: ClassVar[bool] = True

    def make_balancer(self) -> Balancer:
        return pcgrad()


class TestPCGradMean(BalancerLaws):
    non_conflicting_pairs: ClassVar[bool] = True

    def make_balancer(self) -> Balancer:
        return pcgrad("mean", seed=3)


class TestTwoRandomLinks(BalancerLaws):
    """The random numbers of several links travel in one tensor."""

    def make_balancer(self) -> Balancer:
        return chain(project_conflicts(seed=1), project_conflicts(seed=1), mean())


class TestUncertaintyThenPCGrad(BalancerLaws):
    single_task_weight: ClassVar[float | None] = 1.0

    def make_balancer(self) -> Balancer:
        return chain(uncertainty(LAPLACE), pcgrad())


class TestEverySecondStep(BalancerLaws):
    non_conflicting_pairs: ClassVar[bool] = True

    def make_balancer(self) -> Balancer:
        return every(2, pcgrad())


class _Normalise(Mix):
    """Every gradient gets norm 1: a method that ignores the scale of each task."""

    def mix(self, gramian: Tensor) -> Tensor:
        squares = gramian.diagonal()
        return torch.diag(torch.where(squares > 0, torch.where(squares > 0, squares, 1.0).rsqrt(), 0.0))


class TestNormalisedSum(BalancerLaws):
    degree: ClassVar[float | None] = 0.0
    scale_invariant: ClassVar[bool] = True
    single_task_weight: ClassVar[float | None] = None

    def make_balancer(self) -> Balancer:
        return chain(_Normalise(), sum_())


class _TrimmedMean(RowRule):
    """Coordinate-wise mean without the largest and the smallest entry: a rule that needs the rows."""

    def combine(self, rows: Tensor) -> Tensor:
        if len(rows) < 3:
            return rows.mean(0)
        return rows.sort(dim=0).values[1:-1].mean(0)


class TestRowRule(BalancerLaws):
    orthogonal_gives_equal: ClassVar[bool] = False
    single_task_weight: ClassVar[float | None] = None

    def make_balancer(self) -> Balancer:
        return chain(_TrimmedMean())

    def test_an_absent_task_changes_nothing_for_the_others(self) -> None:
        """Does not hold: this rule counts the zero row of an absent task; leave absent tasks out instead."""


def test_suite_notices_a_broken_balancer() -> None:
    class Broken(BalancerLaws):
        def make_balancer(self) -> Balancer:
            return chain(_ForgetsAbsentTasks(), sum_())

    class _ForgetsAbsentTasks(type(project_conflicts())):
        def __init__(self) -> None:
            super().__init__("ascending", seed=0, generator=None)

        def mix(self, gramian: Tensor) -> Tensor:
            return torch.eye(len(gramian), dtype=gramian.dtype) * (1 + torch.arange(len(gramian)))

    try:
        Broken().test_permuting_tasks_permutes_weights()
    except AssertionError:
        return
    raise AssertionError("weights that depend on the position of a task must not pass")
