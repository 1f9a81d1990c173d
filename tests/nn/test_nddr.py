from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn import MLP, NDDR, CrossStitch, check_partition, reached_by
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws


class TestNDDR(ModelLaws):
    sizes = (1, 2, 3)
    vectorises = False

    def make_model(self, tasks: Sequence[Task]) -> NDDR:
        return NDDR(MLP(self.n_features, (5, 4)), tasks)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        n_tasks, heads = len(tasks), sum(5 * task.kind.n_outputs for task in tasks)
        fused = sum(n_tasks**2 * width**2 + 2 * n_tasks * width for width in (5, 4))
        return n_tasks * (7 * 5 + 6 * 4) + fused + heads


class TestNDDRWithShortcutAndLayerNorm(ModelLaws):
    sizes = (1, 3)

    def make_model(self, tasks: Sequence[Task]) -> NDDR:
        return NDDR(MLP(self.n_features, (5, 4, 3)), tasks, after=[0, 1], norm=nn.LayerNorm, act=None, shortcut=True)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        n_tasks, heads = len(tasks), sum(4 * task.kind.n_outputs for task in tasks)
        fused = sum(n_tasks**2 * width**2 + 2 * n_tasks * width for width in (5, 4))
        return n_tasks * (7 * 5 + 6 * 4 + 5 * 3 + (5 + 4 + 3 + 1) * 3) + fused + heads


def tasks_of(names: str) -> list[Task]:
    return [Task(name=name, kind=Regression()) for name in names]


def inputs_of(n_rows: int = 6) -> Tensor:
    return torch.randn(n_rows, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def build(names: str = "abc", **settings: Any) -> NDDR:
    torch.manual_seed(0)
    return NDDR(MLP(4, (5, 5, 3)), tasks_of(names), **settings).double()


# -------------------------------------------------------------------------------------------- special cases (test 5)


def test_diagonal_matrices_are_cross_stitch_per_channel() -> None:
    model, inputs = build(norm=None, act=None), inputs_of()
    stages = iter([module for stage in model.stages for module in stage])
    stitched = CrossStitch(
        [lambda: next(stages)] * 3,
        tasks_of("abc"),
        after=[0, 1, 2],
        per="channel",
        heads=dict(zip("abc", model.heads, strict=True)),
    ).double()
    with torch.no_grad():
        for unit, matrices in zip(stitched.units, model.units, strict=True):
            unit.rows[0].normal_(generator=torch.Generator().manual_seed(1))
            for task, row in enumerate(matrices.rows):
                row[0] = torch.cat([torch.diag(unit.weight[task, other]) for other in range(3)], dim=1)
    for mode in (True, False):
        found, expected = model.train(mode)(inputs), stitched.train(mode)(inputs)
        for task in "abc":
            torch.testing.assert_close(found[task], expected[task], rtol=0, atol=1e-12)


def test_one_task_is_the_encoder_with_norm_and_activation() -> None:
    model, inputs = build("a"), inputs_of()
    hidden = inputs
    for stage in model.stages:
        hidden = F.relu(F.batch_norm(stage[0](hidden), None, None, training=True))
    torch.testing.assert_close(model(inputs)["a"], model.heads[0](hidden), rtol=1e-12, atol=1e-12)
    plain = build("a", norm=None, act=None)
    encoder = nn.Sequential(*(stage[0] for stage in plain.stages))
    torch.testing.assert_close(plain(inputs)["a"], plain.heads[0](encoder(inputs)), rtol=1e-14, atol=1e-14)


def test_matrices_at_the_start() -> None:
    for row, matrix in enumerate(build(init=0.6).units[0].weight):
        for other, block in enumerate(matrix.split(5, dim=1)):
            expected = torch.eye(5).double() * (0.6 if other == row else 0.2)
            torch.testing.assert_close(block, expected, rtol=1e-6, atol=0)


# -------------------------------------------------------------------------------------------- partition (test 1)

POSITIONS = list(chain.from_iterable(combinations(range(3), size) for size in (1, 2, 3)))


@pytest.mark.parametrize("after", POSITIONS, ids=str)
def test_partition_with_units_in_every_position(after: tuple[int, ...]) -> None:
    model, inputs = build(after=after), inputs_of()
    check_partition(model, inputs, samples=3)
    reached = reached_by(model, inputs, samples=3)
    for task, row, finish in zip("abc", model.units[-1].rows, model.units[-1].finishes, strict=True):
        own = {id(parameter) for parameter in model.task_parameters(task)}
        assert {id(parameter) for parameter in (row, *finish.parameters())} <= own  # the last unit is each task's own
    for unit in range(len(after) - 1):
        assert reached[f"units.{unit}.rows.1"] == set("abc")


# -------------------------------------------------------------------------------------------- images, shortcut


def test_images_with_a_shortcut() -> None:
    stages = [nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 4, 3, stride=2, padding=1)]
    heads = {task: nn.Conv2d(4, 1, 1) for task in "ab"}
    images = torch.randn(5, 2, 7, 6)
    model = NDDR(stages, tasks_of("ab"), shortcut=True, heads=heads, act=None, norm=None)
    fused, features = [], [images, images]
    for stage, unit in zip(model.stages, model.units, strict=True):
        together = torch.cat([module(feature) for module, feature in zip(stage, features, strict=True)], dim=1)
        features = [F.conv2d(together, matrix[:, :, None, None]) for matrix in unit.weight]
        fused.append(features)
    for task in range(2):
        resized = torch.cat([F.adaptive_avg_pool2d(fused[0][task], (4, 3)), fused[1][task]], dim=1)
        project = model.readouts[task].project
        expected = heads["ab"[task]](F.conv2d(resized, project.weight[:, :, None, None], project.bias))
        torch.testing.assert_close(model(images)["ab"[task]], expected, rtol=1e-5, atol=1e-6)
    assert model.eval().export("b")(images).shape == (5, 1, 4, 3)


