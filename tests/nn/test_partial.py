from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import MLP, HardSharing, Independent, PartialSharing, sharing_table
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws


def nested(tasks: Sequence[Task]) -> list[dict[str, Hashable]]:
    """All together, then two groups, then every task alone."""
    names = [task.name for task in tasks]
    halves = {name: index < (len(names) + 1) // 2 for index, name in enumerate(names)}
    return [dict.fromkeys(names, 0), dict(halves), {name: name for name in names}]


class TestPartialSharing(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> PartialSharing:
        stages = [lambda: MLP(self.n_features, (5,)), lambda: MLP(5, (4,)), lambda: MLP(4, (3,))]
        return PartialSharing(stages, tasks, table=nested(tasks))

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        n_halves = 1 if len(tasks) == 1 else 2
        return 7 * 5 + n_halves * 6 * 4 + len(tasks) * 5 * 3 + sum(4 * task.kind.n_outputs for task in tasks)


class TestPartialSharingOfAnyTable(ModelLaws):
    sizes = (1, 3)

    def make_model(self, tasks: Sequence[Task]) -> PartialSharing:
        names = [task.name for task in tasks]
        table: list[Mapping[str, Hashable]] = [{name: k % 2 for k, name in enumerate(names)}, dict.fromkeys(names, 0)]
        return PartialSharing([MLP(self.n_features, (5,)), MLP(5, (4,))], tasks, table=table, tree=False)


def regressions() -> list[Task]:
    return [Task(name=name, kind=Regression()) for name in "abc"]


def build(table: Sequence[Mapping[str, Hashable]], **settings: bool) -> PartialSharing:
    return PartialSharing([lambda: MLP(3, (5,)), lambda: MLP(5, (4,))], regressions(), table=table, **settings)


def test_one_group_is_hard_sharing() -> None:
    torch.manual_seed(0)
    partial = build([dict.fromkeys("abc", 0)] * 2).eval()
    hard = HardSharing(
        nn.Sequential(*(stage[0] for stage in partial.stages)), regressions(), heads=dict(zip("abc", partial.heads))
    ).eval()
    inputs = torch.randn(4, 3)
    assert all(torch.equal(partial(inputs)[task], hard(inputs)[task]) for task in "abc")
    assert partial.describe()["total"] == hard.describe()["total"]
    assert partial.describe()["shared"] == hard.describe()["shared"]


def test_own_groups_are_independent() -> None:
    torch.manual_seed(0)
    partial = build([{name: name for name in "abc"}] * 2).eval()
    copies = iter(nn.Sequential(*(stage[k] for stage in partial.stages)) for k in range(3))
    alone = Independent(lambda: next(copies), regressions(), heads=dict(zip("abc", partial.heads))).eval()
    inputs = torch.randn(4, 3)
    assert all(torch.equal(partial(inputs)[task], alone(inputs)[task]) for task in "abc")
    assert partial.describe()["total"] == alone.describe()["total"]
    assert partial.describe()["shared"] == 0


def test_a_prefix_is_computed_once() -> None:
    class Counting(nn.Linear):
        calls = 0

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            type(self).calls += 1
            return super().forward(inputs)

    table = sharing_table((("a", "b"), "c"), splits=(1, 2), n_stages=3)
    model = PartialSharing(
        [lambda: Counting(3, 3)] * 3, regressions(), table=table, heads={task: nn.Identity() for task in "abc"}
    )
    model(torch.zeros(2, 3))
    assert Counting.calls == 1 + 2 + 3


def test_same_start() -> None:
    model = build([{name: name for name in "abc"}] * 2, same_start=True)
    assert torch.equal(next(model.stages[0][0].parameters()), next(model.stages[0][2].parameters()))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([{"a": 0, "b": 0, "c": 0}, {"a": 0, "b": 0}], "sharing table row 1 has no entry for task 'c'"),
        ([{"a": 0, "b": 0, "c": 0, "d": 1}] * 2, "row 0 has the unknown task 'd'"),
        ([{"a": 0, "b": 0, "c": 0}], "1 rows, but the encoder has 2 stages"),
        (
            [{"a": 0, "b": 1, "c": 1}, {"a": 0, "b": 0, "c": 1}],
            "tasks 'a' and 'b' are split after stage 0 but share stage 1; pass tree=False",
        ),
    ],
)
def test_bad_tables(table: list[Mapping[str, Hashable]], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        build(table)


def test_trees() -> None:
    assert sharing_table(("a", "b"), splits=(1,), n_stages=2) == [{"a": (), "b": ()}, {"a": (0,), "b": (1,)}]
    with pytest.raises(TaskError, match="2 levels of nesting, but 1 splits"):
        sharing_table((("a", "b"), "c"), splits=(1,), n_stages=3)
    with pytest.raises(TaskError, match="increasing"):
        sharing_table((("a", "b"), "c"), splits=(1, 1), n_stages=3)
    with pytest.raises(TaskError, match="twice"):
        sharing_table(("a", "a"), splits=(0,), n_stages=1)


def test_new_task_beside_another() -> None:
    model = build([dict.fromkeys("abc", 0), {"a": 0, "b": 0, "c": 1}])
    larger = model.add_task(Task(name="d", kind=Regression()), like="c", stages=2)
    assert [groups["d"] for groups in larger.groups] == [0, 1]
    assert [len(stage) for stage in larger.stages] == [1, 2]
    apart = model.add_task(Task(name="d", kind=Regression()))
    assert [len(stage) for stage in apart.stages] == [1, 3]


def test_another_table_for_the_same_stages():
    tasks = [Task(name=name, kind=Regression()) for name in "abc"]
    stages = [nn.Linear(3, 4), nn.Linear(4, 4)]
    one = PartialSharing(stages, tasks, table=[dict.fromkeys("abc", 0), {"a": 0, "b": 0, "c": 1}])
    apart = one.with_structure([{"a": 0, "b": 0, "c": 1}, {"a": 0, "b": 1, "c": 2}])
    assert [len(stage) for stage in apart.stages] == [2, 3]
    assert apart.structure() == [{"a": 0, "b": 0, "c": 1}, {"a": 0, "b": 1, "c": 2}]
    together = apart.with_structure(one.structure())
    assert [len(stage) for stage in together.stages] == [1, 2]
    assert {name: value.shape for name, value in together.state_dict().items()} == {
        name: value.shape for name, value in one.state_dict().items()
    }
    with pytest.raises(TaskError, match="'c'"):
        one.with_structure([{"a": 0, "b": 0}, {"a": 0, "b": 0}])
