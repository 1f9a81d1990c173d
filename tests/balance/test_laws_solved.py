"""Which laws hold for methods whose weights solve a problem of K numbers."""

from __future__ import annotations

from typing import ClassVar

import torch

from taskloom.balance.base import Balancer, chain
from taskloom.balance.mix.pcgrad import project_conflicts
from taskloom.balance.mix.upgrad import project_dual_cone, upgrad
from taskloom.balance.reduce.cagrad import cagrad
from taskloom.balance.reduce.dualproj import dualproj
from taskloom.balance.reduce.fairgrad import fairgrad
from taskloom.balance.reduce.mgda import Mgda, mgda
from taskloom.balance.reduce.nash_mtl import nash_mtl
from taskloom.balance.reduce.sum import sum_
from taskloom.testing.balancers import BalancerLaws


class NonConflicting(BalancerLaws):
    """Methods that never oppose a task, on gradients among which there is such a direction.

    With more tasks than parameters there often is none; then these directions are 0 up to rounding, whose signs mean
    nothing.
    """

    def test_the_direction_never_opposes_a_task(self) -> None:
        for n_tasks in self.sizes:
            for number in range(3):
                jacobian, losses = self._problem(n_tasks, n_tasks + 2, number)
                for scales in (torch.ones(n_tasks, 1), torch.logspace(-3, 3, n_tasks).unsqueeze(1)):
                    rows = scales.double() * jacobian
                    direction = self._direction(self._bound(n_tasks), rows, losses)
                    slack = 1e-9 * float(rows.norm(dim=1).max()) * float(direction.norm())
                    assert float((rows @ direction).min()) >= -slack

    def test_stationary_points_are_left_alone(self) -> None:
        """Opposite gradients, and five that surround the origin: next to no direction."""
        angles = torch.arange(5) * 2 * torch.pi / 5
        around = torch.stack([angles.cos(), angles.sin()], dim=1).double()
        for rows in (torch.tensor([[1.0, 2.0], [-2.0, -4.0]]).double(), around):
            direction = self._direction(self._bound(len(rows)), rows, torch.ones(len(rows)).double())
            assert float(direction.norm()) <= 1e-6


class TestMgda(NonConflicting):
    def make_balancer(self) -> Balancer:
        return mgda()


class TestMgdaOfUnitGradients(NonConflicting):
    degree: ClassVar[float | None] = 0.0
    scale_invariant: ClassVar[bool] = True
    single_task_weight: ClassVar[float | None] = None

    def make_balancer(self) -> Balancer:
        return mgda("l2", apply_to="normalised")


class TestMgdaOfUnitGradientsRaw(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return mgda("l2")


class TestMgdaByLoss(NonConflicting):
    single_task_weight: ClassVar[float | None] = None

    def make_balancer(self) -> Balancer:
        return mgda("loss", apply_to="normalised")


class TestMgdaByLossAndNorm(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return mgda("loss+")


class TestCAGrad(BalancerLaws):
    single_task_weight: ClassVar[float | None] = 1.4 / 1.16

    def make_balancer(self) -> Balancer:
        return cagrad()


class TestCAGradNotRescaled(BalancerLaws):
    single_task_weight: ClassVar[float | None] = 1.9

    def make_balancer(self) -> Balancer:
        return cagrad(0.9, rescale=0)


class TestCAGradRescaledToOne(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return cagrad(0.5, rescale=2)


class TestNashMTL(NonConflicting):
    degree: ClassVar[float | None] = 0.0
    scale_invariant: ClassVar[bool] = True
    single_task_weight: ClassVar[float | None] = None

    def make_balancer(self) -> Balancer:
        return nash_mtl()


class TestNashMTLWithoutBound(NonConflicting):
    degree: ClassVar[float | None] = 0.0
    scale_invariant: ClassVar[bool] = True
    single_task_weight: ClassVar[float | None] = None

    def make_balancer(self) -> Balancer:
        return nash_mtl(max_norm=None, on_stationary="zero")


class TestNashMTLEverySecondStep(BalancerLaws):
    degree: ClassVar[float | None] = 0.0
    scale_invariant: ClassVar[bool] = True
    single_task_weight: ClassVar[float | None] = None

    def make_balancer(self) -> Balancer:
        return nash_mtl(update_weights_every=2)


class TestFairGrad(NonConflicting):
    degree: ClassVar[float | None] = -1 / 3
    single_task_weight: ClassVar[float | None] = None

    def make_balancer(self) -> Balancer:
        return fairgrad(on_stationary="zero")


class TestFairGradHalf(NonConflicting):
    degree: ClassVar[float | None] = 1 / 3
    single_task_weight: ClassVar[float | None] = None

    def make_balancer(self) -> Balancer:
        return fairgrad(0.5, on_stationary="zero")


class TestFairGradZero(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return fairgrad(0.0)


class TestUPGrad(NonConflicting):
    def make_balancer(self) -> Balancer:
        return upgrad()


class TestProjectedSum(NonConflicting):
    """As rows of another recipe."""

    def make_balancer(self) -> Balancer:
        return chain(project_dual_cone(), sum_())


class TestDualProj(NonConflicting):
    def make_balancer(self) -> Balancer:
        return dualproj()


class TestMgdaAfterPCGrad(BalancerLaws):
    """A reducer on rows that are no gradients of tasks."""

    def make_balancer(self) -> Balancer:
        return chain(project_conflicts(), Mgda("none", "raw"))
