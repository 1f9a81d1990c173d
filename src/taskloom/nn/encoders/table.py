"""Multi-layer perceptron for tables with categories: a learned vector per category, then hidden layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn.encoders._blocks import dense_blocks, whole_numbers

__all__ = ["FeatureEmbedding", "TableMLP"]


class FeatureEmbedding(nn.Module):
    """Replace every category code by a learned vector and put the numbers behind them.

        u = [E_1[c_1]; ...; E_F[c_F]; numbers]

    Code -1 (and NaN) means "missing or not seen before" and has a vector of its own in every column.

    Args:
        categories: number of categories of each categorical column.
        n_numbers: number of numeric columns p; default 0.
        widths: length of the vectors of each column; default ``min(50, (n + 1) // 2)`` for n categories, which is our
            choice.

    Raises:
        TaskError: a number below 1 where one is needed, or another number of widths than of columns.

    Example:
        >>> embed = FeatureEmbedding([3, 10], n_numbers=1)
        >>> embed.out_features, embed(torch.tensor([[2.0, 9.0, 0.5], [-1.0, 0.0, 1.5]])).shape
        (8, torch.Size([2, 8]))
    """

    def __init__(self, categories: Sequence[int], n_numbers: int = 0, *, widths: Sequence[int] | None = None) -> None:
        super().__init__()
        self.categories = whole_numbers(categories, what="numbers of categories")
        if n_numbers < 0:
            raise TaskError(f"n_numbers must be 0 or more, found {n_numbers}")
        chosen = [min(50, (n + 1) // 2) for n in self.categories] if widths is None else list(widths)
        self.widths = whole_numbers(chosen, what="widths")
        if len(self.widths) != len(self.categories):
            raise TaskError(f"{len(self.widths)} widths for {len(self.categories)} categorical columns; give one each")
        self.n_numbers = n_numbers
        pairs = zip(self.categories, self.widths, strict=True)
        self.vectors = nn.ModuleList([nn.Embedding(n + 1, width) for n, width in pairs])  # row 0 is code -1
        self.out_features = sum(self.widths) + n_numbers

    def forward(self, inputs: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        """Features (n, sum of widths + p).

        Args:
            inputs: (n, F + p), the codes in the first F columns; or a pair: codes (n, F), integer, and numbers (n, p).
        """
        n_codes = len(self.categories)
        codes, numbers = (inputs[:, :n_codes], inputs[:, n_codes:]) if isinstance(inputs, Tensor) else inputs
        if codes.shape[1] != n_codes or numbers.shape[1] != self.n_numbers:
            raise TaskError(
                f"expected {n_codes} columns of codes and {self.n_numbers} of numbers, found {codes.shape[1]} and "
                f"{numbers.shape[1]}"
            )
        if codes.is_floating_point():
            codes = torch.nan_to_num(codes, nan=-1.0)
        rows = codes.long() + 1
        found = [vectors(rows[:, column]) for column, vectors in enumerate(self.vectors)]
        return torch.cat([*found, numbers.to(found[0].dtype)], dim=1)


class TableMLP(nn.Sequential):
    """A feed-forward encoder for tables with categorical columns.

    The first stage embeds the categories (:class:`FeatureEmbedding`), each hidden layer is one more stage.

    Args:
        categories: number of categories of each categorical column.
        n_numbers: number of numeric columns; default 0.
        hidden: widths of the hidden layers; default (64, 64).
        widths: lengths of the vectors of the categorical columns, see :class:`FeatureEmbedding`.
        dropout: probability of dropping a hidden unit, in [0, 1); default 0.

    Raises:
        TaskError: widths or numbers of categories below 1, or a dropout outside [0, 1).

    Example:
        >>> encoder = TableMLP([3, 10], n_numbers=1, hidden=(16,))
        >>> encoder.out_features, encoder(torch.tensor([[2.0, 9.0, 0.5]])).shape
        (16, torch.Size([1, 16]))
    """

    def __init__(
        self,
        categories: Sequence[int],
        n_numbers: int = 0,
        *,
        hidden: Sequence[int] = (64, 64),
        widths: Sequence[int] | None = None,
        dropout: float = 0.0,
    ) -> None:
        embedding = FeatureEmbedding(categories, n_numbers, widths=widths)
        layers = whole_numbers([embedding.out_features, *hidden], what="TableMLP widths")
        super().__init__(embedding, *dense_blocks(layers, dropout))
        self.in_features = len(embedding.categories) + n_numbers
        self.out_features = layers[-1]
