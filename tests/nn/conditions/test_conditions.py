from __future__ import annotations

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import Condition, EmbeddingAdd, EmbeddingConcat, EmbeddingGate, EmbeddingToken, FiLM, OneHotConcat

ROWS = torch.tensor([1, 0, 1])


def features(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_one_hot_concat_is_a_bias_per_task() -> None:
    inputs, layer = features(3, 4), nn.Linear(4 + 3, 5).double()
    found = layer(OneHotConcat(3)(inputs, [0, 2], ROWS))
    weight = layer.weight
    biases = layer.bias + weight[:, 4:].T[torch.tensor([0, 2])[ROWS]]
    torch.testing.assert_close(found, inputs @ weight[:, :4].T + biases, rtol=0, atol=1e-14)


@pytest.mark.parametrize("width", [None, 3])
def test_film_starts_as_the_identity(width: int | None) -> None:
    inputs = features(3, 4)
    assert torch.equal(FiLM(2, 4, width=width).double()(inputs, [0, 1], ROWS), inputs)


def test_film_scales_and_shifts() -> None:
    film = FiLM(2, 2).double()
    with torch.no_grad():
        film.vectors[1].copy_(torch.tensor([1.0, 0.0, 10.0, 20.0]))  # gamma - 1, then beta
    found = film(torch.ones(1, 2, dtype=torch.float64), [1], torch.tensor([0]))
    assert found.tolist() == [[12.0, 21.0]]


def test_gate_starts_mostly_open() -> None:
    inputs = features(3, 4)
    torch.testing.assert_close(
        EmbeddingGate(2, 4).double()(inputs, [0, 1], ROWS), torch.sigmoid(torch.tensor(2.0).double()) * inputs
    )


@pytest.mark.parametrize(
    "build",
    [
        EmbeddingConcat,
        lambda k: EmbeddingAdd(k, 4),
        lambda k: EmbeddingGate(k, 4),
        lambda k: FiLM(k, 4),
        lambda k: FiLM(k, 4, width=2),
    ],
)
def test_other_tasks_get_no_gradient(build: type[EmbeddingConcat]) -> None:
    condition: Condition = build(3).double()
    with torch.no_grad():
        for parameter in condition.parameters():
            parameter.add_(torch.randn_like(parameter))
    condition(features(3, 4), [0, 1, 2], torch.tensor([1, 1, 1])).sum().backward()
    for index in (0, 2):
        gradient = condition.vectors[index].grad
        assert gradient is None or not gradient.any()
    assert condition.vectors[1].grad is not None
    assert bool(condition.vectors[1].grad.any())


@pytest.mark.parametrize(("shape", "dimension", "width"), [((3, 4, 2, 5), 1, 4), ((3, 7, 4), 2, 4), ((3, 7, 4), -1, 4)])
def test_images_and_tokens(shape: tuple[int, ...], dimension: int, width: int) -> None:
    inputs = features(*shape)
    concat = EmbeddingConcat(2, width=3, dimension=dimension).double()
    expected = list(shape)
    expected[dimension] += 3
    found = concat(inputs, [0, 1], ROWS)
    assert list(found.shape) == expected
    torch.testing.assert_close(found.narrow(dimension, 0, width), inputs)
    assert torch.equal(found.select(dimension, width)[0].unique(), concat.vectors[1][:1].detach())
    added = EmbeddingAdd(2, width, dimension=dimension).double()
    shift = added(inputs, [0, 1], ROWS) - inputs
    assert shift.shape == inputs.shape
    assert torch.allclose(
        shift[0].movedim(dimension - 1 if dimension > 0 else -1, 0).flatten(1).std(1),
        torch.zeros(width).double(),
        atol=1e-12,
    )


def test_a_token_stands_before_the_others() -> None:
    tokens = features(3, 5, 4)
    token = EmbeddingToken(2, width=4).double()
    found = token(tokens, [0, 1], ROWS)
    assert torch.equal(found[:, 1:], tokens)
    assert torch.equal(found[:, 0], torch.stack(list(token.vectors))[ROWS])
    with pytest.raises(TaskError, match=r"before tokens \(n, N, 4\), found features \(3, 4\)"):
        token(features(3, 4), [0, 1], ROWS)


def test_a_condition_of_one_task() -> None:
    condition = FiLM(3, 4, width=2).double()
    alone = condition.only(2)
    inputs = features(3, 4)
    zeros = torch.zeros(3, dtype=torch.int64)
    assert torch.equal(alone(inputs, [0], zeros), condition(inputs, [2], zeros))
    assert (len(alone.vectors), len(condition.vectors)) == (1, 3)
    code = OneHotConcat(3).only(1)
    assert code(inputs, [0], zeros)[:, 4:].tolist() == [[0.0, 1.0, 0.0]] * 3


def test_sizes_are_checked() -> None:
    with pytest.raises(TaskError, match="1 or more tasks"):
        FiLM(0, 3)
