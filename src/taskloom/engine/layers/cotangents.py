"""The cotangents Z_k: the gradients of the tasks at the frontier, kept in the form in which heads hand them over.

A head that begins with a linear layer y = z W hands over

    Z_k = E_k W^T,    E_k the gradient of y

and E_k (N, o) is far smaller than Z_k (N, r). The product is made when a task is propagated, for the rows that have
a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from taskloom.engine.layers.pool import Lease

__all__ = ["Cotangents", "Share"]


@dataclass(frozen=True)
class Share:
    """What one operation hands to one edge of the frontier.

    Args:
        gradient: Z, or E (N, o) if there is a factor.
        factor: W^T (o, r); None where the gradient is Z itself.
        rows: the rows that ``gradient`` has, ascending, if it has not all of them; the others are zero.

    Example:
        >>> share = Share(torch.tensor([[1.0], [0.0]]), torch.tensor([[2.0, 3.0]]))
        >>> share.at(torch.tensor([0]))
        tensor([[2., 3.]])
    """

    gradient: Tensor
    factor: Tensor | None = None
    rows: Tensor | None = None

    def has_label(self) -> Tensor:
        """Rows of the gradient that are not zero, shape (N,) or (n,)."""
        one = self.gradient
        flat = one.flatten(1) if one.ndim > 1 else one.unsqueeze(1)
        if flat.shape[1] == 1:
            return flat[:, 0] != 0
        return (flat.amax(1) != 0) | (flat.amin(1) != 0)  # NaN counts; faster than looking at every entry

    def at(self, rows: Tensor) -> Tensor:
        """Some rows of Z, ascending."""
        gradient = self.gradient
        if self.rows is None:
            gradient = gradient.index_select(0, rows)
        elif self.rows is not rows:
            place = torch.searchsorted(self.rows, rows).clamp_(max=max(len(self.rows) - 1, 0))
            is_there = (self.rows[place] == rows).view(-1, *[1] * (gradient.ndim - 1))
            gradient = torch.where(is_there, gradient.index_select(0, place), 0)
        return gradient if self.factor is None else gradient @ self.factor

    def reduced(self) -> Share:
        """The same with the rows that are not zero alone, where these are few."""
        if self.rows is not None:
            return self
        rows = self.has_label().nonzero().squeeze(1)
        if 2 * len(rows) > len(self.gradient):
            return self
        return Share(self.gradient.index_select(0, rows), self.factor, rows)

    def write(self, out: Tensor, *, is_first: bool) -> None:
        """Write Z to memory of its shape, or add it."""
        if self.rows is not None:
            if is_first:
                out.zero_()
            out.index_add_(0, self.rows, self.at(self.rows))
        elif self.factor is None:
            out.copy_(self.gradient) if is_first else out.add_(self.gradient)
        elif is_first:
            torch.mm(self.gradient, self.factor, out=out)
        else:
            out.addmm_(self.gradient, self.factor)


class Cotangents:
    """The shares of all tasks.

    Args:
        shapes: shape, dtype and device of the gradient at every edge of the frontier.

    Example:
        >>> found = Cotangents([((2, 2), torch.float32, torch.device("cpu"))])
        >>> found.add(1, 0, Share(torch.tensor([[1.0], [0.0]]), torch.tensor([[2.0, 3.0]])))
        >>> found.tasks(), found.of_task(1)
        ([1], ([0], [tensor([[2., 3.],
                [0., 0.]])]))
    """

    def __init__(self, shapes: Sequence[tuple[tuple[int, ...], torch.dtype, torch.device]]) -> None:
        self.shapes = shapes
        self._shares: dict[int, dict[int, list[Share]]] = {}

    def add(self, task: int, place: int, share: Share) -> None:
        """What an operation of a task hands to an edge."""
        self._shares.setdefault(task, {}).setdefault(place, []).append(share)

    def tasks(self) -> list[int]:
        """Tasks whose gradient is not all zero: one without a label in the batch needs no pass."""
        found = {task: [one.gradient for many in own.values() for one in many] for task, own in self._shares.items()}
        if self.shapes[0][2].type == "cpu":
            return [task for task in sorted(found) if any(map(_is_something, found[task]))]
        known = sorted(found)
        flags = [torch.stack([(one != 0).any() for one in found[task]]).any().to(self.shapes[0][2]) for task in known]
        return [task for task, is_there in zip(known, torch.stack(flags).tolist(), strict=True) if is_there]

    def of_task(self, task: int) -> tuple[list[int], list[Tensor]]:
        """The edges that a task reaches, and Z there."""
        shares = self._shares[task]
        return list(shares), [self._sum(place, own) for place, own in shares.items()]

    def together(self, first: int, last: int, lease: Lease) -> list[Tensor]:
        """Z of neighbouring tasks at every edge, (c, *edge)."""
        found = []
        for place, (shape, dtype, device) in enumerate(self.shapes):
            shares = [self._shares.get(task, {}).get(place, []) for task in range(first, last)]
            whole = _in_one_product(shares)
            if whole is None:
                whole = lease.scratch(f"cotangents {place}", (last - first, *shape), dtype, device)
                for out, own in zip(whole, shares, strict=True):
                    if not own:
                        out.zero_()
                    for number, share in enumerate(own):
                        share.write(out, is_first=number == 0)
            found.append(whole)
        return found

    def labels(self, task: int) -> Tensor | None:
        """Rows of the batch in which a task has a gradient, ascending; None for a task that is not there."""
        shares = [one for own in self._shares.get(task, {}).values() for one in own]
        if not shares:
            return None
        if len(shares) == 1 and shares[0].rows is not None:
            return shares[0].rows
        known = torch.zeros(self.shapes[0][0][0], dtype=torch.bool, device=self.shapes[0][2])
        for one in shares:
            if one.rows is None:
                known |= one.has_label()
            else:
                known[one.rows] = True
        return known.nonzero().squeeze(1)

    def write_rows(self, task: int, rows: Tensor, into: Sequence[Tensor]) -> None:
        """Write some rows of Z of a task, ascending, to memory of the shapes of the edges, zero so far."""
        for place, shares in self._shares[task].items():
            for share in shares:
                into[place].index_add_(0, rows, share.at(rows))

    def _sum(self, place: int, shares: Sequence[Share]) -> Tensor:
        if len(shares) == 1 and shares[0].rows is None:
            (share,) = shares
            return share.gradient if share.factor is None else share.gradient @ share.factor
        shape, dtype, device = self.shapes[place]
        out = torch.empty(shape, dtype=dtype, device=device)
        for number, share in enumerate(shares):
            share.write(out, is_first=number == 0)
        return out


def _in_one_product(shares: Sequence[Sequence[Share]]) -> Tensor | None:
    """Z of several tasks in one batched product, where every task has one linear layer of one size."""
    if any(len(own) != 1 or own[0].factor is None or own[0].rows is not None for own in shares):
        return None
    gradients, factors = [own[0].gradient for own in shares], [own[0].factor for own in shares]
    if len({(one.shape, one.dtype, one.device) for one in gradients}) > 1:
        return None
    return torch.bmm(torch.stack(gradients), torch.stack([one for one in factors if one is not None]))


def _is_something(gradient: Tensor) -> bool:
    """Whether there is an entry other than zero; a look at the first ones is often enough."""
    return bool(gradient.reshape(-1)[:64].any()) or bool(gradient.any())
