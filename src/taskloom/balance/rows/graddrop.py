"""GradDrop: in every coordinate one sign is chosen at random, and gradients of the other sign are dropped.

    P_p = (1 + sum_i J_ip / sum_i |J_ip|) / 2,    U_p ~ U(0, 1)
    d_p = sum_i (leak_i + (1 - leak_i) M_ip) J_ip,   M_ip = 1[J_ip > 0] where P_p > U_p, else 1[J_ip < 0]

Every sign is kept with a probability that is its share of the sum of absolute values, so that coordinates on which
tasks agree pass unchanged and disputed ones are decided by lot instead of being averaged away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance._per_task import PerTask
from taskloom.balance.base import Balancer, RowRule, chain
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["GradDrop", "graddrop", "graddrop_features"]

Leak = float | Mapping[str, float] | Sequence[float]


class GradDrop(RowRule):
    """Keeps one sign per coordinate, chosen at random (see :func:`graddrop`)."""

    def __init__(self, leak: Leak, *, seed: int, generator: torch.Generator | None, uniform: Tensor | None) -> None:
        super().__init__()
        self.leak = PerTask(leak, what="graddrop(): leak", low=0.0, high=1.0)
        self.seed = seed
        self.generator = generator
        self.uniform = uniform

    def bind(self, tasks: Sequence[Task | str]) -> None:
        """Put the leaks in the order of the tasks."""
        self.leak.bind(tasks)
        super().bind(tasks)

    def forward(self, flow: Flow) -> Flow:
        rows = flow.rows()
        rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
        if flow.n_rows == flow.signals.n_tasks:
            leak = self.leak.at(flow.signals.tasks, rows)
        else:
            leak = self.leak.at([""] * flow.n_rows, rows)
        direction = _drop(rows, self._uniform(rows, flow.signals.step), leak)
        return flow.becomes(mix=flow.mix.sum(0, keepdim=True), direction=direction)

    def combine(self, rows: Tensor) -> Tensor:
        """Direction (P,) of the first step from the rows (S, P)."""
        return _drop(rows, self._uniform(rows, 0), self.leak.at([""] * len(rows), rows))

    def _uniform(self, rows: Tensor, step: int) -> Tensor:
        """One number per coordinate. Their count is known only here, so that they do not come with the flow."""
        size = rows.shape[1]
        if self.uniform is not None:
            if self.uniform.shape != (size,):
                raise BalanceError(
                    f"graddrop(): uniform has shape {tuple(self.uniform.shape)}, expected ({size},), one number per "
                    "shared parameter"
                )
            return self.uniform.to(rows)
        generator = self.generator or torch_stream(self.seed, "balance GradDrop", step)
        # float32 whatever the gradients are: the same lots in every precision
        return torch.rand(size, generator=generator, dtype=torch.float32, device=generator.device).to(rows)

    def __repr__(self) -> str:
        return "graddrop()" if self.leak.given == 0.0 else f"graddrop({self.leak.given!r})"


def _drop(rows: Tensor, uniform: Tensor, leak: Tensor) -> Tensor:
    """Masked sum (P,) of the rows (S, P) with lots (P,) and leaks (S,)."""
    positive, negative = rows.clamp(min=0).sum(0), rows.clamp(max=0).sum(0)
    size = positive - negative
    purity = positive / torch.where(size > 0, size, 1)  # = (1 + sum / sum of absolute values) / 2
    masked = (1 - leak).unsqueeze(1) * rows
    kept = torch.where(purity > uniform, masked.clamp(min=0).sum(0), masked.clamp(max=0).sum(0))
    return leak @ rows + kept


def graddrop_features(
    feature_gradients: Tensor, features: Tensor, *, uniform: Tensor, leak: float | Tensor = 0.0
) -> Tensor:
    """GradDrop as a layer: the gradient that goes into the encoder, from the gradients at its features.

    Signs are counted per feature over the batch, after multiplying each gradient by the sign of its feature, so that
    examples whose features have different signs do not cancel. One lot per feature is shared by tasks and examples.

        s_i = sum_b z_ib * sign(Z_b),   M from s as in graddrop,   out = sum_i (leak + (1 - leak) M_i) z_i

    Args:
        feature_gradients: z, shape (K, B, ...): gradient of every task at the features.
        features: Z, shape (B, ...).
        uniform: U, shape (...): one number in [0, 1) per feature.
        leak: share of what is dropped that passes all the same; a number or a tensor (K,).

    Returns:
        shape (B, ...): hand it to ``features.backward(...)``.

    Raises:
        BalanceError: shapes that do not fit, or a leak outside [0, 1].

    Cost:
        K backward passes through the heads, one through the encoder.

    Distributed:
        signs are counted on the batch of each rank; use equal lots on all ranks.

    Differs from the paper:
        nothing.

    Source:
        Chen, Ngiam, Huang, Luong, Kretzschmar, Chai, Anguelov, "Just Pick a Sign: Optimizing Deep Multitask Models with
        Gradient Sign Dropout", NeurIPS 2020, arXiv 2010.06808. Compared with LibMTL 1.1.5.

    Example:
        >>> gradients = torch.tensor([[[1.0, 2.0]], [[-3.0, 2.0]]])  # two tasks, one example, two features
        >>> graddrop_features(gradients, torch.tensor([[1.0, 1.0]]), uniform=torch.tensor([0.5, 0.5]))
        tensor([[-3.,  4.]])
    """
    if feature_gradients.ndim < 2 or feature_gradients.shape[1:] != features.shape:
        raise BalanceError(
            f"graddrop_features(): gradients of shape (K, B, ...) belong to features of shape (B, ...), found "
            f"{tuple(feature_gradients.shape)} and {tuple(features.shape)}"
        )
    if uniform.shape != features.shape[1:]:
        raise BalanceError(
            f"graddrop_features(): uniform has shape {tuple(uniform.shape)}, expected {tuple(features.shape[1:])}, one "
            "number per feature"
        )
    leaks = torch.as_tensor(leak, dtype=feature_gradients.dtype, device=feature_gradients.device)
    if bool(((leaks < 0) | (leaks > 1)).any()):
        raise BalanceError(f"graddrop_features(): leak is a share between 0 and 1, found {leak!r}")
    signs = (feature_gradients * features.sign()).sum(1)  # s, (K, ...)
    positive, negative = signs.clamp(min=0).sum(0), signs.clamp(max=0).sum(0)
    size = positive - negative
    purity = positive / torch.where(size > 0, size, 1)
    mask = torch.where(purity > uniform.to(purity), signs > 0, signs < 0).to(signs)
    leaks = leaks.reshape(-1, *[1] * (signs.ndim - 1))
    return ((leaks + (1 - leaks) * mask).unsqueeze(1) * feature_gradients).sum(0)


def graddrop(
    leak: Leak = 0.0,
    *,
    seed: int = 0,
    generator: torch.Generator | None = None,
    uniform: Tensor | None = None,
) -> Balancer:
    """Gradient sign dropout: where tasks disagree on the sign of a coordinate, one sign is drawn and the other dropped.

    Try it when training gets stuck at points that no task likes: disputed coordinates move instead of cancelling. It
    adds noise, as dropout does.

        E d_p = P_p (sum of positive J_ip) + (1 - P_p) (sum of negative J_ip)   at leak 0

    Args:
        leak: share of what is dropped that passes all the same, in [0, 1]: one for all (default 0), one per task in
            order, or by name. With 1 it is the plain sum.
        seed: seed of the lots; they depend on it and on the number of steps made, the same on all ranks.
        generator: source of random numbers instead of the seed; its state is yours to save.
        uniform: lots (P,) to use in every step, for tests.

    Returns:
        the balancer.

    Raises:
        BalanceError: a leak outside [0, 1] or not of these tasks, or lots of the wrong shape.

    Cost:
        K backward passes through the shared part; K times its parameters in memory.

    Distributed:
        task gradients are averaged over ranks first; all ranks draw the same lots.

    Differs from the paper:
        signs are counted per shared parameter, in the paper per feature: that form is :func:`graddrop_features`.

    Source:
        Chen, Ngiam, Huang, Luong, Kretzschmar, Chai, Anguelov, "Just Pick a Sign: Optimizing Deep Multitask Models with
        Gradient Sign Dropout", NeurIPS 2020, arXiv 2010.06808.

    Example:
        >>> jacobian = torch.tensor([[1.0, 2.0, -1.0], [-3.0, 2.0, -1.0]])
        >>> graddrop(uniform=torch.full((3,), 0.5)).direction(jacobian)
        tensor([-3.,  4., -2.])
    """
    return chain(GradDrop(leak, seed=seed, generator=generator, uniform=uniform))
