"""Chains and balancers: composition, the public calls, state, and what goes wrong."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from taskloom.balance.base import Balancer, Link, Mix, Need, Reduce, RowRule, Scale, chain
from taskloom.balance.flow import Flow, Rows, Signals
from taskloom.balance.mix.pcgrad import pcgrad, project_conflicts
from taskloom.balance.reduce.mean import mean
from taskloom.balance.reduce.sum import equal, sum_
from taskloom.balance.scale.fixed import fixed, scale_by
from taskloom.balance.scale.uncertainty import GAUSSIAN, uncertainty
from taskloom.errors import BalanceError
from taskloom.task import Regression, Task

GRAMIAN = torch.tensor([[1.0, -1.0], [-1.0, 4.0]], dtype=torch.float64)


class Inverse(Scale):
    def scale(self, flow: Flow) -> Tensor:
        return 1 / flow.losses()


class Normalise(Mix):
    def mix(self, gramian: Tensor) -> Tensor:
        return torch.diag(gramian.diagonal().rsqrt())


class Smallest(Reduce):
    def weights(self, gramian: Tensor) -> Tensor:
        squares = gramian.diagonal()
        return (squares == squares.min()).to(gramian)


class Signs(RowRule):
    def combine(self, rows: Tensor) -> Tensor:
        return rows.sign().sum(0)


# -- composition ------------------------------------------------------------------------------------------------------


def test_chains_are_flat_and_one_balancer_is_itself() -> None:
    inner = pcgrad()
    assert chain(inner) is inner
    outer = chain(scale_by([1.0, 2.0]), chain(chain(project_conflicts()), mean()))
    assert [type(link).__name__ for link in outer] == ["ScaleBy", "ProjectConflicts", "Mean"]
    assert repr(outer) == "chain(scale_by([1.0, 2.0]), project_conflicts(), mean())"
    assert not any(isinstance(link, Balancer) for link in outer)


def test_a_single_link_becomes_a_balancer() -> None:
    assert isinstance(chain(sum_()), Balancer)


def test_scales_alone_end_with_the_weighted_sum() -> None:
    balancer = chain(Inverse(), scale_by([1.0, 3.0]))
    assert balancer.reduces
    assert balancer.weights(None, torch.tensor([2.0, 4.0])).tolist() == [0.5, 0.75]


def test_mixed_chains_must_reduce() -> None:
    balancer = chain(Inverse(), project_conflicts())
    assert not balancer.reduces
    with pytest.raises(BalanceError, match=r"ends with 2 rows.*chain\(Inverse\(\), project_conflicts\(\), sum_\(\)\)"):
        balancer.weights(GRAMIAN, torch.ones(2))


def test_a_link_sees_what_the_links_before_have_made() -> None:
    balancer = chain(scale_by([3.0, 1.0]), Smallest())
    assert balancer.weights(GRAMIAN).tolist() == [0.0, 1.0]  # squared norms 9 and 4 instead of 1 and 4
    assert chain(Normalise(), sum_()).weights(GRAMIAN).tolist() == [1.0, 0.5]
    losses = torch.tensor([2.0, 4.0])
    assert chain(scale_by([0.5, 1.0]), Inverse()).weights(None, losses).tolist() == [0.5, 0.25]


def test_needs_and_heads_follow_from_the_links() -> None:
    assert equal().needs == Need.NOTHING
    assert not equal().needs_gramian
    assert pcgrad().needs == Need.GRAMIAN
    assert chain(Inverse(), pcgrad()).needs == Need.LOSSES | Need.GRAMIAN
    assert chain(Signs()).needs == Need.ROWS
    assert chain(Signs()).needs_gramian
    assert [one.head_gradient for one in (equal(), fixed([1.0]), pcgrad(), chain(Signs()))] == [
        "weighted",
        "weighted",
        "unweighted",
        "unweighted",
    ]


def test_unweighted_heads_see_the_losses_as_the_first_links_rescale_them() -> None:
    rescaled = chain(scale_by([2.0, 1.0]), pcgrad(order="ascending")).combine(torch.ones(2), GRAMIAN)
    assert rescaled.head_weights.tolist() == [2.0, 1.0]
    assert fixed([2.0, 1.0]).combine(torch.ones(2)).head_weights.tolist() == [1.0, 1.0]


def test_chain_refuses_what_is_no_link() -> None:
    with pytest.raises(BalanceError, match="at least one link"):
        chain()
    with pytest.raises(BalanceError, match="takes links"):
        chain(project_conflicts)


# -- weights and directions -------------------------------------------------------------------------------------------


def test_dtypes_are_kept() -> None:
    for dtype in (torch.float32, torch.float64):
        assert pcgrad().weights(GRAMIAN.to(dtype)).dtype == dtype
        assert pcgrad().direction(torch.eye(2, 3, dtype=dtype)).dtype == dtype
        assert equal().weights(None, torch.ones(2, dtype=dtype)).dtype == dtype
    assert chain(Signs()).direction(torch.tensor([[1.0, -2.0], [3.0, 4.0]])).tolist() == [2.0, 0.0]


def test_results_have_no_graph() -> None:
    balancer = uncertainty(GAUSSIAN)
    balancer.bind(["a", "b"])
    assert not balancer.weights(None, torch.ones(2)).requires_grad
    assert not pcgrad().weights(GRAMIAN.clone().requires_grad_()).requires_grad


def test_works_where_the_losses_lie() -> None:
    """Shapes and devices agree when losses are not on the CPU and the balancer was not moved."""
    active = torch.ones(3, dtype=torch.bool, device="meta")
    losses, gramian = torch.ones(3, device="meta"), torch.ones(3, 3, device="meta")
    for balancer in (
        equal("mean"),
        fixed([1.0, 2.0, 3.0]),
        pcgrad(),
        chain(uncertainty(GAUSSIAN, clamp=(-1.0, 1.0)), pcgrad()),
    ):
        balancer.bind(["a", "b", "c"])
        needed = gramian if balancer.needs_gramian else None
        assert balancer.combine(losses, needed, active=active, draws=balancer.draw(3)).weights.device.type == "meta"


def test_public_calls_check_what_they_get() -> None:
    with pytest.raises(BalanceError, match="found neither"):
        equal().weights(None)
    with pytest.raises(BalanceError, match=r"shape \(K, K\), found \(2, 3\)"):
        pcgrad().weights(torch.ones(2, 3))
    with pytest.raises(BalanceError, match=r"shape \(K, P\), one gradient per row, found \[\(2,\)\]"):
        pcgrad().direction(torch.ones(2))
    with pytest.raises(BalanceError, match=r"different numbers of tasks: \[2, 3\]"):
        pcgrad().weights(GRAMIAN, torch.ones(3))
    with pytest.raises(BalanceError, match="looks at loss values"):
        chain(Inverse()).weights(GRAMIAN)
    with pytest.raises(BalanceError, match="gradients themselves"):
        chain(Signs()).weights(GRAMIAN)
    broken = GRAMIAN.clone()
    broken[1, 1] = float("nan")
    with pytest.raises(BalanceError, match=r"Gramian of the tasks \['task 1'\] are not finite"):
        pcgrad().weights(broken)
    with pytest.raises(BalanceError, match="needs the Gramian"):
        pcgrad(order="ascending").combine(torch.ones(2))
    with pytest.raises(BalanceError, match=r"is random: pass draws"):
        pcgrad().combine(torch.ones(2), GRAMIAN)
    with pytest.raises(BalanceError, match="expected 2 losses"):
        equal().combine(torch.ones(3), tasks=["a", "b"])


# -- tasks ------------------------------------------------------------------------------------------------------------


def test_tasks_are_bound_by_name_or_as_objects() -> None:
    balancer = equal()
    balancer.bind([Task(name="가격 / m²", kind=Regression()), "b"])
    assert balancer.tasks == ("가격 / m²", "b")
    balancer.bind(["c"])  # nothing is held, so other tasks are fine
    with pytest.raises(BalanceError, match="distinct task names"):
        balancer.bind(["a", "a"])
    with pytest.raises(BalanceError, match="distinct task names"):
        balancer.bind([])


def test_signals_and_flow() -> None:
    signals = Signals(("a", "b"), torch.tensor([1.0, 2.0], requires_grad=True), gramian=GRAMIAN)
    flow = Flow.start(signals)
    assert flow.mix.dtype == torch.float64
    assert not flow.losses().requires_grad
    torch.testing.assert_close(flow.gramian(), GRAMIAN)
    rows = Flow.start(Signals(("a", "b"), torch.zeros(2), rows=Rows((torch.eye(2),)))).rows()
    torch.testing.assert_close(rows, torch.eye(2))


# -- state ------------------------------------------------------------------------------------------------------------


def test_counts_travel_with_the_state() -> None:
    balancer = pcgrad()
    for _ in range(3):
        balancer.weights(GRAMIAN)
    other = pcgrad()
    other.load_state_dict(balancer.state_dict())
    assert (other.n_steps, other.n_draws) == (3, 3)
    assert torch.equal(other.draw(4), balancer.draw(4))
    balancer.reset()
    assert (balancer.n_steps, balancer.n_draws, balancer.n_skipped) == (0, 0, 0)


def test_copies_are_independent() -> None:
    balancer = pcgrad()
    other = copy.deepcopy(balancer)
    balancer.draw(3)
    assert (balancer.n_draws, other.n_draws) == (1, 0)


def test_equal_links_draw_different_numbers() -> None:
    balancer = chain(project_conflicts(), project_conflicts(), sum_())
    draws = balancer.draw(3)
    assert draws.shape == (18,)
    assert not torch.equal(draws[:9], draws[9:])
    kept = balancer
    kept.bind(["a", "b", "c"])
    assert torch.equal(kept.select_draws(draws, [0, 2]), draws.reshape(2, 3, 3)[:, [0, 2]][:, :, [0, 2]].reshape(-1))


def test_observe_and_check_reach_the_links() -> None:
    class Watching(Link):
        needs = Need.NOTHING

        def __init__(self) -> None:
            super().__init__()
            self.seen: list[list[float]] = []

        def forward(self, flow: Flow) -> Flow:
            return flow

        def observe(self, losses: Tensor) -> None:
            self.seen.append(losses.tolist())

    link = Watching()
    balancer = chain(link, sum_())
    balancer.observe(torch.tensor([1.0, 2.0]))
    assert link.seen == [[1.0, 2.0]]
    assert equal().parameter_groups() == []


def test_devices_without_float64_get_float32_constants() -> None:
    def to_half_a_device(value: Tensor) -> Tensor:
        if value.dtype == torch.float64:
            raise TypeError("this device has no float64")
        return value.clone()

    balancer = fixed([1.0, 2.0])
    balancer._apply(to_half_a_device)
    assert [buffer.dtype for buffer in balancer.buffers()] == [torch.float32]
