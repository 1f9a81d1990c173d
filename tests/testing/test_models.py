"""The laws of models must be able to fail: each broken model here breaks one law."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn import MLP, HardSharing, MultiTaskModel
from taskloom.task import Task
from taskloom.testing import ModelLaws


class Broken(ModelLaws):
    __test__ = False
    architecture: type[HardSharing] = HardSharing

    def make_model(self, tasks: Sequence[Task]) -> MultiTaskModel:
        return self.architecture(MLP(self.n_features, (5,)), tasks)


class LooksAtOtherTasks(HardSharing):
    def decide(self, features: Sequence[Any], indices: Sequence[int]) -> list[Tensor]:
        outputs = super().decide(features, indices)
        return [output + 0.1 * outputs[0].sum() for output in outputs]


class LooksAtOtherRows(HardSharing):
    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        mean = torch.cat(list(parts)).mean()
        return [feature + mean for feature in super().represent_each(parts, indices)]


class HidesParameters(HardSharing):
    def shared_parameters(self) -> Iterator[nn.Parameter]:
        return iter(())


class DecidesByValue(HardSharing):
    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        features = super().represent(inputs, indices)
        return features if features[0].sum().item() < 1e9 else []


class DoublesInDecode(HardSharing):
    def decode(self, cut: Sequence[Any], tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        return {task: 2 * output for task, output in super().decode(cut, tasks).items()}


class RandomInEvaluation(HardSharing):
    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        return [feature + torch.randn(()) for feature in super().represent(inputs, indices)]


@pytest.mark.parametrize(
    ("architecture", "law"),
    [
        (LooksAtOtherTasks, "test_fewer_tasks_same_answers"),
        (LooksAtOtherTasks, "test_gradients_stay_with_their_task"),
        (LooksAtOtherTasks, "test_partition"),
        (LooksAtOtherRows, "test_one_input_per_task"),
        (HidesParameters, "test_partition"),
        (DecidesByValue, "test_many_models_at_once"),
        (DoublesInDecode, "test_cut"),
        (RandomInEvaluation, "test_fewer_tasks_same_answers"),
        (RandomInEvaluation, "test_export"),
    ],
)
def test_broken_models_break_laws(architecture: type[HardSharing], law: str) -> None:
    laws = Broken()
    laws.architecture = architecture
    with pytest.raises((AssertionError, TaskError, RuntimeError)):
        getattr(laws, law)()


def test_a_wrong_count_is_found() -> None:
    class Counted(Broken):
        def parameter_count(self, tasks: Sequence[Task]) -> int:
            return 3

    with pytest.raises(AssertionError, match="expected 3"):
        Counted().test_parameter_count()


def test_make_model_must_be_written() -> None:
    with pytest.raises(NotImplementedError, match="make_model"):
        ModelLaws().test_outputs()
