from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import HardSharing, TransformerEncoder, dry_run, macs
from taskloom.task import Task
from taskloom.testing import ModelLaws

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")  # attention has no rule under vmap


def sequences(n: int = 3, length: int = 5, width: int = 8) -> torch.Tensor:
    return torch.randn(n, length, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def padding_of(lengths: list[int], total: int) -> torch.Tensor:
    return torch.arange(total)[None, :] >= torch.tensor(lengths)[:, None]


def test_shapes_and_count() -> None:
    encoder = TransformerEncoder(8, heads=2, layers=3, inner=12).double()
    assert encoder.out_features == 8
    assert dry_run(list(encoder), sequences()) == [(3, 5, 8)] * 3
    per_layer = (8 * 24 + 24) + (8 * 8 + 8) + (8 * 12 + 12) + (12 * 8 + 8) + 2 * 16
    assert sum(p.numel() for p in encoder.parameters()) == 3 * per_layer + 16
    assert TransformerEncoder(8, pool="mean").double()(sequences()).shape == (3, 8)


def test_equals_the_layer_of_torch() -> None:
    torch.manual_seed(0)
    encoder = TransformerEncoder(8, heads=2, layers=1, inner=12).double()
    reference = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    reference = reference.double()
    attention, inner = encoder[0][0][1], encoder[0][1]
    pairs = {
        "self_attn.in_proj_weight": attention.part.query_key_value.weight,
        "self_attn.in_proj_bias": attention.part.query_key_value.bias,
        "self_attn.out_proj.weight": attention.part.out.weight,
        "self_attn.out_proj.bias": attention.part.out.bias,
        "linear1.weight": inner.part.first.weight,
        "linear1.bias": inner.part.first.bias,
        "linear2.weight": inner.part.second.weight,
        "linear2.bias": inner.part.second.bias,
    }
    reference.load_state_dict({name: value.detach() for name, value in pairs.items()}, strict=False)
    padding = padding_of([5, 2, 1], 5)
    expected = nn.functional.layer_norm(reference(sequences(), src_key_padding_mask=padding), (8,))
    found = encoder((sequences(), padding))
    torch.testing.assert_close(found[~padding], expected[~padding], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pool", [None, "mean", "first"])
def test_padding_changes_nothing(pool: str | None) -> None:
    encoder = TransformerEncoder(8, heads=2, max_length=5, pool=pool).double()
    lengths = [5, 2, 1]
    padded = sequences().clone()
    padding = padding_of(lengths, 5)
    padded[padding] = 1e3
    together = encoder((padded, padding))
    for row, length in enumerate(lengths):
        alone = encoder(sequences()[row : row + 1, :length])
        found = together[row : row + 1] if pool else together[row : row + 1, :length]
        torch.testing.assert_close(found, alone, rtol=1e-12, atol=1e-12)


def test_order_counts_only_with_positions() -> None:
    turned = sequences().flip(1)
    without = TransformerEncoder(8, pool="mean").double()
    torch.testing.assert_close(without(turned), without(sequences()), rtol=1e-12, atol=1e-12)
    positions = TransformerEncoder(8, pool="mean", max_length=6).double()
    assert not torch.allclose(positions(turned), positions(sequences()), atol=1e-3)


def test_pairs_compose_to_the_layers() -> None:
    encoder = TransformerEncoder(8, heads=2).double()
    padding = padding_of([5, 2, 1], 5)
    state = (sequences(), padding)
    for body, last in encoder.pairs():
        state = last(body(state))
    found = nn.functional.layer_norm(state[0], (8,))
    assert torch.equal(found, encoder((sequences(), padding)))


def test_macs_count_the_products_of_attention() -> None:
    encoder = TransformerEncoder(8, heads=2, layers=1, inner=12)
    linear = 5 * 8 * (24 + 8 + 12 + 12)
    assert macs(encoder, torch.zeros(1, 5, 8)).macs == linear + 2 * 5 * 5 * 8 + 3 * 5 * 8


class TestInAModel(ModelLaws):
    sizes = (1, 2, 3)

    def make_model(self, tasks: Sequence[Task]) -> HardSharing:
        return HardSharing(TransformerEncoder(self.n_features, heads=2, layers=1, max_length=3, pool="mean"), tasks)

    def make_inputs(self, n_rows: int, *, seed: int = 0) -> torch.Tensor:
        return super().make_inputs(n_rows * 3, seed=seed).reshape(n_rows, 3, self.n_features)


def test_bad_inputs() -> None:
    with pytest.raises(TaskError, match="heads must divide the width, found 3 heads and width 8"):
        TransformerEncoder(8, heads=3)
    with pytest.raises(TaskError, match="sequences of 5 positions, the encoder has max_length=4"):
        TransformerEncoder(8, max_length=4).double()(sequences())
    with pytest.raises(TaskError, match="sizes"):
        TransformerEncoder(8, layers=0)
    with pytest.raises(TaskError, match="dropout"):
        TransformerEncoder(8, dropout=-0.1)
