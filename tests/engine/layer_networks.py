"""Networks in which something can go wrong when gradients are taken layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Tied(nn.Module):
    """One table as embedding and as output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.inner, self.out = (
            nn.Embedding(30, 12, padding_idx=0),
            nn.Linear(12, 12),
            nn.Linear(12, 30, bias=False),
        )
        self.out.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.inner(self.table(x)).mean(1)))


class Recurrent(nn.Module):
    """One layer called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = nn.Linear(7, 9), nn.Linear(9, 9)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for _ in range(3):
            h = torch.tanh(self.again(h))
        return h


class Functional(nn.Module):
    """Weight and bias are also used outside their layer."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.layer = what, nn.Linear(7, 7)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.layer(x))
        if self.what == "bias":
            return h * self.layer.bias
        return h + F.linear(x, self.layer.weight) ** 2


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(7, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu_(self.a(x))
        y = self.b(h)
        y += h
        return y


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(7, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        self.b(self.a(x))  # a call that leads nowhere
        return self.a(x)


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(7, 8), nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.b, self.a(x), use_reentrant=False)


class Images(nn.Module):
    """Convolutions with groups, batch, group and layer normalisation, dropout, pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Conv2d(4, 4, 3, groups=2),
            nn.GroupNorm(2, 4),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.LayerNorm(16),
            nn.Linear(16, 9),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Convolutions(nn.Module):
    """Stride, dilation, groups, no bias, circular padding, a transposed one."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1),
            nn.Tanh(),
            nn.Conv2d(4, 8, (2, 1), dilation=2, groups=4, bias=False),
            nn.Tanh(),
            nn.Conv2d(8, 8, 3, padding="same", padding_mode="circular"),
            nn.ConvTranspose2d(8, 8, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Signals(nn.Module):
    """One-dimensional convolution, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.tanh(self.conv(x))).flatten(1)


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(7, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.a.weight.requires_grad_(False)
        self.b.bias.requires_grad_(False)
        self.c.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.tanh(self.b(torch.tanh(self.a(x)))))


class Gru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(5, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(x)[0][:, -1]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(12, 2, 24, dropout=0.0, batch_first=True, norm_first=True)
        self.table = nn.Embedding(20, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.table(x)).mean(1)


class Crossing(nn.Module):
    """Attention between two sequences: the packed projection is cut in pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.attention = nn.Embedding(20, 8), nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.table(x)
        return self.attention(h[:, :2], h, h)[0].mean(1)


class Hooked(nn.Module):
    """Hooks that replace inputs and outputs, a patched forward, a full backward hook that changes gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(7, 7) for _ in range(4))
        self.a.register_forward_hook(lambda m, i, o: o * 2)
        self.b.register_forward_pre_hook(lambda m, i: (i[0] * 3,))
        self.c.forward = lambda x: F.linear(x * 2, self.c.weight, self.c.bias)
        self.d.register_full_backward_hook(lambda m, gi, go: (gi[0] * 5,))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.a(x))
        h.register_hook(lambda gradient: gradient * 3)
        return self.d(torch.tanh(self.c(torch.tanh(self.b(h)))))


class Masked(nn.Module):
    """A hook on a parameter that changes its gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(7, 7), nn.Linear(7, 7)
        self.a.weight.register_hook(lambda gradient: gradient * (gradient > 0))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(x)))


class Keyword(nn.Module):
    """A call by keyword and a parametrisation."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(7, 7)
        self.w = nn.utils.parametrizations.weight_norm(nn.Linear(7, 7))

    def forward(self, x: Tensor) -> Tensor:
        return self.w(torch.tanh(self.a(input=x)))


class Axes(nn.Module):
    """Layers on three axes, on inputs that are not contiguous, with and without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(7, 6), nn.Linear(3, 6, bias=False), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(torch.tanh(self.a(x)).transpose(1, 2)).transpose(1, 2)[:, :2]).flatten(1)


class ByHand(nn.Module):
    """Products written without layers: ``x @ W``, ``x @ W.T``, ``W x``, a scaled one, a batched one."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.v, self.u = (nn.Parameter(torch.randn(7, 7)) for _ in range(3))
        self.s, self.b = nn.Parameter(torch.randn(7, 7)), nn.Parameter(torch.randn(2, 7, 7))
        self.both = nn.Parameter(torch.randn(7, 7))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(x @ self.w) @ self.v.T
        h = torch.tanh(self.u @ h.T).T
        h = torch.addmm(x, h, self.s, alpha=0.5, beta=2.0)
        h = torch.tanh(h @ self.both) @ self.both.mT
        return torch.tanh(torch.bmm(h.expand(2, *h.shape), self.b)).sum(0)


class Paddings(nn.Module):
    """One table with two padding indices."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(20, 9))

    def forward(self, x: Tensor) -> Tensor:
        first = F.embedding(x, self.table, padding_idx=1)
        return torch.tanh(first + F.embedding(x + 1, self.table, padding_idx=2)).sum(1)


