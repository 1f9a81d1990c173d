"""Perceiver IO: laws, parameter counts, joint decoding, dense queries, padding, errors."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from taskloom.errors import NoCommonFeature, TaskError
from taskloom.nn import PerceiverIO, batched_evaluation
from taskloom.nn.encoders import FeatureTokens
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws

TASKS = [Task(name=name, kind=Regression()) for name in "abc"]


def attention(query: int, source: int) -> int:
    """Parameters of one attention: maps of queries, keys, values and results."""
    return (query + 1) * query + 2 * (source + 1) * query + (query + 1) * query


def perceptron(width: int, widening: int) -> int:
    return 2 * width + (width + 1) * widening * width + (widening * width + 1) * width


def count(channels: int, in_channels: int, *, n_latents: int, n_blocks: int, n_decoders: int, widening: int) -> int:
    cross = attention(channels, in_channels) + 2 * channels + 2 * in_channels + perceptron(channels, widening)
    block = attention(channels, channels) + 2 * channels + perceptron(channels, widening)
    decoder = attention(channels, channels) + 4 * channels + perceptron(channels, widening)
    return n_latents * channels + cross + n_blocks * block + n_decoders * decoder


class TestPerceiverIO(ModelLaws):
    decoder = "shared"

    def make_model(self, tasks: Sequence[Task]) -> PerceiverIO:
        return PerceiverIO(
            tasks,
            in_channels=4,
            n_latents=3,
            channels=6,
            n_blocks=1,
            n_repeats=2,
            n_heads=2,
            widening=2,
            adapter=FeatureTokens(self.n_features, 4),
            decoder=self.decoder,
        )

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        n_decoders = len(tasks) if self.decoder == "private" else 1
        body = count(6, 4, n_latents=3, n_blocks=1, n_decoders=n_decoders, widening=2)
        own = sum(6 + 7 * task.kind.n_outputs for task in tasks)
        return body + 2 * self.n_features * 4 + own


class TestPrivateDecoders(TestPerceiverIO):
    decoder = "private"


def build(**settings) -> PerceiverIO:
    torch.manual_seed(0)
    return PerceiverIO(TASKS, **{"in_channels": 5, "n_latents": 4, "channels": 8, **settings}).double()


def test_joint_decoding_equals_separate_decoding():
    model = build(queries={"a": 2, "b": 1, "c": 3}).eval()
    inputs = torch.randn(3, 7, 5, dtype=torch.float64)
    alone = {task: model(inputs, [task])[task] for task in model.tasks}
    with batched_evaluation():
        together = model(inputs)
    assert {task: tuple(output.shape) for task, output in together.items()} == {
        "a": (3, 2, 1),
        "b": (3, 1),
        "c": (3, 3, 1),
    }
    for task, output in together.items():
        torch.testing.assert_close(output, alone[task], rtol=0, atol=1e-12)


def test_padding_does_not_count():
    model = build().eval()
    inputs = torch.randn(2, 6, 5, dtype=torch.float64)
    ignored = torch.zeros(2, 6, dtype=torch.bool)
    ignored[:, 4:] = True
    expected = model(inputs[:, :4])
    for task, output in model((inputs, ignored)).items():
        torch.testing.assert_close(output, expected[task], rtol=0, atol=1e-12)


def test_queries_may_only_say_where_to_look():
    model = build(query_residual=False).eval()
    inputs = torch.randn(2, 6, 5, dtype=torch.float64)
    before = model(inputs)["a"]
    with torch.no_grad():
        model.decoders[0].attention.query.weight.zero_()
        model.decoders[0].attention.query.bias.zero_()
        same = model(inputs)["a"]
        model.queries[0].tokens.mul_(100.0)
    assert not torch.allclose(before, same, rtol=0, atol=1e-12)
    torch.testing.assert_close(model(inputs)["a"], same, rtol=0, atol=1e-12)  # the queries themselves are not added


def test_every_task_may_have_tokens_of_its_own():
    adapters = {"a": FeatureTokens(3, 5), "b": nn.Identity(), "c": nn.Linear(2, 5)}
    model = build(adapters=adapters).eval()
    inputs = {"a": torch.randn(2, 3), "b": torch.randn(4, 9, 5), "c": torch.randn(3, 8, 2)}
    outputs = model({task: value.double() for task, value in inputs.items()})
    assert [len(output) for output in outputs.values()] == [2, 4, 3]
    own = {id(parameter) for parameter in model.task_parameters("a")}
    assert {id(parameter) for parameter in model.adapters[0].parameters()} <= own
    with pytest.raises(TaskError, match="give adapter= for 'd'"):
        model.add_task(Task(name="d", kind=Regression()))
    larger = model.add_task(Task(name="d", kind=Regression()), adapter=nn.Identity(), queries=2).double()
    assert larger({"d": torch.zeros(1, 3, 5, dtype=torch.float64)})["d"].shape == (1, 2, 1)
    assert len(larger.remove_task("b").adapters) == 3


def test_a_common_decoder_leaves_no_cut():
    model = build()
    with pytest.raises(NoCommonFeature, match="PerceiverIO"):
        model.encode(torch.zeros(1, 2, 5))
    assert build(decoder="private").has_cut


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_heads": 3}, "n_heads=3 does not divide the channels 8"),
        ({"n_latents": 0}, "n_latents must be 1 or more"),
        ({"decoder": "own"}, "'shared' or 'private'"),
        ({"queries": {"a": 1}}, "one number per task"),
        ({"queries": {"a": 1, "b": 0, "c": 1}}, "task 'b' has 0"),
        ({"adapters": {"a": nn.Identity()}}, "give one per task"),
    ],
    ids=["heads", "latents", "decoder", "queries", "zero", "adapters"],
)
def test_bad_settings(settings, message):
    with pytest.raises(TaskError, match=message):
        build(**settings)


def test_vectors_need_an_adapter():
    with pytest.raises(TaskError, match=r"found \(2, 5\); give adapter="):
        build()(torch.zeros(2, 5, dtype=torch.float64))
