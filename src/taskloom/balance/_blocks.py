"""How the shared parameters are divided where a method is to look at parts of the network one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from taskloom.errors import BalanceError

__all__ = ["Blocks"]


@dataclass(frozen=True)
class Blocks:
    """A division of the shared parameters: which block each of them belongs to.

    Made by :meth:`per_layer` or :meth:`per_tensor` of what is passed as ``shared`` to :func:`taskloom.balance`; numbers
    only, so that a copy of the network may be trained.

    Args:
        sizes: number of entries of every trainable shared parameter, in order.
        owners: block of every one of them: 0, 1, ..., each at least once.

    Example:
        >>> Blocks.per_layer(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)))
        Blocks(sizes=(6, 3, 3, 1), owners=(0, 0, 1, 1))
    """

    sizes: tuple[int, ...]
    owners: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.owners) or not self.sizes or set(self.owners) != set(range(len(self))):
            raise BalanceError(
                f"Blocks: every parameter needs a size and a block, blocks are 0, 1, ...; found the sizes {self.sizes} "
                f"and the blocks {self.owners}"
            )

    def __len__(self) -> int:
        """Number of blocks."""
        return max(self.owners, default=-1) + 1

    @classmethod
    def per_layer(cls, shared: nn.Module) -> Blocks:
        """One block for every module that holds parameters itself: a layer's weight and bias are taken together.

        Args:
            shared: a module, or a multi-task model (its ``shared_parameters()``).

        Raises:
            BalanceError: there is no trainable parameter.
        """
        holders: dict[int, int] = {}
        for number, module in enumerate(shared.modules()):
            for parameter in module.parameters(recurse=False):
                holders.setdefault(id(parameter), number)
        parameters = list(_trainable(shared))
        numbers: dict[int, int] = {}
        owners = tuple(numbers.setdefault(holders[id(one)], len(numbers)) for one in parameters)
        return cls(tuple(one.numel() for one in parameters), owners)

    @classmethod
    def per_tensor(cls, shared: Iterable[Tensor] | nn.Module) -> Blocks:
        """One block for every parameter: weights and biases apart.

        Args:
            shared: the shared parameters, a module, or a multi-task model.

        Raises:
            BalanceError: there is no trainable parameter.

        Example:
            >>> len(Blocks.per_tensor(nn.Linear(2, 3)))
            2
        """
        sizes = tuple(one.numel() for one in _trainable(shared))
        return cls(sizes, tuple(range(len(sizes))))


def _trainable(shared: Iterable[Tensor] | nn.Module) -> Iterator[Tensor]:
    """The parameters that are balanced, each once, as :func:`taskloom.balance` reads them."""
    of_model = getattr(shared, "shared_parameters", None)
    if of_model is not None:
        given = of_model()
    else:
        given = shared.parameters() if isinstance(shared, nn.Module) else shared
    unique = {id(one): one for one in given if one.requires_grad}
    if not unique:
        raise BalanceError("Blocks: there is no shared parameter that requires a gradient, so nothing to divide")
    yield from unique.values()
