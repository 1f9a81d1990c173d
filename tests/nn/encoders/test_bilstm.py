from __future__ import annotations

import pytest
import torch

from taskloom.errors import TaskError
from taskloom.nn import BiLSTM, HardSharing, dry_run
from taskloom.task import Regression, Task


def sequences(n: int = 3, length: int = 5, width: int = 4) -> torch.Tensor:
    return torch.randn(n, length, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def padding_of(lengths: list[int], total: int) -> torch.Tensor:
    return torch.arange(total)[None, :] >= torch.tensor(lengths)[:, None]


def test_shapes() -> None:
    encoder = BiLSTM(4, 3, layers=2).double()
    assert encoder.out_features == 6
    assert dry_run(list(encoder), sequences()) == [(3, 5, 6), (3, 5, 6)]
    assert BiLSTM(4, 3, pool="mean").double()(sequences()).shape == (3, 6)
    tokens = BiLSTM(4, 3, vocabulary=9, layers=1)
    assert tokens(torch.ones(2, 7, dtype=torch.int64)).shape == (2, 7, 6)


def test_equals_the_layers_of_torch() -> None:
    torch.manual_seed(0)
    encoder = BiLSTM(4, 3, layers=2).double()
    reference = torch.nn.LSTM(4, 3, num_layers=2, batch_first=True, bidirectional=True).double()
    for level in range(2):
        own = encoder[level][1 if level == 0 else 0].lstm
        for name, value in own.named_parameters():
            getattr(reference, name.replace("l0", f"l{level}")).data.copy_(value)
    torch.testing.assert_close(encoder(sequences()), reference(sequences())[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pool", [None, "mean", "first"])
def test_padding_changes_nothing(pool: str | None) -> None:
    encoder = BiLSTM(4, 3, pool=pool).double()
    lengths = [5, 2, 1]
    padded = sequences().clone()
    padding = padding_of(lengths, 5)
    padded[padding] = 1e3
    together = encoder((padded, padding))
    for row, length in enumerate(lengths):
        alone = encoder(sequences()[row : row + 1, :length])
        found = together[row : row + 1] if pool else together[row : row + 1, :length]
        torch.testing.assert_close(found, alone, rtol=1e-12, atol=1e-12)
        assert pool or not together[row, length:].any()


def test_in_a_model_with_padding() -> None:
    model = HardSharing(BiLSTM(4, 3, pool="mean").double(), [Task(name="a", kind=Regression())]).double()
    assert model((sequences(), padding_of([5, 2, 1], 5)))["a"].shape == (3, 1)


def test_bad_inputs() -> None:
    encoder = BiLSTM(4, 3).double()
    with pytest.raises(TaskError, match=r"expected sequences \(n, N, 4\), found \(3, 5, 2\)"):
        encoder(sequences(width=2))
    with pytest.raises(TaskError, match="padding must be at the end"):
        encoder((sequences(), ~padding_of([2, 2, 2], 5)))
    with pytest.raises(TaskError, match="padding must be at the end"):
        encoder((sequences(), padding_of([5, 2, 0], 5)))
    with pytest.raises(TaskError, match=r"padding must be bool of shape \(3, 5\)"):
        encoder((sequences(), torch.zeros(3, 5)))
    with pytest.raises(TaskError, match=r"expected token numbers \(n, N\)"):
        BiLSTM(4, 3, vocabulary=9)(sequences())
    with pytest.raises(TaskError, match="pool must be"):
        BiLSTM(4, 3, pool="max")  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="dropout"):
        BiLSTM(4, dropout=1.0)
    with pytest.raises(TaskError, match="BiLSTM sizes"):
        BiLSTM(4, layers=0)
