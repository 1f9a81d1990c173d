"""DB-MTL: balance losses by their logarithm and gradients by bringing them all to the length of the longest.

    h_i = grad log(l_i + 1e-8),   Y_i <- beta_t Y_i + (1 - beta_t) h_i,   d = m sum_i Y_i / ||Y_i||,   m = max_i ||Y_i||

with ``beta_t = beta / t^sigma``. With ``beta = 0`` only inner products are needed: ``w_i = max_k(n_k/l_k) / n_i``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from taskloom.balance._entries import Entries
from taskloom.balance._row_memory import RowMemory
from taskloom.balance.base import Balancer, HeadGradient, Link, Need, Reduce, Scale, chain
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["EqualNorms", "EqualTrackedNorms", "LogLosses", "db_mtl", "equal_norms"]


class LogLosses(Scale):
    """Turns every row into the gradient of the logarithm of its loss; heads too."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def check(self, tasks: Sequence[str], losses: Tensor) -> None:
        wrong = {task: loss for task, loss in zip(tasks, losses.tolist(), strict=True) if not loss > 0}
        if wrong:
            raise BalanceError(
                f"db_mtl() takes logarithms of the losses, those of the tasks {list(wrong)} are not positive, found "
                f"{list(wrong.values())}; add a constant to them"
            )

    def scale(self, flow: Flow) -> Tensor:
        return 1 / (flow.losses() + self.eps)

    def __repr__(self) -> str:
        return "log_losses()"


