from __future__ import annotations

import pytest
import torch

from taskloom.errors import EngineError, TaskError, TaskloomError
from taskloom.nn import MLP, HardSharing, NoCommonFeature, UnknownTask
from taskloom.task import Regression, Task


def regressions(n: int) -> list[Task]:
    return [Task(name=f"t{k}", kind=Regression()) for k in range(n)]


def test_tasks_are_checked() -> None:
    with pytest.raises(TaskError, match="at least one task"):
        HardSharing(MLP(3), [])
    with pytest.raises(TaskError, match=r"duplicate task names: \['t0'\]"):
        HardSharing(MLP(3), [*regressions(1), *regressions(1)])


def test_unknown_task() -> None:
    model = HardSharing(MLP(3), regressions(3))
    for error in (KeyError, ValueError, TaskloomError):
        with pytest.raises(error):
            model(torch.zeros(1, 3), ["zz"])
    with pytest.raises(UnknownTask, match=r"unknown task 'zz'; this model has \['t0', 't1', 't2'\]$"):
        model.position("zz")
    with pytest.raises(UnknownTask, match=r"'t11', \.\.\.\] Did you mean 't120'"):
        HardSharing(MLP(3), regressions(139)).position("t120 ")
    with pytest.raises(TaskError, match=r"write \['t0'\]"):
        model(torch.zeros(1, 3), "t0")


def test_absent_tasks_are_absent() -> None:
    model = HardSharing(MLP(3), regressions(3))
    assert list(model({"t2": torch.zeros(4, 3), "t0": torch.zeros(1, 3)})) == ["t0", "t2"]
    assert list(model({"t2": torch.zeros(4, 3), "t0": torch.zeros(1, 3)}, ["t2", "t1"])) == ["t2"]


def test_describe() -> None:
    described = HardSharing(MLP(3, (4,)), regressions(2)).describe()
    assert described == {
        "architecture": "HardSharing",
        "total": 16 + 2 * 5,
        "shared": 16,
        "structure": 0,
        "coupling": 0,
        "task": {"t0": 5, "t1": 5},
        "path": {"t0": 21, "t1": 21},
    }


def test_penalty_of_a_model_without_one() -> None:
    model = HardSharing(MLP(3), regressions(2)).double()
    assert model.penalties() == {}
    assert torch.equal(model.penalty(), torch.zeros((), dtype=torch.float64))


def test_add_task_is_checked() -> None:
    model = HardSharing(MLP(3), regressions(2))
    with pytest.raises(TaskError, match="duplicate task names"):
        model.add_task(regressions(1)[0])
    with pytest.raises(TaskError, match="freeze must be 'old', 'shared' or 'none', found 'all'"):
        model.add_task(Task(name="new", kind=Regression()), freeze="all")  # type: ignore[arg-type]


def test_freeze() -> None:
    model = HardSharing(MLP(3), regressions(2))
    new = Task(name="new", kind=Regression())

    def trained(freeze: str) -> list[str]:
        larger = model.add_task(new, freeze=freeze)  # type: ignore[arg-type]
        groups = {"shared": larger.shared_parameters(), **{task: larger.task_parameters(task) for task in larger.tasks}}
        return [name for name, parameters in groups.items() if list(parameters)]

    assert trained("old") == ["new"]
    assert trained("shared") == ["t0", "t1", "new"]
    assert trained("none") == ["shared", "t0", "t1", "new"]


def test_no_common_feature_is_an_engine_error() -> None:
    assert issubclass(NoCommonFeature, EngineError)


def test_decode_keeps_the_order_of_the_model() -> None:
    model = HardSharing(MLP(3), regressions(3)).eval()
    inputs = {"t2": torch.ones(1, 3), "t0": torch.zeros(2, 3)}
    decoded = model.decode(model.encode(inputs), list(inputs))
    assert all(torch.equal(decoded[task], output) for task, output in model(inputs).items())
