"""What happened in the steps of a balancer that its weights do not show."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from taskloom.balance._cosines import cosines
from taskloom.balance.flow import Combination

__all__ = ["Diagnostics"]


@dataclass
class Diagnostics:
    """Counts of what was not an ordinary step, and the last decision. Kept by every balancer as ``diagnostics``.

    :func:`taskloom.balance` and the public calls of a balancer (``weights``, ``direction``, ``step``) write it; the
    training of many networks in one batched computation does not. ``n_skipped`` and ``n_fallbacks`` are part of the
    balancer's state.

    Attributes:
        n_skipped: steps left out because losses or gradients were not finite (``on_nonfinite="skip"``).
        n_fallbacks: steps at which the equation of the method has no solution, so that its documented fall-back was
            taken: Pareto stationary points for ``nash_mtl`` and ``fairgrad``, these and linearly dependent gradients
            for ``config`` and ``imtl_g``.
        n_dropped: task -> steps that went on without it, because it was not finite (``on_nonfinite="drop"``).
        n_zero: task -> steps at which it was there and its gradient was zero; most methods give it weight 0 then.
        last_tasks: the tasks of the last step.

    Example:
        >>> import torch, taskloom as tl
        >>> balancer = tl.nash_mtl()
        >>> weights = balancer.weights(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))  # nothing improves both
        >>> balancer.diagnostics.n_fallbacks
        1
        >>> balancer.diagnostics.last_cosines
        tensor([[ 1., -1.],
                [-1.,  1.]])
    """

    n_skipped: int = 0
    n_fallbacks: int = 0
    n_dropped: dict[str, int] = field(default_factory=dict)
    n_zero: dict[str, int] = field(default_factory=dict)
    last_tasks: tuple[str, ...] = ()
    _weights: Tensor | None = field(default=None, repr=False)
    _gramian: Tensor | None = field(default=None, repr=False)

    @property
    def last_weights(self) -> dict[str, float]:
        """Task -> weight in the last step; empty before the first one."""
        return {} if self._weights is None else dict(zip(self.last_tasks, self._weights.tolist(), strict=True))

    @property
    def last_cosines(self) -> Tensor | None:
        """Cosines between the task gradients of the last step, (K, K), 0 for zero gradients; None if unmeasured."""
        return None if self._gramian is None else cosines(self._gramian).matrix.clamp(-1, 1)

    def note_step(
        self,
        tasks: Sequence[str],
        combination: Combination,
        *,
        gramian: Tensor | None = None,
        active: Tensor | None = None,
    ) -> None:
        """Write down a step.

        Args:
            tasks: its tasks.
            combination: what was decided.
            gramian: inner products of the task gradients (K, K), if they were measured.
            active: bool (K,), which of the tasks were there; None for all.
        """
        self.last_tasks = tuple(tasks)
        self._weights = combination.weights.detach()
        self._gramian = None if gramian is None else gramian.detach()
        if combination.falls_back is not None and bool(combination.falls_back):
            self.n_fallbacks += 1
        if gramian is not None:
            squares = gramian.detach().diagonal().double().cpu().numpy()  # NumPy has no bfloat16
            if not squares.all():
                here = [True] * len(squares) if active is None else active.tolist()
                is_zero = [there and not square for there, square in zip(here, squares, strict=True)]
                _count(self.n_zero, itertools.compress(tasks, is_zero))

    def note_dropped(self, tasks: Iterable[str]) -> None:
        """Write down tasks that a step went on without."""
        _count(self.n_dropped, tasks)

    def text(self) -> str:
        """One line.

        Example:
            >>> Diagnostics(n_skipped=2, n_zero={"b": 3}).text()
            "2 steps left out as not finite, 0 without a solution; zero gradients: 'b' 3"
        """
        found = f"{self.n_skipped} steps left out as not finite, {self.n_fallbacks} without a solution"
        for what, counts in (("not finite and dropped", self.n_dropped), ("zero gradients", self.n_zero)):
            if counts:
                found += f"; {what}: {', '.join(f'{task!r} {count}' for task, count in counts.items())}"
        return found


def _count(counts: dict[str, int], tasks: Iterable[str]) -> None:
    for task in tasks:
        counts[task] = counts.get(task, 0) + 1