class EqualNorms(Reduce):
    """Sums the rows after bringing them to the length of the longest (see :func:`equal_norms`)."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def weights(self, gramian: Tensor) -> Tensor:
        """Weights (S,) from the Gramian (S, S); 0 for zero rows."""
        squares = gramian.diagonal().clamp(min=0)
        weights = _to_the_longest(squares.sqrt(), self.eps)
        return torch.where((squares > 0).any(), weights, torch.full_like(weights, 1 / len(weights)))

    def __repr__(self) -> str:
        return "equal_norms()"


class EqualTrackedNorms(Link):
    """The same for running means of the rows, which it remembers (see :func:`db_mtl`)."""

    needs: ClassVar[Need] = Need.ROWS
    reduces: ClassVar[bool] = True
    holds_tasks: ClassVar[bool] = True
    remembers: ClassVar[bool] = True
    head_gradient: ClassVar[HeadGradient | None] = "unweighted"

    seen: Tensor
    remaining: Tensor

    def __init__(self, beta: float, beta_sigma: float, bias_correction: bool, eps: float) -> None:
        super().__init__()
        self.beta = beta
        self.beta_sigma = beta_sigma
        self.bias_correction = bias_correction
        self.eps = eps
        self.means = RowMemory()

    def bind(self, tasks: Sequence[Task | str]) -> None:
        """One running mean per task, the number of its steps and the share of its start that is left."""
        super().bind(tasks)
        self.register_buffer("seen", torch.zeros(len(self.tasks), dtype=torch.float64))
        self.register_buffer("remaining", torch.ones(len(self.tasks), dtype=torch.float64))
        self.means.start(len(self.tasks))

    def reset(self) -> None:
        if self.tasks:
            self.seen.zero_()
            self.remaining.fill_(1.0)
            self.means.start(len(self.tasks))

    def forward(self, flow: Flow) -> Flow:
        entries = Entries.of(self, flow)
        rows = flow.rows()
        memory = self.means.of(rows)
        wide = rows.to(memory)
        moves = (wide != 0).any()  # all gradients zero: no step, nothing to remember
        count = entries.take(self.seen) + 1
        keep = self.beta / count**self.beta_sigma  # (S,)
        remaining = entries.take(self.remaining) * keep
        column = keep.to(memory).unsqueeze(1)
        means = column * entries.take(memory) + (1 - column) * wide
        entries.put(memory, means, moves)
        entries.put(self.seen, count, moves)
        entries.put(self.remaining, remaining, moves)
        corrected = means / (1 - remaining).to(memory).unsqueeze(1) if self.bias_correction else means
        norms = torch.linalg.vector_norm(corrected, dim=1, dtype=_accurate(corrected))
        norms = torch.where(entries.is_there.to(norms.device), norms, 0)
        factors = torch.where(moves, _to_the_longest(norms, self.eps), 0)
        direction = factors.to(memory) @ corrected
        return flow.combined(factors, direction=direction)

    def __repr__(self) -> str:
        return f"equal_norms(beta={self.beta})"


def _to_the_longest(norms: Tensor, eps: float) -> Tensor:
    """max_k n_k / n_i, and 0 where n_i = 0."""
    is_nonzero = norms > 0
    return torch.where(is_nonzero, norms.amax() / (torch.where(is_nonzero, norms, 1) + eps), 0)


def _accurate(values: Tensor) -> torch.dtype:
    return values.dtype if values.device.type == "mps" else torch.float64


def equal_norms() -> EqualNorms:
    """Link that sums the gradients after bringing all of them to the length of the longest.

        w_i = max_k n_k / n_i,   n_i = ||g_i||

    Returns:
        the link; it needs the Gramian. Zero gradients get weight 0.

    Example:
        >>> chain(equal_norms()).weights(torch.diag(torch.tensor([1.0, 4.0])))
        tensor([2., 1.])
    """
    return EqualNorms(0.0)


def db_mtl(
    beta: float = 0.9,
    *,
    beta_sigma: float = 0.0,
    bias_correction: bool = False,
    log_eps: float = 1e-8,
    norm_eps: float = 0.0,
) -> Balancer:
    """Dual balancing: logarithms of the losses, and gradients of one length.

    Try it when losses and gradients differ in size between tasks; it ignores both scales. It knows nothing of
    conflicts.

        d = max_k ||Y_k|| sum_i Y_i / ||Y_i||,   Y_i a running mean of the gradient of log l_i

    Args:
        beta: share of the running mean that is kept in a step, in [0, 1); default 0.9. With 0 nothing is remembered and
            the Gramian is enough: K times less memory, and far cheaper with many shared parameters.
        beta_sigma: in the t-th step ``beta / t^beta_sigma`` is kept; default 0, constant.
        bias_correction: divide the running means by the share that is not their start at 0, as Adam does. Default False
            as in the reference code: there the first direction is 1/(1 - beta) times too short.
        log_eps: added to the losses; default 1e-8.
        norm_eps: added to the norms ||Y_i||; default 0; the reference code has 1e-8.

    Returns:
        ``chain(log_losses(), equal_norms())``, the second one with a memory unless beta is 0.

    Raises:
        BalanceError: an argument out of range; in a step, a loss that is not positive, or another number of shared
            parameters than in earlier steps.

    Cost:
        K backward passes through the shared part; twice K times its parameters in memory, half of it kept and saved
        with the state (beta = 0: K times, nothing kept).

    Distributed:
        task gradients are averaged over ranks first; all ranks hold the same state.

    Differs from the paper:
        zero gradients are left out of the sum, and the norms need no epsilon.

    Source:
        Lin, Jiang, Ye, Zhang, Chen, Chen, Liu, Kwok, "Dual-Balancing for Multi-Task Learning", arXiv 2308.12029.
        Compared with LibMTL 1.1.5.

    Example:
        >>> jacobian, losses = torch.tensor([[3.0, 0.0], [0.0, 0.5]]), torch.tensor([3.0, 0.5])
        >>> db_mtl(beta=0.0).direction(jacobian, losses)
        tensor([1., 1.])
    """
    if not 0 <= beta < 1:
        raise BalanceError(f"db_mtl(): beta is the share that is kept, in [0, 1), found {beta!r}")
    for name, given in (("beta_sigma", beta_sigma), ("log_eps", log_eps), ("norm_eps", norm_eps)):
        if not given >= 0:
            raise BalanceError(f"db_mtl(): {name} must not be negative, found {given!r}")
    if beta == 0:
        return chain(LogLosses(log_eps), EqualNorms(norm_eps))
    return chain(LogLosses(log_eps), EqualTrackedNorms(beta, beta_sigma, bias_correction, norm_eps))
