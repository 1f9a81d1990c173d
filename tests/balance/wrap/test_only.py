"""A balancer for some of the tasks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskloom.balance._link import RowRule
from taskloom.balance.base import Balancer, chain
from taskloom.balance.flow import Need, Rows
from taskloom.balance.mix.pcgrad import pcgrad, project_conflicts
from taskloom.balance.reduce.mean import mean
from taskloom.balance.reduce.sum import equal, sum_
from taskloom.balance.scale.famo import EvenProgress, famo
from taskloom.balance.scale.fixed import fixed, scale_by
from taskloom.balance.scale.gls import gls
from taskloom.balance.scale.uncertainty import GAUSSIAN, uncertainty
from taskloom.balance.wrap._wrapper import Wrapper
from taskloom.balance.wrap.only import only
from taskloom.errors import BalanceError
from taskloom.task import Regression, Task

NAMES = ["a", "main", "b"]
GRAMIAN = torch.tensor([[1.0, -5.0, -1.0], [-5.0, 100.0, 3.0], [-1.0, 3.0, 4.0]], dtype=torch.float64)


def bound(balancer: Balancer, tasks: list[str] = NAMES) -> Balancer:
    balancer.bind(tasks)
    return balancer


def test_the_others_keep_weight_one() -> None:
    balancer = bound(only(["b", "a"], pcgrad(order="ascending")))
    assert balancer.weights(GRAMIAN).tolist() == [2.0, 1.0, 1.25]  # "main" conflicts with "a", nobody looks
    assert bound(only(["a", "b"], fixed({"a": 3.0, "b": 2.0}))).weights(GRAMIAN).tolist() == [3.0, 1.0, 2.0]
    assert bound(only("main", fixed([3.0]))).weights(GRAMIAN).tolist() == [1.0, 3.0, 1.0]


def test_random_numbers_are_those_of_its_tasks() -> None:
    """Numbers are drawn for all tasks; a balancer of several random links gets its part of each."""
    inner = chain(project_conflicts(seed=1), project_conflicts(seed=2), sum_())
    balancer = bound(only(["a", "main", "b"], inner))
    draws = balancer.draw(3)
    torch.testing.assert_close(balancer.weights(GRAMIAN, draws=draws), inner.weights(GRAMIAN, draws=draws))


def test_after_links_that_rescale() -> None:
    balancer = bound(chain(scale_by([2.0, 3.0, 1.0]), only(["a", "b"], equal("mean"))))
    found = balancer.combine(torch.zeros(3), GRAMIAN)
    assert found.weights.tolist() == [1.0, 3.0, 0.5]


def test_absent_tasks() -> None:
    balancer = bound(only(["a", "b"], equal("mean")))
    assert balancer.combine(torch.zeros(2), tasks=["a", "main"]).weights.tolist() == [1.0, 1.0]
    assert balancer.combine(torch.zeros(1), tasks=["main"]).weights.tolist() == [1.0]
    active = torch.tensor([True, True, False])
    assert balancer.combine(torch.zeros(3), active=active).weights.tolist() == [1.0, 1.0, 0.0]
    with pytest.raises(BalanceError, match=r"\['main', 'c'\]|found 'c'"):
        bound(only(["a"], famo())).combine(torch.zeros(2), tasks=["main", "c"])


def test_it_is_told_of_its_tasks_only() -> None:
    balancer = bound(only(["b"], famo()))
    (link,) = [module for module in balancer.modules() if isinstance(module, EvenProgress)]
    balancer.weights(None, torch.tensor([-1.0, -1.0, 2.0]))
    assert link.log_before.tolist() == pytest.approx([torch.tensor(2.0).log().item()])
    balancer.observe(torch.tensor([-1.0, -1.0, 1.0]))
    assert link.updates.tolist() == [1.0]
    with pytest.raises(BalanceError, match=r"found \{'b': 0\.0\}"):
        balancer.weights(None, torch.tensor([1.0, 1.0, 0.0]))


def test_parameters_learn_through_their_tasks() -> None:
    balancer = bound(only(["a", "b"], uncertainty(GAUSSIAN, init={"a": 1.0, "b": 0.0})))
    losses = torch.tensor([2.0, 7.0, 3.0])
    found = balancer.combine(losses)
    assert found.weights.tolist() == pytest.approx([0.5 * torch.tensor(-1.0).exp().item(), 1.0, 0.5])
    (parameter,) = balancer.parameters()
    (gradient,) = torch.autograd.grad((found.weights * losses).sum() + found.penalty, parameter)
    assert gradient.tolist() == pytest.approx([0.5 - 2 * found.weights[0].item(), 0.5 - 1.5])
    assert len(balancer.parameter_groups()) == 1


def test_a_rule_that_makes_directions_inside() -> None:
    class First(RowRule):
        def combine(self, rows: Tensor) -> Tensor:
            return rows[0]

    jacobian = torch.tensor([[1.0, 0.0], [0.0, 2.0], [5.0, 5.0]])
    assert bound(only(["a", "b"], chain(First()))).direction(jacobian).tolist() == [1.0, 2.0]


def test_every_measurement_is_cut_to_its_tasks() -> None:
    class Looks(Wrapper):
        needs = Need.GRAMIAN | Need.ROWS | Need.LAST_LAYER | Need.CROSS

        def __init__(self) -> None:
            super().__init__("looks", equal())

        def forward(self, flow):
            seen.append(flow)
            return self.run(0, flow)

    seen: list = []
    rows, layer, cross = torch.rand(3, 4), torch.rand(3, 3), torch.rand(3, 3)
    bound(only(["b", "a"], chain(Looks()))).combine(
        torch.tensor([1.0, 2.0, 3.0]),
        GRAMIAN,
        rows=Rows((rows,)),
        last_layer=layer,
        cross=cross,
        active=torch.tensor([True, False, True]),
        step=4,
    )
    kept, (flow,) = [0, 2], seen
    assert flow.signals.tasks == ("a", "b")
    assert flow.signals.step == 4
    assert flow.signals.active.tolist() == [True, True]
    assert flow.losses().tolist() == [1.0, 3.0]
    assert torch.equal(flow.gramian(), GRAMIAN[kept][:, kept])
    assert torch.equal(flow.last_layer().float(), layer[kept][:, kept])
    assert torch.equal(flow.cross().float(), cross[kept][:, kept])
    assert torch.equal(flow.rows(), rows[kept])


def test_arguments_are_checked() -> None:
    for tasks in ([], ["a", "a"]):
        with pytest.raises(BalanceError, match="expected distinct names"):
            only(tasks, equal())
    with pytest.raises(BalanceError, match=r"no task 'mian'\. Did you mean 'main'"):
        bound(only(["mian"], equal()))
    with pytest.raises(BalanceError, match="no task 'a'"):
        only(["a"], equal()).weights(torch.eye(2))  # it was never told the names of these tasks
    with pytest.raises(BalanceError, match="put it before the links that combine them"):
        bound(chain(pcgrad(), only(["a"], equal()))).weights(GRAMIAN)


def test_tasks_may_be_given_as_objects() -> None:
    tasks = [Task(name=name, kind=Regression()) for name in NAMES]
    balancer = only(tasks[:1], chain(uncertainty(), mean()))  # whose factor depends on the kind
    balancer.bind(tasks)
    assert balancer.combine(torch.ones(3)).weights.tolist() == [0.5, 1.0, 1.0]


def test_reads_as_a_recipe() -> None:
    assert repr(only(["a"], gls())) == "chain(only(['a'], chain(geometric_mean())))"
