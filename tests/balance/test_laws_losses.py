"""Which laws hold for the methods that look at losses alone, and for the wrappers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from taskloom.balance.base import Balancer, chain
from taskloom.balance.flow import Need
from taskloom.balance.mix.pcgrad import pcgrad, project_conflicts
from taskloom.balance.reduce.mean import mean
from taskloom.balance.reduce.sum import equal, sum_
from taskloom.balance.scale.almo import almo
from taskloom.balance.scale.dwa import dwa
from taskloom.balance.scale.famo import famo
from taskloom.balance.scale.gls import gls
from taskloom.balance.scale.group_dro import group_dro
from taskloom.balance.scale.imtl_l import imtl_l
from taskloom.balance.scale.log_scalarisation import log_scalarisation
from taskloom.balance.scale.rlw import rlw
from taskloom.balance.scale.stch import stch, stch_mtl
from taskloom.balance.scale.uncertainty import GAUSSIAN, uncertainty
from taskloom.balance.scale.worst_task import worst_task
from taskloom.balance.wrap.clip import clip
from taskloom.balance.wrap.every import every
from taskloom.balance.wrap.only import only
from taskloom.balance.wrap.rescale import rescale
from taskloom.balance.wrap.smoothed import smoothed
from taskloom.balance.wrap.warmup import warm_up
from taskloom.task import Task
from taskloom.testing.balancers import BalancerLaws

# -- methods ------------------------------------------------------------------------------------------------------


class TestLogScalarisation(BalancerLaws):
    single_task_weight: ClassVar[float | None] = None  # 1 / l

    def make_balancer(self) -> Balancer:
        return log_scalarisation()


class TestWorstTask(BalancerLaws):
    orthogonal_gives_equal: ClassVar[bool] = False  # of equal losses the first counts

    def make_balancer(self) -> Balancer:
        return worst_task()


class TestWorstTaskAverage(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return worst_task(tie="average")


class TestWorstTaskSoft(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return worst_task("soft", temperature=0.7)


class TestGroupDRO(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return group_dro(eta=0.5)


class TestALMO(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return almo()


class TestALMOBounded(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return almo(gamma=0.3, low=0.01)


class TestDWA(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return dwa()


class TestDWAWindow(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return dwa(window=1)


class TestRLW(BalancerLaws):
    orthogonal_gives_equal: ClassVar[bool] = False  # the weights are drawn

    def make_balancer(self) -> Balancer:
        return rlw()


class TestRLWDirichlet(TestRLW):
    def make_balancer(self) -> Balancer:
        return rlw("dirichlet", seed=1)


class TestRLWUniform(TestRLW):
    def make_balancer(self) -> Balancer:
        return rlw("uniform")


class TestRLWBernoulli(TestRLW):
    def make_balancer(self) -> Balancer:
        return rlw("bernoulli")


class TestGLS(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return gls()


class TestIMTLL(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return imtl_l()


class TestFAMO(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return famo()


class TestFAMOReuseNext(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return famo(reuse_next=True, minimum=-1.0)


class TestFAMOClipped(BalancerLaws):
    degree: ClassVar[float | None] = None  # the bound does not grow with the gradients

    def make_balancer(self) -> Balancer:
        return famo(max_norm=100.0)


class TestSTCH(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return stch(mu=0.5)


class TestSTCHMTL(BalancerLaws):
    single_task_weight: ClassVar[float | None] = None  # 1 / l

    def make_balancer(self) -> Balancer:
        return stch_mtl(nadir=2.0)


class TestSTCHMTLWarmUp(BalancerLaws):
    single_task_weight: ClassVar[float | None] = None  # 1 / l

    def make_balancer(self) -> Balancer:
        return stch_mtl(warmup_epochs=1)


# -- wrappers -----------------------------------------------------------------------------------------------------


class TestSmoothed(BalancerLaws):
    non_conflicting_pairs: ClassVar[bool] = True  # in the first step

    def make_balancer(self) -> Balancer:
        return smoothed(0.9, pcgrad())


class TestSmoothedLearned(BalancerLaws):
    single_task_weight: ClassVar[float | None] = 0.5

    def make_balancer(self) -> Balancer:
        return smoothed(0.5, uncertainty(GAUSSIAN))


class TestWarmUp(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return warm_up(2, pcgrad())

    def test_needs_are_honest(self) -> None:
        """Needs depend on the step: see test_warmup.py."""


class TestWarmUpOver(BalancerLaws):
    non_conflicting_pairs: ClassVar[bool] = True

    def make_balancer(self) -> Balancer:
        return warm_up(0, every(2, pcgrad()))


class TestWarmUpRandom(TestWarmUp):
    """Both draw: their numbers travel in one tensor."""

    orthogonal_gives_equal: ClassVar[bool] = False

    def make_balancer(self) -> Balancer:
        return warm_up(1, chain(project_conflicts(seed=1), project_conflicts(seed=2), mean()), before=rlw())


class _OnlyFirst(Balancer):
    """``only`` on the first three of whatever tasks it is bound to."""

    def __init__(self, balancer: Balancer) -> None:
        super().__init__([])
        self.inside = [balancer]

    @property
    def needs(self) -> Need:
        return self.inside[0].needs

    def bind(self, tasks: Sequence[Task | str]) -> None:
        if not len(self.links):
            first = [name for name in (f"task {position}" for position in range(3)) if name in tasks]
            self.links.append(next(iter(only(first, self.inside[0]))))
        super().bind(tasks)


class TestOnly(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return _OnlyFirst(pcgrad())


class TestOnlyTwoRandomLinks(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return _OnlyFirst(chain(project_conflicts(seed=1), project_conflicts(seed=2), sum_()))


class TestOnlyWithMemory(BalancerLaws):
    orthogonal_gives_equal: ClassVar[bool] = False  # those of `famo` share the weight of one

    def make_balancer(self) -> Balancer:
        return _OnlyFirst(famo())


class TestClip(BalancerLaws):
    degree: ClassVar[float | None] = None  # bounded
    single_task_weight: ClassVar[float | None] = None
    non_conflicting_pairs: ClassVar[bool] = True

    def make_balancer(self) -> Balancer:
        return chain(pcgrad(), clip(0.5))


class TestRescaleSum(BalancerLaws):
    non_conflicting_pairs: ClassVar[bool] = True

    def make_balancer(self) -> Balancer:
        return chain(pcgrad(), rescale("sum"))


class TestRescaleMeanNorm(BalancerLaws):
    non_conflicting_pairs: ClassVar[bool] = True

    def make_balancer(self) -> Balancer:
        return chain(pcgrad(), rescale("mean_norm"))


class TestWrappersInWrappers(TestWarmUp):
    def make_balancer(self) -> Balancer:
        return smoothed(0.5, warm_up(1, chain(pcgrad(), rescale("sum")), before=equal("mean")))


def test_losses_methods_ask_for_no_gradients() -> None:
    made: list[Balancer] = [log_scalarisation(), worst_task(), group_dro(), almo(), dwa(), rlw(), gls(), imtl_l()]
    made += [famo(), stch(), stch_mtl(), smoothed(0.9, gls()), warm_up(3, famo()), only(["a"], dwa())]
    assert not any(balancer.needs_gramian for balancer in made)
    assert {balancer.head_gradient for balancer in made} == {"weighted"}
