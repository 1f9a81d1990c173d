"""One walk over the autograd graph of the losses: what uses what, and whose gradient passes where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from taskloom.engine.layers.owners import MIXED, NOBODY, ByRow, Owner, join, one_row, runs_of, settled
from taskloom.engine.layers.rows import axes_of, handed_on, shape_of, signed
from taskloom.errors import EngineError

__all__ = ["Edge", "Graph"]

Edge = tuple[Any, int]
"""A node (an operation of the forward pass) and which of its outputs."""


class Graph:
    """The operations behind some losses. It holds nodes, so it must not outlive the step.

    Args:
        losses: one scalar per task, None for an absent task.

    Attributes:
        roots: task -> edge of its loss.
        inputs: operation -> edges of its inputs (None where no gradient is needed).
        users: operation -> the operations that use its result, and as which input.
        leaves: id of a leaf that the losses reach -> the leaf, in the order of the walk.
        accumulators: id of the leaf -> the node that ends the graph there.

    Raises:
        EngineError: a part of the graph is hidden (reentrant checkpointing).
    """

    def __init__(self, losses: Sequence[Tensor | None]) -> None:
        self.roots: dict[int, Edge] = {}
        for task, loss in enumerate(losses):
            if loss is not None:
                edge = get_gradient_edge(loss)
                self.roots[task] = (edge.node, edge.output_nr)
        self.inputs: dict[Any, Sequence[tuple[Any, int]]] = {}
        self.users: dict[Any, list[tuple[Any, int]]] = {}
        self.leaves: dict[int, Tensor] = {}
        self.accumulators: dict[int, Any] = {}
        self._find()
        self._owners: dict[Any, Owner] = {}  # of the first output, which is the only one nearly everywhere
        self._more_owners: dict[Any, dict[int, Owner]] = {}
        self._given: dict[Any, list[Owner | None]] = {}  # only where the inputs of an operation have different owners
        self._own()

    # -- shape of the graph -----------------------------------------------------------------------------------

    def _find(self) -> None:
        inputs, users = self.inputs, self.users
        waiting = []
        for node, _ in self.roots.values():
            if node not in inputs:
                inputs[node] = node.next_functions
                users[node] = []
                waiting.append(node)
        while waiting:
            node = waiting.pop()
            for position, (child, _) in enumerate(inputs[node]):
                if child is None:
                    continue
                if child in inputs:
                    users[child].append((node, position))
                    continue
                inputs[child] = child.next_functions
                users[child] = [(node, position)]
                waiting.append(child)
        for node, following in inputs.items():
            if not following:
                leaf = getattr(node, "variable", None)  # only the nodes that accumulate gradients have one
                if leaf is not None:
                    self.leaves[id(leaf)] = leaf
                    self.accumulators[id(leaf)] = node
            if node.name() == "CheckpointFunctionBackward":
                raise EngineError(_REENTRANT)

    # -- whose gradient ---------------------------------------------------------------------------------------

    def _own(self) -> None:
        owners, more, users, inputs = self._owners, self._more_owners, self.users, self.inputs
        for task, (node, output) in self.roots.items():
            self._add(node, output, task)
        missing = {node: len(found) for node, found in users.items()}
        ready = [node for node, _ in self.roots.values() if not missing[node]]
        ready = list(dict.fromkeys(ready))
        while ready:  # an operation comes after all that use its result
            node = ready.pop()
            following = inputs[node]
            if not following:
                continue
            owner = owners.get(node)
            given: Owner | list[Owner | None] | None = owner
            if node in more or isinstance(owner, ByRow) or (owner != MIXED and node.name() in _PARTS_OF_ROWS):
                given = self._pass_on(node, following)
            if isinstance(given, list):
                for own, (child, output) in zip(given, following, strict=True):
                    if child is not None and own is not None:
                        self._add(child, output, own)
            for child, output in following:
                if child is None:
                    continue
                if given is not None and not isinstance(given, list):
                    if output or owners.get(child, given) != given:
                        self._add(child, output, given)
                    else:
                        owners[child] = given
                left = missing[child] = missing[child] - 1
                if not left:
                    ready.append(child)

    def _add(self, node: Any, output: int, owner: Owner) -> None:
        if output:
            own = self._more_owners.setdefault(node, {})
            own[output] = join(own.get(output), owner)
        else:
            self._owners[node] = join(self._owners.get(node), owner)

    def owners_of(self, node: Any) -> dict[int, Owner]:
        """Owner of the gradient of every output that a loss reaches."""
        first = self._owners.get(node)
        own = {} if first is None else {0: first}
        return {**own, **self._more_owners.get(node, {})}

    def _pass_on(self, node: Any, following: Sequence[Any]) -> Owner | list[Owner | None] | None:
        """Owner of the gradient that an operation hands to its inputs: one for all, or one for each."""
        own = self.owners_of(node)
        if not own:
            return None
        if len(own) == 1:
            (owner,) = own.values()
        else:
            different = {settled(one) for one in own.values()}
            owner = different.pop() if len(different) == 1 else MIXED
        if owner == MIXED and len(own) == 1:
            return MIXED
        name = node.name()
        given: list[Owner | None] | None = None
        if name in _PARTS_OF_ROWS:
            given = [_put_together(node, name, own)]
        elif isinstance(owner, ByRow):
            given = _take_apart(node, name, owner, following)
        if given is None:
            return owner
        first = given[0]
        if isinstance(first, int) and all(one == first for one in given):
            return first
        self._given[node] = given
        return given

    def given(self, node: Any, position: int) -> Owner | None:
        """Owner of the gradient that an operation hands to one of its inputs."""
        if node in self._given:
            found = self._given[node][position]
            return None if found is None else settled(found)
        if node not in self._more_owners:
            return self.owner(node)
        different = {settled(one) for one in self.owners_of(node).values()}
        return different.pop() if len(different) == 1 else MIXED

    def owner(self, node: Any, output: int = 0) -> Owner | None:
        """Owner of the gradient of an output; None where no loss reaches it."""
        found = self._more_owners.get(node, {}).get(output) if output else self._owners.get(node)
        return settled(found) if isinstance(found, ByRow) else found

    def is_mixed(self, node: Any) -> bool:
        """Whether an operation hands gradients of several tasks, mixed, to all its inputs."""
        return node not in self._given and bool(self.inputs[node]) and self.given(node, 0) == MIXED

    @property
    def has_rows(self) -> bool:
        """Whether rows of different tasks lie in one tensor anywhere."""
        return bool(self._given)

    def leading_to(self, targets: Iterable[Any]) -> set[Any]:
        """Operations whose gradient is needed for that of the targets, the targets among them."""
        waiting = list(targets)
        found = set(waiting)
        while waiting:
            for user, _ in self.users[waiting.pop()]:
                if user not in found:
                    found.add(user)
                    waiting.append(user)
        return found


_REENTRANT = (
    "a part of the model is checkpointed in the reentrant way, which hides its parameters; write "
    "torch.utils.checkpoint.checkpoint(..., use_reentrant=False)"
)

_PARTS_OF_ROWS = frozenset(
    ("UnbindBackward0", "SelectBackward0", "SplitBackward0", "SplitWithSizesBackward0", "SliceBackward0")
)


def _put_together(node: Any, name: str, own: dict[int, Owner]) -> Owner | None:
    """Owners of rows whose parts, cut out along the first axis, belong to one task each; None if they do not."""
    child, output = node.next_functions[0]
    size = shape_of(child, output)
    tasks = {place: settled(owner) for place, owner in own.items()}
    axis = axes_of(node._saved_dim, len(size))
    if not size or axis != (0,):
        owners = set(tasks.values())
        if len(owners) > 1:
            return MIXED
        (owner,) = owners
        if isinstance(owner, ByRow):
            return handed_on(node, name, 0, owner) or MIXED
        return owner
    if not size[0] or any(isinstance(owner, ByRow) or owner == MIXED for owner in tasks.values()):
        return MIXED
    length = dict.fromkeys(tasks, 1)
    if name == "SelectBackward0":
        return one_row(_task(tasks[0]), signed(node._saved_index) % size[0], 1, size[0])
    if name == "SliceBackward0":
        start, rows = signed(node._saved_start), shape_of(node)[0]
        start = max(start + size[0], 0) if start < 0 else start
        return one_row(_task(tasks[0]), start, rows, size[0]) if node._saved_step == 1 else tasks[0]
    if name == "UnbindBackward0":
        length = dict.fromkeys(range(size[0]), 1)
    elif name == "SplitWithSizesBackward0":
        length = {place: int(rows) for place, rows in enumerate(node._saved_split_sizes)}
    else:
        each = max(int(node._saved_split_size), 1)
        length = {place: min(each, size[0] - start) for place, start in enumerate(range(0, size[0], each))}
    return runs_of([(_task(tasks.get(place, NOBODY)), rows) for place, rows in length.items()])


def _task(owner: Owner) -> int:
    assert isinstance(owner, int)
    return owner


def _take_apart(node: Any, name: str, owner: ByRow, following: Sequence[Any]) -> list[Owner | None]:
    """Owners of the inputs of an operation in whose result rows belong to different tasks."""
    size = shape_of(node)
    if name in ("StackBackward0", "CatBackward0") and axes_of(node._saved_dim, len(size)) == (owner.axis,) == (0,):
        starts: list[int] = []
        rows: list[int] = []
        for child, output in following:
            starts.append(sum(rows))
            inside = shape_of(child, output) if child is not None else ()
            rows.append(1 if name == "StackBackward0" else inside[0] if inside else 0)
        if None not in (child for child, _ in following) and sum(rows) == size[0]:
            parts = [owner.part(start, length, size[0]) for start, length in zip(starts, rows, strict=True)]
            return [settled(part) if part.tasks else None for part in parts]
        return [MIXED] * len(following)
    single = settled(owner)
    mixed = single if isinstance(single, int) else MIXED
    return [
        None if child is None else handed_on(node, name, position, owner) or mixed
        for position, (child, _) in enumerate(following)
    ]
