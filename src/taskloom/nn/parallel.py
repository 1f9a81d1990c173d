"""Modules of one structure computed together: parameters are stacked and the computation is vectorised over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from taskloom.errors import TaskError
from taskloom.nn._batching import casts, computes_together
from taskloom.nn._chains import Chain, chain_of, run_chains

__all__ = ["Parallel"]


class Parallel(nn.ModuleList):
    """A list of modules, those of equal structure computed in one batched operation.

    In training mode, more than :attr:`loop_up_to` members of equal structure with inputs of equal shape are computed
    together: with 139 networks a layer is one batched matrix product instead of 139 calls. Chains of linear layers and
    element-wise functions are computed directly from stacked weights, other structures as ``vmap`` over their stacked
    parameters. In evaluation mode every member is called for itself, so that the answer for one member does not depend
    on which others are asked (see :func:`taskloom.nn.batched_evaluation`).

    Structures are compared once after each call of ``train()`` or ``eval()`` and whenever a member is replaced; when a
    part deep inside a member is exchanged, call ``train()`` again.

    Members with buffers that training changes (batch normalisation) are always called one by one, and under autocast
    those that would need ``vmap``, which autocast does not reach into. Forward hooks of members are not called in the
    batched computation.

    Args:
        modules: the members; their structures may differ.

    Cost:
        batched: a copy of the parameters and inputs of the members asked for.

    Example:
        >>> heads = Parallel([nn.Linear(4, 1) for _ in range(6)])
        >>> outputs = heads.run_same(torch.zeros(3, 4))
        >>> len(outputs), outputs[0].shape
        (6, torch.Size([3, 1]))
    """

    loop_up_to = 4
    """Up to this number of members of one structure a loop is used.

    Measured on one CPU core: linear heads (64 -> 1) in a plain training step are faster in a loop up to about 10
    members; two layers of 64 (batch 64) as a chain are even at 3 members and 1.4 times faster at 10, and by ``vmap``
    even at 10. With several models computed at once (``vmap`` around) the two are even from about 5 members on.
    """
    copy_up_to = 1 << 14
    """Numbers in an input up to which inputs of their own are copied side by side for members of one structure.

    Larger ones take longer to copy than a call takes to start: ten linear heads (512 -> 1) that read 256 rows each
    (2^17 numbers) are 2.7 times as fast in a loop, forward and backward; with 2^14 numbers both are even.
    """
    chain_from = 3
    """From this number of chains on :meth:`stack` computes them together; it would have to copy the loop's outputs."""

    def run(self, inputs: Sequence[Any], *, members: Sequence[int] | None = None) -> list[Any]:
        """Give each member its own input.

        Args:
            inputs: one input per member asked for; one object given to all is not copied.
            members: indices of the members asked for; default all.

        Returns:
            one output per member asked for.
        """
        chosen = range(len(self)) if members is None else members
        if len(chosen) <= self.loop_up_to or not self._batches():
            return [self[member](value) for member, value in zip(chosen, inputs, strict=True)]
        groups: dict[object, list[int]] = {}
        kept = self._structures()
        for position, (member, value) in enumerate(zip(chosen, inputs, strict=True)):
            shape = (value.shape, value.dtype) if isinstance(value, Tensor) else position
            key = (kept.labels[member], kept.members[member].training, shape)
            groups.setdefault(key, []).append(position)
        same_input = all(value is inputs[0] for value in inputs)
        outputs: list[Any] = [None] * len(chosen)
        for positions in groups.values():
            members_alike = [chosen[position] for position in positions]
            results = self._run_alike(members_alike, [inputs[p] for p in positions], same_input=same_input)
            for position, result in zip(positions, results, strict=True):
                outputs[position] = result
        return outputs

    def _run_alike(self, members: Sequence[int], inputs: Sequence[Any], *, same_input: bool) -> list[Any]:
        """Outputs of members of one structure, on inputs of one shape."""
        group = [self._structures().members[member] for member in members]
        chains = self._chains(members)
        loops = len(group) <= self.loop_up_to or _has_changing_buffers(group[0])
        loops = loops or not (same_input or self._is_small(inputs[0]))
        if loops or (chains is None and casts(group[0])):
            return [member(value) for member, value in zip(group, inputs, strict=True)]
        common = inputs[0] if same_input else torch.stack(list(inputs))
        if chains is not None and isinstance(common, Tensor):
            return list(run_chains(chains, common, per_member=not same_input).unbind(0))
        return _vectorised(group, common, per_member=not same_input)

    def run_same(self, inputs: Any, *, members: Sequence[int] | None = None) -> list[Any]:
        """Give all members asked for the same input; one output each."""
        chosen = range(len(self)) if members is None else members
        return self.run([inputs] * len(chosen), members=chosen)

    def stack(self, inputs: Sequence[Any], *, members: Sequence[int] | None = None) -> Tensor:
        """Give each member its own input; the outputs as one tensor.

        Args:
            inputs: one input per member asked for; one object given to all is not copied.
            members: indices of the members asked for; default all.

        Returns:
            (members asked for, ...).

        Raises:
            TaskError: outputs are no tensors, or their shapes differ.

        Example:
            >>> Parallel([nn.Linear(4, 1) for _ in range(6)]).stack([torch.zeros(3, 4)] * 6).shape
            torch.Size([6, 3, 1])
        """
        chosen = range(len(self)) if members is None else members
        together = self.stack_chains(inputs, members=chosen)
        if together is not None:
            return together
        outputs = self.run(inputs, members=chosen)
        if not _equal_shapes(outputs):
            raise TaskError(
                "the outputs of parallel modules cannot be stacked, found "
                f"{sorted({_form(output) for output in outputs})}; let all return tensors of one shape"
            )
        return torch.stack(outputs)

    def stack_chains(self, inputs: Sequence[Any] | Tensor, *, members: Sequence[int] | None = None) -> Tensor | None:
        """The outputs as one tensor if they can be had in one product per layer, else None.

        That is from :attr:`chain_from` members on, all of one structure that is a chain of linear layers and
        element-wise functions, where work may be batched.

        Args:
            inputs: as for :meth:`stack`, or one tensor (members asked for, ...), which is not copied.
            members: indices of the members asked for; default all.

        Example:
            >>> layers = Parallel([nn.Linear(4, 1) for _ in range(6)])
            >>> layers.stack_chains(torch.zeros(6, 3, 4)).shape, layers.eval().stack_chains(torch.zeros(6, 3, 4))
            (torch.Size([6, 3, 1]), None)
        """
        chosen = range(len(self)) if members is None else members
        if len(chosen) < self.chain_from or not self._batches() or not self._is_one_kind(chosen):
            return None
        chains = self._chains(chosen)
        if chains is None:
            return None
        if isinstance(inputs, Tensor):
            return run_chains(chains, inputs, per_member=True)
        same_input = all(value is inputs[0] for value in inputs)
        if not same_input and not _equal_shapes(inputs):
            return None
        given = inputs[0] if same_input else torch.stack(list(inputs))
        return run_chains(chains, given, per_member=not same_input)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all members; their structures are compared anew at the next batched computation."""
        self.__dict__.pop("_kept_structures", None)
        return super().train(mode)

    def _structures(self) -> _Structures:
        """What the members look like. Kept, since the structure of a network rarely changes."""
        key = tuple(map(id, self._modules.values()))
        kept: _Structures | None = self.__dict__.get("_kept_structures")
        if kept is None or kept.key != key:
            numbers: dict[object, int] = {}
            members = list(self)
            labels = [numbers.setdefault(_structure(one), len(numbers)) for one in members]
            kept = _Structures(key, members, labels, [chain_of(one) for one in members])
            self.__dict__["_kept_structures"] = kept
        return kept

    def _batches(self) -> bool:
        """Whether members may be batched; compilers, which cannot follow that, fuse the loop themselves."""
        return computes_together(self) and not torch.compiler.is_compiling()

    def _is_small(self, value: Any) -> bool:
        return not isinstance(value, Tensor) or value.numel() <= self.copy_up_to

    def _is_one_kind(self, members: Sequence[int]) -> bool:
        kept = self._structures()
        return len({(kept.labels[member], kept.members[member].training) for member in members}) == 1

    def _chains(self, members: Sequence[int]) -> list[Chain] | None:
        chains = self._structures().chains
        found = [chain for member in members if (chain := chains[member]) is not None]
        return found if len(found) == len(members) else None

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_kept_structures"}


class _Structures(NamedTuple):
    """What is kept of the members: their identities, themselves, equal numbers for equal structure, their layers."""

    key: tuple[int, ...]
    members: list[nn.Module]
    labels: list[int]
    chains: list[Chain | None]


def _vectorised(members: Sequence[nn.Module], inputs: Tensor, *, per_member: bool) -> list[Any]:
    template = members[0]
    names = [name for name, _ in template.named_parameters()]
    columns = zip(*(member.parameters() for member in members), strict=True)
    stacked = {name: torch.stack(column) for name, column in zip(names, columns, strict=True)}
    if not stacked:
        return [member(inputs[k] if per_member else inputs) for k, member in enumerate(members)]

    def call(parameters: dict[str, Tensor], value: Tensor) -> Any:
        return functional_call(template, parameters, (value,))

    output = vmap(call, in_dims=(0, 0 if per_member else None), randomness="different")(stacked, inputs)
    return _unbind(output, len(members))


def _unbind(output: Any, n: int) -> list[Any]:
    if isinstance(output, Tensor):
        return list(output.unbind(0))
    if isinstance(output, dict):
        columns = {key: _unbind(value, n) for key, value in output.items()}
        return [{key: column[k] for key, column in columns.items()} for k in range(n)]
    parts = [_unbind(value, n) for value in output]
    return [type(output)(part[k] for part in parts) for k in range(n)]


def _equal_shapes(values: Sequence[Any]) -> bool:
    first = values[0]
    return all(isinstance(value, Tensor) and value.shape == first.shape for value in values)


def _form(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def _has_changing_buffers(module: nn.Module) -> bool:
    return any(True for _ in module.buffers())


_MODULE_FIELDS = frozenset(vars(nn.Module()))
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)


def _structure(module: nn.Module) -> object:
    """Equal for modules that compute the same function of their parameters, as far as can be seen."""
    parts = []
    for name, part in module.named_modules(remove_duplicate=False):
        fields = vars(part).items()
        settings = tuple((key, _token(value)) for key, value in sorted(fields) if key not in _MODULE_FIELDS)
        parts.append((name, type(part), settings))
    shapes = tuple((name, parameter.shape) for name, parameter in module.named_parameters())
    return tuple(parts), shapes


def _token(value: object) -> object:
    """Value of a setting if it is plain, else its identity: what cannot be compared counts as different."""
    if isinstance(value, _PLAIN):
        return (type(value), value)
    if isinstance(value, tuple | list):
        return (type(value), tuple(_token(item) for item in value))
    if isinstance(value, dict):
        return (dict, tuple((str(key), _token(item)) for key, item in value.items()))
    return (type(value), id(value))
