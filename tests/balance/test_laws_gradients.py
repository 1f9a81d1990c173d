"""Which laws hold for closed forms on the Gramian, row rules, and methods that compare batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from torch.func import vmap

from taskloom.balance.adapters.torchjd import from_torchjd
from taskloom.balance.base import Balancer, chain
from taskloom.balance.flow import Rows
from taskloom.balance.mix.aux_cosine import aux_cosine
from taskloom.balance.mix.gradvac import gradvac
from taskloom.balance.reduce.aligned_mtl import aligned_mtl
from taskloom.balance.reduce.config import config
from taskloom.balance.reduce.imtl_g import imtl_g
from taskloom.balance.reduce.krum import krum
from taskloom.balance.reduce.mean import mean
from taskloom.balance.reduce.modo import modo
from taskloom.balance.reduce.sdmgrad import sdmgrad
from taskloom.balance.rows.db_mtl import db_mtl
from taskloom.balance.rows.excess_mtl import excess_mtl
from taskloom.balance.rows.graddrop import graddrop
from taskloom.balance.rows.moco import moco
from taskloom.balance.rows.trimmed_mean import trimmed_mean
from taskloom.balance.scale.auto_lambda import auto_lambda
from taskloom.balance.scale.gradnorm import gradnorm
from taskloom.balance.scale.normalize import normalize
from taskloom.errors import BalanceError
from taskloom.testing.balancers import BalancerLaws


class TestImtlG(BalancerLaws):
    scale_invariant: ClassVar[bool] = True
    non_conflicting_pairs: ClassVar[bool] = True  # for more tasks only where C is regular

    def make_balancer(self) -> Balancer:
        return imtl_g()


class TestConfig(BalancerLaws):
    scale_invariant: ClassVar[bool] = True
    non_conflicting_pairs: ClassVar[bool] = True

    def make_balancer(self) -> Balancer:
        return config()


class TestConfigMeanLength(BalancerLaws):
    scale_invariant: ClassVar[bool] = True
    non_conflicting_pairs: ClassVar[bool] = True

    def make_balancer(self) -> Balancer:
        return config("mean", on_stationary="zero")


class TestAlignedMTL(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return aligned_mtl()


class TestAlignedMTLMedian(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return aligned_mtl("median")


class TestAlignedMTLRoot(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return aligned_mtl("rmse", min_rel_eig=1e-9)


class TestGradVac(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return gradvac(0.3)


class TestAuxCosine(BalancerLaws):
    orthogonal_gives_equal: ClassVar[bool] = False  # the main task counts, the others do not help

    def make_balancer(self) -> Balancer:
        return aux_cosine("task 0")


class TestAuxCosineUnweighted(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return aux_cosine("task 0", "unweighted")


class TestSDMGrad(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return sdmgrad()


class TestMGDABySDMGrad(BalancerLaws):
    non_conflicting_pairs: ClassVar[bool] = True  # with more tasks than parameters d = 0 but for rounding

    def make_balancer(self) -> Balancer:
        return sdmgrad(0.0)


class TestSDMGradStochastic(BalancerLaws):
    degree: ClassVar[float | None] = None  # a small number beside the squared length of gradients

    def make_balancer(self) -> Balancer:
        return sdmgrad(mode="stochastic", lr=1.0)


class TestMoDo(BalancerLaws):
    degree: ClassVar[float | None] = None  # the step of the weights is not scale-free

    def make_balancer(self) -> Balancer:
        return modo(gamma=0.01)


class TestKrum(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return krum(1, 2)


class TestGradNorm(BalancerLaws):
    def make_balancer(self) -> Balancer:
        return gradnorm()


class TestAutoLambda(BalancerLaws):
    single_task_weight: ClassVar[float | None] = 0.25

    def make_balancer(self) -> Balancer:
        return auto_lambda("task 0", inner_lr=0.1, init=0.25)


class TestNormalized(BalancerLaws):
    degree: ClassVar[float | None] = 0.0
    scale_invariant: ClassVar[bool] = True
    single_task_weight: ClassVar[float | None] = None

    def make_balancer(self) -> Balancer:
        return chain(normalize("l2"))


class TestNormalizedByLosses(BalancerLaws):
    single_task_weight: ClassVar[float | None] = None

    def make_balancer(self) -> Balancer:
        return chain(normalize("loss"), mean())


class TestNormalizedByBoth(BalancerLaws):
    degree: ClassVar[float | None] = 0.0
    scale_invariant: ClassVar[bool] = True
    single_task_weight: ClassVar[float | None] = None

    def make_balancer(self) -> Balancer:
        return chain(normalize("loss+"), aligned_mtl())


class TestDBMTLWithoutMemory(BalancerLaws):
    scale_invariant: ClassVar[bool] = True
    single_task_weight: ClassVar[float | None] = None  # 1/l

    def make_balancer(self) -> Balancer:
        return db_mtl(beta=0.0)


class _RowLaws(BalancerLaws):
    # A Gramian alone is not enough for them, so that laws about its weights have nothing to ask.
    orthogonal_gives_equal: ClassVar[bool] = False
    single_task_weight: ClassVar[float | None] = None


class TestDBMTL(_RowLaws):
    scale_invariant: ClassVar[bool] = True

    def make_balancer(self) -> Balancer:
        return db_mtl()


class TestGradDrop(_RowLaws):
    def make_balancer(self) -> Balancer:
        return graddrop(0.1)


class TestExcessMTL(_RowLaws):
    def make_balancer(self) -> Balancer:
        return excess_mtl(1.0)


class TestMoCo(_RowLaws):
    degree: ClassVar[float | None] = None  # the step of the weights is not scale-free

    def make_balancer(self) -> Balancer:
        return moco()


class TestMoCoScaledByLosses(_RowLaws):
    degree: ClassVar[float | None] = 0.0

    def make_balancer(self) -> Balancer:
        return moco(row_scaling="loss")


class TestTrimmedMean(_RowLaws):
    def make_balancer(self) -> Balancer:
        return trimmed_mean()


class TestTorchJD(BalancerLaws):
    def make_balancer(self) -> Balancer:
        aggregation = pytest.importorskip("torchjd.aggregation")
        return chain(from_torchjd(aggregation.MGDA()))

    def test_vmap_agrees_with_a_loop(self) -> None:
        """Does not hold: other libraries' methods depend on data in Python."""


