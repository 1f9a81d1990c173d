"""The part that mixes features: against the formula, in every layout; growing, shrinking, and who reads whom."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import vmap

from taskloom.errors import TaskError
from taskloom.nn import Mixing, batched_evaluation

LAYOUTS = {"rows": ((3, 4), 1), "sequence": ((3, 4, 5), 1), "image": ((3, 4, 2, 5), 1), "tokens": ((3, 5, 4), 2)}
KINDS = {"scalar": 1, "subspaces": 2, "channel": 1, "channel subspaces": 2, "full": 1}


def unit_of(kind: str, n_tasks: int = 3, *, dimension: int = 1, **settings: Any) -> Mixing:
    """A unit of 4 channels with random weights."""
    per = kind.split()[0] if kind != "subspaces" else "scalar"
    unit = Mixing(n_tasks, per=per, channels=4, subspaces=KINDS[kind], dimension=dimension, **settings).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for block in unit.rows:
            block.normal_(generator=torch.Generator().manual_seed(0))
    return unit


def features_of(n_tasks: int, shape: Sequence[int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(*shape, dtype=torch.float64, generator=generator) for _ in range(n_tasks)]


def by_the_formula(unit: Mixing, features: Sequence[Tensor], dimension: int) -> list[Tensor]:
    """Every term for itself, channels last."""
    last = [feature.movedim(dimension, -1) for feature in features]
    n_channels, n_parts = last[0].shape[-1], unit.subspaces
    width = n_channels // n_parts
    found = []
    for task in range(len(features)):
        total = torch.zeros_like(last[0])
        for other, feature in enumerate(last):
            if unit.per == "full":
                total += feature @ unit.weight[task][:, other * n_channels : (other + 1) * n_channels].T
                continue
            for s in range(n_parts):
                for u in range(n_parts):
                    weight = unit.weight[task * n_parts + s, other * n_parts + u]
                    total[..., s * width : (s + 1) * width] += weight * feature[..., u * width : (u + 1) * width]
        found.append(total.movedim(-1, dimension))
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_tasks", [1, 2, 3, 17])
def test_the_formula(kind: str, layout: str, n_tasks: int) -> None:
    shape, dimension = LAYOUTS[layout]
    unit, features = unit_of(kind, n_tasks, dimension=dimension), features_of(n_tasks, shape)
    expected = by_the_formula(unit, features, dimension)
    for mode in (True, False):
        found = unit.train(mode)(features)
        assert len(found) == n_tasks
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_both_forms(kind: str) -> None:
    unit, features = unit_of(kind), features_of(3, (3, 4))
    for feature in features:
        feature.requires_grad_()
    variables = [*features, *unit.parameters()]

    def gradients(mode: bool) -> list[Tensor]:
        outputs = torch.stack(list(unit.train(mode)(features)))
        return list(torch.autograd.grad((outputs * torch.arange(outputs.numel()).view(outputs.shape)).sum(), variables))

    for one, other in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_some_rows_are_the_same_bits_in_evaluation(kind: str) -> None:
    unit, features = unit_of(kind).eval(), features_of(3, (3, 4))
    everything = unit(features)
    assert all(torch.equal(unit(features, [row])[0], everything[row]) for row in range(3))
    with batched_evaluation():
        for one, other in zip(unit(features, [2, 0]), (everything[2], everything[0]), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_features_in_one_tensor(kind: str) -> None:
    unit, features = unit_of(kind), features_of(3, (3, 4))
    stacked = unit(torch.stack(features), [2, 1])
    assert isinstance(stacked, Tensor)
    torch.testing.assert_close(stacked, torch.stack(list(unit(features, [2, 1]))), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_networks_without_weight_can_be_left_out(kind: str) -> None:
    """Bit by bit, which is what pruned exports rest on."""
    unit, features = unit_of(kind).eval(), features_of(3, (3, 4))
    with torch.no_grad():
        opened = unit._opened(unit.weight)  # rows 0 and 2 do not read network 1
        opened = opened.clone()
        opened[[0, 2], :, 1] = 0
        flat = unit._flat(opened)
        for block, values in zip(unit.rows, flat.split([len(block) for block in unit.rows]), strict=True):
            block.copy_(values)
    assert unit.used() == [[True, False, True], [True] * 3, [True, False, True]]
    assert unit.used(tolerance=1e9) == [[False] * 3] * 3
    alone = unit.only([0, 2], [0, 2])
    assert alone.weight.numel() == unit.weight.numel() * 4 // 9
    for one, other in zip(alone([features[0], features[2]]), unit(features, [0, 2]), strict=True):
        assert torch.equal(one, other)


@given(st.integers(1, 4), st.integers(1, 3), st.floats(-2, 2))
@settings(max_examples=30, deadline=None)
def test_rows_start_convex(n_tasks: int, subspaces: int, init: float) -> None:
    unit = Mixing(n_tasks, subspaces=subspaces, init=init).double()
    torch.testing.assert_close(unit.weight.sum(1), torch.ones(n_tasks * subspaces, dtype=torch.float64))
    if n_tasks * subspaces > 1:
        torch.testing.assert_close(unit.weight.diagonal(), torch.full_like(unit.weight[0], init))


@pytest.mark.parametrize("per", ["scalar", "channel", "full"])
def test_the_kinds_start_alike(per: Any) -> None:
    features = features_of(3, (5, 4))
    expected = Mixing(3, init=0.7).double()(features)
    for one, other in zip(Mixing(3, per=per, channels=4, init=0.7).double()(features), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_one_network_is_the_identity() -> None:
    (features,) = features_of(1, (5, 4))
    for mode in (True, False):
        assert torch.equal(Mixing(1).double().train(mode)([features])[0], features)
    torch.testing.assert_close(Mixing(1, per="full", channels=4).double()([features])[0], features)


def test_start_from_a_matrix_and_back_to_it() -> None:
    start = torch.arange(16.0).view(4, 4)
    unit = Mixing(2, subspaces=2, init=start)
    torch.testing.assert_close(unit.weight, start)
    with torch.no_grad():
        unit.rows[0].zero_()
    unit.add_task()
    unit.reset_parameters()
    torch.testing.assert_close(unit.weight, torch.block_diag(start, torch.eye(2)))


def test_norm_and_activation_for_each_row() -> None:
    unit = Mixing(2, per="full", channels=4, norm=nn.BatchNorm1d, act=nn.PReLU, dimension=2).double()
    features = features_of(2, (6, 3, 4))
    found = unit(features)
    expected = by_the_formula(Mixing(2, per="full", channels=4).double(), features, 2)
    for one, other in zip(found, expected, strict=True):
        normalised = (other - other.mean((0, 1))) / (other.var((0, 1), unbiased=False) + 1e-5).sqrt()
        torch.testing.assert_close(one, torch.nn.functional.prelu(normalised, torch.tensor([0.25]).double()))
    assert sum(parameter.numel() for parameter in unit.parameters()) == 2 * 4 * 8 + 2 * (4 + 4 + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_network_reads_itself_alone(kind: str) -> None:
    unit, features = unit_of(kind).eval(), features_of(4, (3, 4))
    before = unit(features[:3])
    unit.add_task()
    after = unit(features)
    assert all(torch.equal(one, other) for one, other in zip(before, after))
    torch.testing.assert_close(after[3], features[3])
    assert [len(rows) for _, rows in unit.blocks()] == ([1] * 4 if kind == "full" else [4])


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_rows_never_read_a_new_network(kind: str) -> None:
    unit = unit_of(kind).requires_grad_(False)
    unit.add_task()
    assert unit.may_use() == [[True, True, True, False]] * 3 + [[True] * 4]
    assert [block.requires_grad for block, _ in unit.blocks()] == [False] * (3 if kind == "full" else 1) + [True]
    unit.add_task()  # joins the row that learns, which may now read it too
    assert unit.may_use() == [[True, True, True, False, False]] * 3 + [[True] * 5] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_forget(kind: str) -> None:
    unit, features = unit_of(kind).eval(), features_of(3, (3, 4))
    expected = unit(features)
    unit.forget(row=1)
    assert all(torch.equal(one, expected[row]) for one, row in zip(unit(features), (0, 2), strict=True))
    wanted = unit.only([0, 1], [0, 2])([features[0], features[2]])
    unit.forget(column=1)
    assert all(torch.equal(one, other) for one, other in zip(unit([features[0], features[2]]), wanted, strict=True))


def test_the_average_of_a_row() -> None:
    start = torch.tensor([[0.7, 0.3], [0.2, 0.8]])
    for per in ("scalar", "channel", "full"):
        torch.testing.assert_close(Mixing(2, per=per, channels=4, init=start).average(), start)  # type: ignore[arg-type]
    blocks = torch.kron(start, torch.eye(2))
    torch.testing.assert_close(Mixing(2, subspaces=2, init=blocks).average(), start)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_many_units_at_once(kind: str) -> None:
    unit, features = unit_of(kind), features_of(3, (3, 4))
    expected = torch.stack(list(unit(features)))
    for other in (copy.deepcopy(unit), pickle.loads(pickle.dumps(unit))):
        assert torch.equal(torch.stack(list(other(features))), expected)
    doubled = vmap(lambda x: torch.stack(list(unit(x.unbind(0)))))(torch.stack([torch.stack(features)] * 2))
    torch.testing.assert_close(doubled, torch.stack([expected] * 2), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_tasks": 0}, "1 or more networks"),
        ({"n_tasks": 2, "subspaces": 0}, "1 or more networks and subspaces"),
        ({"n_tasks": 2, "per": "row"}, "'scalar', 'channel' or 'full', found 'row'"),
        ({"n_tasks": 2, "per": "channel"}, "give channels="),
        ({"n_tasks": 2, "per": "full", "channels": 4, "subspaces": 2}, "leave subspaces out"),
        ({"n_tasks": 2, "channels": 5, "subspaces": 2}, "5 channels do not divide into 2 subspaces"),
        ({"n_tasks": 2, "init": torch.eye(3)}, r"a matrix \(2, 2\), found \(3, 3\)"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        Mixing(**settings)


def test_features_of_another_width() -> None:
    with pytest.raises(TaskError, match="for 4 channels found 5 on axis 1"):
        Mixing(2, per="channel", channels=4)([torch.zeros(3, 5)] * 2)
    with pytest.raises(TaskError, match="5 channels do not divide into 2 subspaces"):
        Mixing(2, subspaces=2)([torch.zeros(3, 5)] * 2)
