"""STCH: smooth Tchebycheff scalarisation, a soft maximum of preferred (or logarithmic) losses.

    stch:      L = mu log sum_k exp(lambda_k (l_k - z_k) / mu),    w_k = lambda_k softmax(lambda (l - z) / mu)_k
    stch_mtl:  L = K mu log sum_k exp(y_k / mu),  y = log(l / nadir),    w_k = K softmax(y / mu)_k / l_k

The second form is the authors' recipe for deep networks: log-scalarisation in the warm-up, then the nadir is the mean
loss over one more epoch of it, and the soft maximum of the relative losses follows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from taskloom.balance._entries import Entries, present, uniform
from taskloom.balance.base import Balancer, chain
from taskloom.balance.flow import Flow
from taskloom.balance.scale._losses import ByLoss, Remembering, learnable, require_positive, softmax
from taskloom.errors import BalanceError

__all__ = ["SmoothLogMaximum", "SmoothMaximum", "smooth_log_maximum", "smooth_maximum", "stch", "stch_mtl"]


class SmoothMaximum(ByLoss):
    """Scales rows by the gradient of the soft maximum of the losses (see :func:`smooth_maximum`)."""

    method: ClassVar[str] = "stch"

    def __init__(
        self,
        mu: float,
        *,
        preference: Mapping[str, float] | Sequence[float] | None,
        ideal: float | Mapping[str, float] | Sequence[float],
    ) -> None:
        super().__init__()
        self.mu = _positive("stch", mu)
        self.preference = self.positive("preference", preference)
        if self.preference is not None:
            total = float(self.preference.values.sum())
            if abs(total - 1) > 1e-6:
                raise BalanceError(f"stch(): preference sums to {total:g}; expected numbers that sum to 1")
        self.ideal = self.any_number("ideal", ideal)

    def scale(self, flow: Flow) -> Tensor:
        is_there, preference = present(flow), self._preference(flow)
        return preference * softmax(self._heights(flow, preference) / self.mu, is_there)

    def value(self, flow: Flow) -> Tensor:
        """The objective, whose gradient the factors are."""
        heights = self._heights(flow, self._preference(flow)) / self.mu
        return self.mu * heights.masked_fill(~present(flow), -torch.inf).logsumexp(0)

    def _preference(self, flow: Flow) -> Tensor:
        if self.preference is None:
            return uniform(present(flow), flow.mix)
        return self.preference.at(flow.signals.tasks, flow.mix)

    def _heights(self, flow: Flow, preference: Tensor) -> Tensor:
        assert self.ideal is not None
        losses = flow.losses()
        return preference * (losses - self.ideal.at(flow.signals.tasks, losses))

    def __repr__(self) -> str:
        return f"smooth_maximum(mu={self.mu:g})"


class SmoothLogMaximum(Remembering):
    """Scales rows by the gradient of the soft maximum of relative losses (see :func:`smooth_log_maximum`)."""

    method: ClassVar[str] = "stch_mtl"

    nadir: Tensor  # (K,) mean loss over the epoch after the warm-up; NaN while it is not known
    total: Tensor  # (K,) sum of the losses of the running epoch
    count: Tensor  # (K,) their number
    n_epochs: Tensor  # () epochs that are over

    def __init__(
        self, mu: float, *, warmup_epochs: int, nadir: float | Mapping[str, float] | Sequence[float] | None
    ) -> None:
        super().__init__()
        if isinstance(warmup_epochs, bool) or not isinstance(warmup_epochs, int) or warmup_epochs < 0:
            raise BalanceError(f"stch_mtl(): warmup_epochs must be a whole number >= 0, found {warmup_epochs!r}")
        self.mu = _positive("stch_mtl", mu)
        self.warmup_epochs = warmup_epochs
        self.given = self.positive("nadir", nadir)

    def start(self, n_tasks: int) -> dict[str, Tensor]:
        nadir = torch.full((n_tasks,), math.nan, dtype=torch.float64)
        if self.given is not None:
            nadir = self.given.at(self.tasks, nadir.cpu()).cpu()
        zeros = torch.zeros(n_tasks, dtype=torch.float64)
        n_epochs = torch.zeros((), dtype=torch.float64)
        return {"nadir": nadir.clone(), "total": zeros, "count": zeros.clone(), "n_epochs": n_epochs}

    def check(self, tasks: Sequence[str], losses: Tensor) -> None:
        require_positive(self.method, tasks, losses)

    def scale(self, flow: Flow) -> Tensor:
        entries, is_there = self.entries(flow), present(flow)
        if self.given is None:
            known = learnable(flow)
            entries.put(self.total, entries.take(self.total) + flow.losses(), known)
            entries.put(self.count, entries.take(self.count) + 1, known)
        losses, heights = self._heights(flow, entries)
        shares = is_there.sum() * softmax(heights / self.mu, is_there)
        # Log-scalarisation while the nadir of a task that is there is not known.
        is_ready = (~torch.isnan(entries.take(self.nadir)) | ~is_there).all()
        return torch.where(is_ready, shares, 1.0) / losses

    def value(self, flow: Flow) -> Tensor:
        """``K mu log sum_k exp((y_k - max y) / mu)``: the objective with its maximum taken off, as the authors have it.

        The factors are the gradient of ``K mu log sum_k exp(y_k / mu)``; the maximum counts as a constant.
        """
        is_there = present(flow)
        _, heights = self._heights(flow, self.entries(flow))
        heights = heights.masked_fill(~is_there, -torch.inf)
        return is_there.sum() * self.mu * ((heights - heights.max()) / self.mu).logsumexp(0)

    def end_epoch(self) -> None:
        if self.given is not None or not self.tasks:
            return
        mean = self.total / self.count.clamp(min=1)
        # A task that the epoch after the warm-up lacked gets its nadir in the first one that has it.
        is_due = torch.isnan(self.nadir) & (self.count > 0) & (self.n_epochs >= self.warmup_epochs)
        self.nadir.copy_(torch.where(is_due, mean, self.nadir))
        self.n_epochs.add_(1)
        self.total.zero_()
        self.count.zero_()

    def _heights(self, flow: Flow, entries: Entries) -> tuple[Tensor, Tensor]:
        """Losses with 1 in place of those of absent tasks, and y = log(l / nadir); (K,) each."""
        losses = torch.where(present(flow), flow.losses(), 1.0)
        return losses, losses.log() - entries.take(self.nadir).log().to(losses)

    def __repr__(self) -> str:
        when = f"warmup_epochs={self.warmup_epochs}" if self.given is None else "nadir=..."
        return f"smooth_log_maximum(mu={self.mu:g}, {when})"


def _positive(method: str, mu: float) -> float:
    if not (math.isfinite(mu) and mu > 0):
        raise BalanceError(f"{method}(): mu must be a positive number, found {mu!r}")
    return float(mu)


def smooth_maximum(
    mu: float = 1.0,
    *,
    preference: Mapping[str, float] | Sequence[float] | None = None,
    ideal: float | Mapping[str, float] | Sequence[float] = 0.0,
) -> SmoothMaximum:
    """Link that scales each row by the derivative of a soft maximum of the losses.

        A = diag(lambda * softmax(lambda (l - z) / mu))

    Args:
        mu: as :func:`stch`.
        preference: as :func:`stch`.
        ideal: as :func:`stch`.

    Returns:
        the link; it needs the losses.

    Raises:
        BalanceError: as :func:`stch`.

    Example:
        >>> chain(smooth_maximum(0.5)).weights(None, torch.tensor([1.0, 3.0]))
        tensor([0.0596, 0.4404])
    """
    return SmoothMaximum(mu, preference=preference, ideal=ideal)


def smooth_log_maximum(
    mu: float = 1.0,
    *,
    warmup_epochs: int = 4,
    nadir: float | Mapping[str, float] | Sequence[float] | None = None,
) -> SmoothLogMaximum:
    """Link that scales each row by the derivative of a soft maximum of the losses relative to their nadir.

        A = diag(K softmax(y / mu) / l),    y = log(l / nadir)

    Args:
        mu: as :func:`stch_mtl`.
        warmup_epochs: as :func:`stch_mtl`.
        nadir: as :func:`stch_mtl`.

    Returns:
        the link; it needs the losses and remembers their means.

    Raises:
        BalanceError: as :func:`stch_mtl`.

    Example:
        >>> chain(smooth_log_maximum(nadir=[1.0, 2.0])).weights(None, torch.tensor([1.0, 1.0]))
        tensor([1.3333, 0.6667])
    """
    return SmoothLogMaximum(mu, warmup_epochs=warmup_epochs, nadir=nadir)


def stch(
    mu: float = 1.0,
    *,
    preference: Mapping[str, float] | Sequence[float] | None = None,
    ideal: float | Mapping[str, float] | Sequence[float] = 0.0,
) -> Balancer:
    """Smooth Tchebycheff scalarisation: minimise a soft maximum of the losses that you weigh by preference.

    Try it to reach a chosen trade-off between tasks: unlike a weighted sum it reaches every Pareto optimal point.
    Losses have to be comparable; for deep networks :func:`stch_mtl` makes them so.

        L = mu log sum_k exp(lambda_k (l_k - z_k) / mu),    w_k = lambda_k softmax(lambda (l - z) / mu)_k

    Args:
        mu: smoothness; towards 0 it is the maximum, towards infinity the weighted sum. Default 1.
        preference: lambda > 0 with sum 1; one number per task in task order, or task name -> number. Default 1/K.
        ideal: z, at or below the smallest losses that can be reached: one number, one per task, or by name. Default 0.

    Returns:
        ``chain(smooth_maximum(...))``.

    Raises:
        BalanceError: a mu or preference that is not positive, or preferences that do not sum to 1.

    Cost:
        nothing beyond the ordinary backward pass.

    Distributed:
        losses are averaged over ranks first.

    Differs from the paper:
        nothing.

    Source:
        Lin, Zhang, Yang, Liu, Wang, Zhang, "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", ICML
        2024, arXiv 2402.19078, equation 7. Compared with TorchJD 0.18.0.

    Example:
        >>> stch(mu=0.5).weights(None, torch.tensor([1.0, 3.0]))
        tensor([0.0596, 0.4404])
    """
    return chain(smooth_maximum(mu, preference=preference, ideal=ideal))


def stch_mtl(
    mu: float = 1.0, *, warmup_epochs: int = 4, nadir: float | Mapping[str, float] | Sequence[float] | None = None
) -> Balancer:
    """Smooth Tchebycheff scalarisation for deep networks: a soft maximum of the losses relative to their nadir.

    Try it when the worst task counts and losses differ in unit or size. Epochs have to be told: :func:`taskloom.fit`
    does it; in a loop of your own call ``balancer.end_epoch()``, else the warm-up never ends.

        w_k = 1 / l_k in the warm-up and one more epoch, over which the nadir n is the mean of the losses; then
        w_k = K softmax(y / mu)_k / l_k,    y = log(l / n)

    Args:
        mu: smoothness; towards 0 it is the maximum. Default 1.
        warmup_epochs: epochs of log-scalarisation before the one in which the nadir is taken; default 4.
        nadir: n > 0, instead of taking it: one number, one per task, or task name -> number. Then there is no warm-up.

    Returns:
        ``chain(smooth_log_maximum(...))``.

    Raises:
        BalanceError: a mu or nadir that is not positive, a wrong number of epochs; at a step, a loss that is not
            positive.

    Cost:
        nothing beyond the ordinary backward pass.

    Distributed:
        losses are averaged over ranks first, so that every rank has the same weights.

    Differs from the paper:
        this is the recipe of the authors' code, with its factor K. A task that the epoch of the nadir lacked gets its
        nadir in the first epoch that has it; steps with it are log-scalarised until then.

    Source:
        Lin, Zhang, Yang, Liu, Wang, Zhang, "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", ICML
        2024, arXiv 2402.19078, and its code.

    Example:
        >>> balancer = stch_mtl(warmup_epochs=0)
        >>> balancer.weights(None, torch.tensor([1.0, 2.0]))
        tensor([1.0000, 0.5000])
        >>> balancer.end_epoch()  # the nadir is (1, 2)
        >>> balancer.weights(None, torch.tensor([1.0, 1.0]))
        tensor([1.3333, 0.6667])
    """
    return chain(smooth_log_maximum(mu, warmup_epochs=warmup_epochs, nadir=nadir))