class Rescaled(nn.Module):
    """A table whose rows are shortened when they are looked up, one that counts, and a bag."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Embedding(20, 9, max_norm=1.0)
        self.b = nn.Embedding(20, 9, scale_grad_by_freq=True)
        self.c = nn.EmbeddingBag(20, 9)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.a(x).sum(1) + self.b(x).sum(1)) * self.c(x)


class Experts(nn.Module):
    """Several outputs, which the heads mix (see :func:`mixed_heads`)."""

    def __init__(self) -> None:
        super().__init__()
        self.bottom = nn.Linear(7, 6)
        self.experts = nn.ModuleList(nn.Linear(6, 5) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.bottom(x))
        return torch.stack([torch.tanh(one(h)) for one in self.experts], 1).flatten(1)


@dataclass(frozen=True)
class Case:
    """A trunk, an input, the width of its output."""

    make: Callable[[], nn.Module]
    inputs: Callable[[], Tensor]
    width: int


def _rows() -> Tensor:
    return torch.randn(10, 7, dtype=torch.float64)


def _images() -> Tensor:
    return torch.randn(6, 2, 8, 8, dtype=torch.float64)


def _indices() -> Tensor:
    return torch.randint(0, 18, (10, 6))


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(7, 40), nn.ReLU(), nn.Linear(40, 30, bias=False), nn.ReLU(), nn.Dropout(0.2), nn.Linear(30, 9)
    )


CASES: dict[str, Case] = {
    "mlp": Case(mlp, _rows, 9),
    "tied embedding": Case(Tied, lambda: torch.randint(0, 30, (10, 6)), 30),
    "module called three times": Case(Recurrent, _rows, 9),
    "weight used functionally": Case(lambda: Functional("weight"), _rows, 7),
    "bias used functionally": Case(lambda: Functional("bias"), _rows, 7),
    "in place": Case(InPlace, _rows, 8),
    "unused parameters": Case(Unused, _rows, 8),
    "frozen parameters": Case(Frozen, _rows, 8),
    "checkpoint": Case(Checkpointed, _rows, 8),
    "normalised images": Case(Images, _images, 9),
    "convolutions": Case(Convolutions, _images, 8),
    "signals": Case(Signals, lambda: torch.randn(6, 3, 8, dtype=torch.float64), 24),
    "hooks": Case(Hooked, _rows, 7),
    "hook on a parameter": Case(Masked, _rows, 7),
    "keyword and weight norm": Case(Keyword, _rows, 7),
    "three axes": Case(Axes, lambda: torch.randn(10, 3, 7, dtype=torch.float64), 10),
    "by hand": Case(ByHand, _rows, 7),
    "paddings": Case(Paddings, _indices, 9),
    "odd embeddings": Case(Rescaled, _indices, 9),
    "gru": Case(Gru, lambda: torch.randn(6, 4, 5, dtype=torch.float64), 8),
    "transformer": Case(Attention, _indices, 12),
    "cross attention": Case(Crossing, _indices, 8),
    "experts": Case(Experts, _rows, 15),
}


def masked_losses(heads: nn.ModuleList, features: list[Tensor], *, has_absent: bool = True) -> list[Tensor]:
    """Losses of which the first lacks half of its labels and the last all."""
    n_tasks, n_rows = len(heads), len(features[0])
    generator = torch.Generator().manual_seed(5)
    targets = torch.randint(0, 3, (n_tasks, n_rows), generator=generator)
    found = []
    for task, (head, z) in enumerate(zip(heads, features, strict=True)):
        loss = F.cross_entropy(head(z), targets[task], reduction="none")
        if task == 0:
            loss = loss[n_rows // 2 :]
        found.append((loss * 0).sum() if has_absent and task == n_tasks - 1 else loss.mean())
    return found


def heads_for(width: int, n_tasks: int = 4) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(width, 3) for _ in range(n_tasks)).double()


def jacobian(losses: list[Tensor | None], parameters: list[Tensor]) -> Tensor:
    """J by one ``torch.autograd.grad`` per task and nothing else."""
    rows = []
    for loss in losses:
        found: Any = [None] * len(parameters)
        if loss is not None:
            found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        rows.append(
            torch.cat(
                [
                    parameter.new_zeros(parameter.numel()) if one is None else one.to_dense().reshape(-1)
                    for one, parameter in zip(found, parameters, strict=True)
                ]
            )
        )
    return torch.stack(rows)
