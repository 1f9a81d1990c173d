from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor

from taskloom.errors import EngineError, TaskError, TaskloomError
from taskloom.nn import (
    MLP,
    AdaShare,
    Conditioned,
    FiLM,
    HardSharing,
    LoRA,
    MultiTaskModel,
    NoCommonFeature,
    UnknownTask,
)
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


# -- task by task -----------------------------------------------------------------------------------------------------


def lora(tasks: list[Task]) -> MultiTaskModel:
    return LoRA(MLP(6, (32, 32, 32)), tasks, rank=1)


def conditioned(tasks: list[Task]) -> MultiTaskModel:
    return Conditioned(MLP(6, (32, 32, 32)), tasks, condition={1: FiLM(len(tasks), 32)})


def adashare(tasks: list[Task]) -> MultiTaskModel:
    return AdaShare([MLP(32, (32,)) for _ in range(3)], tasks, stem=MLP(6, (32,)))


def most_kept(outputs: Callable[[], Iterable[tuple[str, Tensor]]]) -> int:
    """Largest number of numbers that graphs hold at one time while every loss goes backward when it is there."""
    held: dict[int, int] = {}
    most = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal most
        copied = tensor.clone()
        held[id(copied)] = copied.numel()
        weakref.finalize(copied, held.pop, id(copied))
        most = max(most, sum(held.values()))
        return copied

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        total = None
        for _, output in outputs():
            loss = output.square().mean()
            if isinstance(outputs, Once):
                total = loss if total is None else total + loss
            else:
                loss.backward()
        if total is not None:
            total.backward()
    return most


class Once:
    """All tasks in one forward pass."""

    def __init__(self, model: MultiTaskModel, inputs: Tensor) -> None:
        self.model, self.inputs = model, inputs

    def __call__(self) -> Iterable[tuple[str, Tensor]]:
        return self.model(self.inputs).items()


@pytest.mark.parametrize("make", [lora, conditioned, adashare])
def test_task_by_task_memory_holds_one_task(make: Callable[[list[Task]], MultiTaskModel]) -> None:
    torch.manual_seed(0)
    model, inputs = make(regressions(6)), torch.randn(500, 6)
    together = most_kept(Once(model, inputs))
    alone = most_kept(lambda: model.iter_tasks(inputs))
    assert alone < 0.4 * together


def test_random_numbers_go_on_as_after_one_forward_pass() -> None:
    torch.manual_seed(0)
    model = HardSharing(MLP(6, (8,), dropout=0.5), regressions(3))
    inputs = torch.randn(5, 6)
    torch.manual_seed(1)
    expected, following = model(inputs), torch.rand(1)
    torch.manual_seed(1)
    found, after = dict(model.iter_tasks(inputs)), torch.rand(1)
    assert all(torch.equal(found[task], expected[task]) for task in expected)
    assert torch.equal(after, following)