def test_a_shortcut_from_images_to_rows() -> None:
    stages = [nn.Conv2d(2, 3, 3), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())]
    model = NDDR(stages, tasks_of("ab"), shortcut=True, example=torch.zeros(2, 2, 5, 5))
    assert model.readouts[0].project.in_features == 6
    assert model(torch.randn(4, 2, 5, 5))["a"].shape == (4, 1)


def test_a_shortcut_that_cannot_be() -> None:
    stages = [nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 4), nn.AdaptiveAvgPool2d((1, 4)), nn.Flatten(1, 1))]
    heads = {task: nn.Identity() for task in "ab"}
    model = NDDR(stages, tasks_of("ab"), shortcut=True, dimension=2, channels=[4, 4], heads=heads)
    with pytest.raises(TaskError, match=r"cannot bring features \(2, 5, 4\) to the size of \(2, 1, 4\)"):
        model(torch.zeros(2, 5, 3))


def test_tokens() -> None:
    heads = {task: nn.Linear(4, 1) for task in "ab"}
    model = NDDR([nn.Linear(3, 4), nn.Linear(4, 4)], tasks_of("ab"), dimension=2, heads=heads)
    found = model(torch.randn(6, 5, 3))["a"]
    assert found.shape == (6, 5, 1)
    assert model.units[0].finishes[0][0].norm.running_mean.shape == (4,)


# -------------------------------------------------------------------------------------------- the rest


def test_export_leaves_out_networks_without_weight() -> None:
    model, inputs = build().eval(), inputs_of()
    with torch.no_grad():
        for unit in model.units:
            unit.rows[0][0, :, unit.channels :] = 0
    expected = model(inputs)
    for task in "abc":
        assert torch.equal(model.export(task)(inputs), expected[task])
    assert [len(step.stages) for step in model.export("a").steps] == [1, 1, 1]
    assert [len(step.stages) for step in model.export("b").steps] == [3, 3, 3]


def test_matrices_are_decayed() -> None:
    model = build()
    networks, matrices = model.param_groups(0.01, weight_decay=0.1, unit_lr_factor=100)
    assert (matrices["lr"], matrices["weight_decay"]) == (1.0, 0.1)
    assert {id(p) for p in matrices["params"]} == {id(row) for unit in model.units for row in unit.rows}
    assert len(networks["params"]) + len(matrices["params"]) == len(list(model.parameters()))


def test_a_frozen_row_keeps_its_statistics() -> None:
    model = build("ab").eval()
    larger = model.add_task(Task(name="c", kind=Regression()), freeze="old").double()
    assert [finish[0].momentum for finish in larger.units[0].finishes] == [0.0, 0.0, 0.05]


def test_mixing_weights_in_words() -> None:
    assert build("ab").describe()["mixing"][0][0] == pytest.approx([0.9, 0.1])


def test_unknown_widths() -> None:
    class Block(nn.Linear):
        out_features = "unknown"

        def __init__(self) -> None:
            super().__init__(4, 4)
            self.out_features = "unknown"  # type: ignore[assignment]

    heads = {task: nn.Identity() for task in "ab"}
    with pytest.raises(TaskError, match="channels behind stage 0 is not known; give channels="):
        NDDR([Block], tasks_of("ab"), heads=heads)
    assert NDDR([Block], tasks_of("ab"), heads=heads, channels=[4])(torch.zeros(3, 4))["a"].shape == (3, 4)
    with pytest.raises(TaskError, match="for 3 channels found 4"):
        NDDR([Block], tasks_of("ab"), heads=heads, channels=[3])(torch.zeros(3, 4))