class TestTorchJDRows(_RowLaws):
    def make_balancer(self) -> Balancer:
        aggregation = pytest.importorskip("torchjd.aggregation")
        return chain(from_torchjd(aggregation.ConFIG()))


@pytest.mark.parametrize("make", [imtl_g, config, aligned_mtl, krum, sdmgrad], ids=lambda make: make.__name__)
def test_a_network_that_diverged_does_not_stop_the_others(make: Callable[[], Balancer]) -> None:
    gramians = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    gramians[1, 0, 0] = torch.nan
    balancer = make()
    balancer.bind(["a", "b", "c"])
    losses = torch.ones(2, 3, dtype=torch.float64)
    together = vmap(lambda loss, gramian: balancer.combine(loss, gramian).weights)(losses, gramians)
    torch.testing.assert_close(together[0], balancer.weights(gramians[0]))


@pytest.mark.parametrize(
    "make",
    [db_mtl, excess_mtl, graddrop, moco, modo, gradvac, lambda: sdmgrad(mode="stochastic")],
    ids=lambda make: make.__name__,
)
def test_gradients_that_are_not_finite_are_refused_before_they_are_remembered(make: Callable[[], Balancer]) -> None:
    balancer = make()
    balancer.bind(["a", "b"])
    rows, losses = torch.eye(2, 3), torch.ones(2)
    batches = [rows] * balancer.n_batches
    balancer.step(batches[0], losses, others=batches[1:])
    before = {name: value.clone() for name, value in balancer.state_dict().items()}
    broken = rows.clone()
    broken[1, 2] = torch.nan
    for place in range(len(batches)):
        given = [*batches[:place], broken, *batches[place + 1 :]]
        with pytest.raises(BalanceError, match=r"Jacobian of the tasks \['b'\] are not finite"):
            balancer.step(given[0], losses, others=given[1:])
    after = balancer.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize(
    "make",
    [imtl_g, config, aligned_mtl, krum, sdmgrad, graddrop, trimmed_mean, lambda: aux_cosine("a"), lambda: db_mtl(0.0)],
    ids=lambda make: make.__name__,
)
def test_works_where_the_losses_lie(make: Callable[[], Balancer]) -> None:
    """Shapes and devices agree when losses are not on the CPU and the balancer was not moved."""
    balancer = make()
    balancer.bind(["a", "b", "c"])
    losses, rows = torch.ones(3, device="meta"), torch.ones(3, 5, device="meta")
    active = torch.ones(3, dtype=torch.bool, device="meta")
    found = balancer.combine(losses, torch.ones(3, 3, device="meta"), active=active, rows=Rows((rows,)))
    assert found.weights.device.type == "meta"
    assert found.direction is None or found.direction.shape == (5,)
