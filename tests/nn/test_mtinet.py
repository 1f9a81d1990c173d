from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import CNN, MTINet, MultiTaskModel, PooledHead, ResNet, check_partition
from taskloom.task import Multiclass, Regression, Task
from taskloom.testing import ModelLaws


class TestMTINet(ModelLaws):
    """Images of 5 x 6, two scales; heads that average, since the laws look at outputs (n, n_outputs)."""

    vectorises = False
    sizes = (1, 2)

    def make_model(self, tasks: Sequence[Task]) -> MTINet:
        heads = {task.name: PooledHead(nn.Linear(6, task.kind.n_outputs)) for task in tasks}
        for number in range(2):
            heads |= {f"aux/{number}/{task.name}": PooledHead(nn.Linear(3, task.kind.n_outputs)) for task in tasks}
        return MTINet(CNN(1, (2, 4), pool=False), tasks, width=3, heads=heads, example=torch.zeros(1, 1, 5, 6))

    def make_inputs(self, n_rows: int, *, seed: int = 0) -> torch.Tensor:
        return super().make_inputs(5 * n_rows, seed=seed).reshape(n_rows, 1, 5, 6)

    def inputs_per_task(self, model: MultiTaskModel, n_rows: int | Sequence[int]) -> dict[str, torch.Tensor]:
        rows = [n_rows] if isinstance(n_rows, int) else n_rows
        return super().inputs_per_task(model, [rows[k % len(rows)] for k in range(len(model.tasks))])

    def added_tasks(self, name: str) -> tuple[str, ...]:
        return (name, f"aux/0/{name}", f"aux/1/{name}")

    def test_remove_task(self) -> None:
        """As the law, without its last line: a model made for one task has three."""
        model = self.build(2).eval()
        inputs = self.make_inputs(6)
        before = model(inputs)
        for task in model.tasks:
            smaller = model.remove_task(task).eval()
            assert smaller.tasks == tuple(other for other in model.tasks if other != task)
            assert all(torch.equal(output, before[other]) for other, output in smaller(inputs).items())
            check_partition(smaller, inputs)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        n_tasks, width = len(tasks), 3

        def block(into: int, out: int) -> int:
            return 9 * into * out + 2 * out

        encoder = sum(block(into, out) for into, out in [(1, 2), (2, 2), (2, 4), (4, 4)])
        branches = n_tasks * (block(4, width) + block(2 + width, width) + 2 * block(width, width))
        joined = n_tasks * width
        inner = max(1, joined // 4)
        scores = block(joined, inner) + block(inner, inner) + (inner + 1) * joined if n_tasks > 1 else 0
        excite = (width + 1) * 4 + (4 + 1) * width
        propagation = scores + block(joined, width) + n_tasks * excite
        messages = 2 * n_tasks * (n_tasks - 1) * 2 * 9 * width * width
        heads = sum((2 * width + 1 + 2 * (width + 1)) * task.kind.n_outputs for task in tasks)
        return encoder + branches + propagation + messages + heads


class TestMTINetWithoutBatchStatistics(TestMTINet):
    """With group normalisation, many networks are trained in one computation."""

    vectorises = True
    sizes = (1, 2)

    def make_model(self, tasks: Sequence[Task]) -> MTINet:
        def norm(channels: int) -> nn.Module:
            return nn.GroupNorm(1, channels)

        plain = super().make_model(tasks)
        heads = dict(zip(plain.tasks, plain.heads))
        encoder = CNN(1, (2, 4), pool=False, norm=norm)
        return MTINet(encoder, tasks, width=3, norm=norm, heads=heads, example=torch.zeros(1, 1, 5, 6))


def scenes() -> list[Task]:
    return [Task(name="depth", kind=Regression(), target="d"), Task(name="class", kind=Multiclass(5))]


def images(n_rows: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n_rows, 3, 16, 16, dtype=torch.float64, generator=generator)


def build() -> MTINet:
    torch.manual_seed(0)
    encoder = CNN(3, (4, 6, 8), pool=False)
    return MTINet(encoder, scenes(), width=4, example=images(1).float()).double()


def test_outputs_of_every_scale_have_the_size_of_the_image() -> None:
    model = build()
    initial = [f"aux/{number}/{task}" for number in range(3) for task in ("depth", "class")]
    assert list(model.tasks) == ["depth", "class", *initial]
    for name, output in model(images()).items():
        assert output.shape == (3, 1 if "depth" in name else 5, 16, 16)
    assert {task.column for task in model.task_objects if "depth" in task.name} == {"d"}
    assert [task.auxiliary for task in model.task_objects] == [False, False] + [True] * 6


def test_the_equations() -> None:
    """Two scales, two tasks, written out."""
    torch.manual_seed(0)
    encoder = CNN(3, (4, 6), pool=False)
    model = MTINet(encoder, scenes(), width=4, example=images(1).float()).double().eval()
    small, large = model.pyramid.scales

    def up(features: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(features, size=(16, 16), mode="bilinear", align_corners=False)

    first = encoder[0](images())
    second = encoder[1](first)
    below = [branch(second) for branch in small.branches]
    (passing,) = large.generations
    score = passing.scores(torch.cat(below, 1))
    shares = torch.softmax(torch.stack([score[:, :4], score[:, 4:]]), 0)
    common = passing.reduce(torch.cat([shares[0] * below[0], shares[1] * below[1]], 1))
    above = []
    for k in range(2):
        excite = passing.own[k]
        scale = torch.sigmoid(excite.second(torch.relu(excite.first(common.mean((2, 3))))))
        passed = common * scale[..., None, None] + below[k]
        above.append(large.branches[k](torch.cat([first, up(passed)], 1)))
    features = model.features(images())
    for k, task in enumerate(("depth", "class")):
        torch.testing.assert_close(features[f"aux/1/{task}"], below[k], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(features[f"aux/0/{task}"], above[k], rtol=1e-12, atol=1e-12)
        read = []
        for number, own in enumerate((above, below)):
            weight = model.readers[k][number].messages[0].gate_and_value.weight
            gate, value = nn.functional.conv2d(own[1 - k], weight, padding=1).split(4, 1)
            read.append(own[k] + torch.sigmoid(gate) * value)
        expected = torch.cat([read[0], up(read[1])], 1)
        torch.testing.assert_close(features[task], expected, rtol=1e-12, atol=1e-12)


def test_the_softmax_is_over_tasks() -> None:
    """With scores that favour one task everywhere, only that task's features come through."""
    model = build().eval()
    (passing,) = model.pyramid.scales[1].generations
    passing.scores[2].weight.data.zero_()
    passing.scores[2].bias.data.copy_(torch.tensor([50.0] * 4 + [-50.0] * 4))
    seen = []
    passing.reduce.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    features = {k: torch.randn(1, 4, 3, 3, dtype=torch.float64) for k in range(2)}
    passing(features, [0, 1])
    torch.testing.assert_close(seen[0], torch.cat([features[0], torch.zeros_like(features[1])], 1))


def test_groups() -> None:
    found = build().describe()
    message = 2 * 9 * 4 * 4
    assert found["task"]["depth"] == 3 * message + (12 + 1)
    assert found["task"]["aux/2/class"] == 5 * (4 + 1)
    assert found["messages"] == 2 * 3 * message
    assert found["scales"] == 3
    assert found["shared"] + sum(found["task"].values()) == found["total"]


def test_only_scales_that_are_needed_are_computed_and_exported() -> None:
    model = build().eval()
    calls = []
    for number, scale in enumerate(model.pyramid.scales):
        scale.register_forward_hook(lambda *_, number=number: calls.append(number))
    model(images(), ["aux/2/class"])
    assert calls == [0]
    paths = model.describe()["path"]
    assert paths["aux/2/class"] < paths["aux/1/class"] < paths["aux/0/class"] < paths["class"]


def test_resnet() -> None:
    encoder = ResNet((1, 1, 1, 1), width=2, pool=False)
    model = MTINet(encoder, scenes(), width=2, example=torch.zeros(1, 3, 64, 64))
    assert model(torch.zeros(2, 3, 64, 64), ["class"])["class"].shape == (2, 5, 64, 64)


def test_a_new_task_reads_the_old_ones_and_is_read_by_none() -> None:
    model = build().eval()
    larger = model.add_task(Task(name="edges", kind=Multiclass(2)), freeze="old").eval()
    assert larger.tasks[len(model.tasks) :] == ("edges", "aux/0/edges", "aux/1/edges", "aux/2/edges")
    assert larger(images(), ["edges", "aux/1/edges"])["aux/1/edges"].shape == (3, 2, 16, 16)
    assert [reader.sources for reader in larger._readers(larger.position("edges"))] == [[2, 0, 1]] * 3
    assert list(larger.shared_parameters()) != []  # its features serve four predictions
    other = larger.add_task(Task(name="normals", kind=Regression()))
    generations = [[one.n_read for one in scale.generations] for scale in other.pyramid.scales]
    assert generations == [[], [2, 3, 4], [2, 3, 4]]
    check_partition(other, images())
    with pytest.raises(TaskError, match=r"heads \['normals'\] do not match the new tasks"):
        model.add_task(Task(name="normals", kind=Regression()), heads={"normals": nn.Identity()})


def test_what_nobody_reads_any_more_goes() -> None:
    model = build().add_task(Task(name="edges", kind=Multiclass(2))).double().eval()
    expected = model(images())
    smaller = model
    for name in ("edges", "aux/0/edges", "aux/1/edges", "aux/2/edges"):
        smaller = smaller.remove_task(name)
    sizes = [sum(p.numel() for p in one.parameters()) for one in (smaller, build())]
    assert sizes[0] == sizes[1]
    for name in ("depth", "class", "aux/0/depth", "aux/0/class", "aux/1/depth"):
        smaller = smaller.remove_task(name)
        check_partition(smaller, images())
        for other, output in smaller(images()).items():
            assert torch.equal(output, expected[other])
    assert smaller.tasks == ("aux/1/class", "aux/2/depth", "aux/2/class")
    with pytest.raises(TaskError, match="no task is left that reads the features of this scale"):
        smaller.add_task(Task(name="edges", kind=Multiclass(2)))


def test_an_initial_prediction_is_exported_with_what_it_needs() -> None:
    model = build().eval()
    exported = model.export("aux/0/class")
    assert torch.equal(exported(images()), model(images())["aux/0/class"])
    branches = [sum(not isinstance(one, nn.Identity) for one in scale.branches) for scale in exported.pyramid.scales]
    assert branches == [2, 2, 1]


def test_bad_arguments() -> None:
    with pytest.raises(TaskError, match="give example="):
        MTINet(CNN(pool=False), scenes())
    with pytest.raises(TaskError, match="at least one stage"):
        MTINet([], scenes(), example=images(1))
    with pytest.raises(TaskError, match=r"Conv2d has no method stages\(\)"):
        MTINet(nn.Conv2d(3, 3, 1), scenes(), example=images(1))
    with pytest.raises(TaskError, match="use an encoder without pooling"):
        MTINet(CNN(), scenes(), example=images(1).float())
    with pytest.raises(TaskError, match="width must be 1 or more"):
        MTINet(CNN(pool=False), scenes(), width=0, example=images(1).float())


def test_lower_precision() -> None:
    tasks = [Task(name=f"t{k}", kind=Regression()) for k in range(3)]
    model = MTINet(CNN(3, (2, 3), pool=False), tasks, width=2, example=images(1).float()).train()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(images().float())
        sum(output.float().square().sum() for output in outputs.values()).backward()
    assert {output.dtype for output in outputs.values()} == {torch.bfloat16}
    assert all(parameter.grad is not None for parameter in model.parameters())
