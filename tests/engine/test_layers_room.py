"""Task gradients side by side: every parameter has its columns, whatever its size, dtype and shape."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskloom.engine.layers import room as room_module
from taskloom.engine.layers.pool import Pool
from taskloom.engine.layers.remaining import RemainingRows
from taskloom.engine.layers.room import Room


def parameters() -> list[Tensor]:
    shapes: list[tuple[int, ...]] = [(3, 4), (7,), (), (2, 1, 5), (40,)]
    kinds = [torch.float64, torch.float64, torch.float32, torch.float64, torch.float32]
    return [torch.zeros(shape, dtype=dtype) for shape, dtype in zip(shapes, kinds, strict=True)]


@pytest.mark.parametrize("together", [1 << 22, 20], ids=["one block", "several"])
def test_columns_do_not_overlap(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "_TOGETHER", together)
    torch.manual_seed(0)
    ours = parameters()
    room = Room(ours, 3, Pool().lease())
    expected = [torch.randn(3, *(one.shape or (1,)), dtype=one.dtype) for one in ours]
    for one, rows in zip(ours, expected, strict=True):
        room.of(one).copy_(rows)
    flat = torch.cat([rows.flatten(1).double() for rows in expected], 1)
    found = room.gramian()
    assert found is not None
    torch.testing.assert_close(found, flat @ flat.T, rtol=1e-6, atol=1e-6)
    weights = torch.tensor([1.0, -2.0, 0.5])
    for one, rows, gradient in zip(ours, expected, room.combine(weights), strict=True):
        assert gradient.shape == one.shape
        assert gradient.dtype == one.dtype
        torch.testing.assert_close(gradient.reshape(-1), weights.to(one.dtype) @ rows.flatten(1))
    assert len(room.blocks) == (2 if together > 20 else 4)
    assert all(block.data_ptr() % 64 == 0 for block in room.blocks)
    listed = [one for columns, own in room.columns(ours) for one in own]
    assert [id(one) for one in listed] == [id(one) for one in ours]


def test_remaining_parameters_beside_others() -> None:
    torch.manual_seed(0)
    ours = parameters()
    room = Room(ours, 3, Pool().lease())
    rest = RemainingRows([ours[1], ours[3], ours[4]], 3, Pool().lease(), room)
    given = [torch.randn(7, dtype=torch.float64), None, torch.randn(40)]
    rest.take(1, given)
    several = [torch.randn(1, 7, dtype=torch.float64), torch.randn(1, 2, 1, 5, dtype=torch.float64), None]
    rest.take_several(2, several)
    rest.finish()
    first, second, third = rest.rows()
    assert not first[0].any()
    assert torch.equal(first[1:], torch.stack([given[0], several[0][0]]))  # type: ignore[list-item, index]
    assert torch.equal(second[2], several[1].reshape(-1))  # type: ignore[union-attr]
    assert not second[:2].any()
    assert torch.equal(third[1], given[2])  # type: ignore[arg-type]
    assert not third[2].any()
    alone = RemainingRows([ours[1]], 3, Pool().lease())
    alone.take(0, [None])
    alone.finish()
    assert not alone.rows()[0].any()


def test_an_empty_room() -> None:
    room = Room([], 3, Pool().lease())
    assert room.gramian() is None
    assert room.combine(torch.ones(3)) == []
