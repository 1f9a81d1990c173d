"""The general learned sharing graph: every node reads a learned mixture of all nodes before it, and is pruned later."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._grow import grown
from taskloom.nn._node_graph import Mixture, NodeGraph
from taskloom.nn._param_groups import two_groups
from taskloom.nn._said import with_width
from taskloom.nn.heads.default import build_head
from taskloom.nn.model import Freeze, trainable
from taskloom.nn.phase import Phase
from taskloom.task import Task

__all__ = ["SharingGraph"]


class SharingGraph(NodeGraph):
    """Fully connected at first: each copy of a stage, and each head, mixes all copies of the stage before.

        h_(l+1),j = node_(l+1),j( sum_i a_ij h_l,i ),   a_j = softmax(s_j)

    A penalty on the entropy of the mixtures makes them decide; then edges with a share below ``tolerance`` are removed,
    nodes that no task reaches any more are deleted, and the rest is trained on. One parent per node is
    :class:`~taskloom.nn.LearningToBranch`.

    Args:
        stages: the stages of the encoder in order, each a module (copied and re-initialised for every further node)
            or a function that builds one.
        tasks: the tasks.
        widths: number of nodes at every depth; default min(K, 2^depth).
        strength: weight of the mean entropy of the mixtures, in nats; default 1e-2 (our choice).
        tolerance: edges with a smaller share are removed by :meth:`derive`; default 0.1 (our choice). The largest share
            of a node always stays.
        search_epochs: epochs before edges are removed; default 20.
        edge_lr_factor: learning rate of the scores of edges over that of the nodes; default 10. At the nodes' own rate
            scores hardly move within a training of a table's length.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input of the last stage, only needed when that does not say its ``out_features``.

    Raises:
        TaskError: no stage, widths that do not fit, or settings out of range.

    Cost:
        all nodes that are left, and sum n_(l+1) n_l + K n_L numbers for the edges.

    Differs from the paper:
        there is none: this is the common form of learned branching, soft layer ordering and pruned sharing graphs.

    Source:
        our own; after P. Guo et al., ICML 2020, arXiv:2006.01895, and E. Meyerson, R. Miikkulainen, ICLR 2018,
        arXiv:1711.00108.

    Example:
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name=name, kind=Regression()) for name in "ab"]
        >>> model = SharingGraph([lambda: MLP(4, (8,)), lambda: MLP(8, (6,))], tasks)
        >>> sorted(model.penalties()), model(torch.zeros(3, 4))["a"].shape
        (['entropy'], torch.Size([3, 1]))
    """

    def __init__(
        self,
        stages: Sequence[nn.Module | Callable[[], nn.Module]],
        tasks: Sequence[Task],
        *,
        widths: Sequence[int] | None = None,
        strength: float = 1e-2,
        tolerance: float = 0.1,
        search_epochs: int = 20,
        edge_lr_factor: float = 10.0,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(stages, tasks, widths=widths, heads=heads, example=example)
        if not strength >= 0 or not 0 <= tolerance < 1 or search_epochs < 1 or not edge_lr_factor > 0:
            raise TaskError(
                "strength must be 0 or more, tolerance in [0, 1), search_epochs 1 or more and edge_lr_factor positive; "
                f"found {strength!r}, {tolerance!r}, {search_epochs!r}, {edge_lr_factor!r}"
            )
        self.strength, self.tolerance, self.search_epochs = strength, tolerance, search_epochs
        self.edge_lr_factor = edge_lr_factor
        counts = [len(self._depth(depth)) for depth in range(len(self.nodes))]
        self.edges = nn.ModuleList(
            nn.ModuleList(_Edges(parents) for _ in range(children))
            for parents, children in zip(counts, [*counts[1:], len(self.tasks)], strict=True)
        )
        self.is_pruned = False

    def _rows(self) -> list[list[_Edges]]:
        """Edges of every node, by depth; those of the heads last."""
        return [[row for row in level.children() if isinstance(row, _Edges)] for level in self.edges]

    def mixtures(self) -> list[list[Mixture]]:
        return [[row.mixture() for row in level] for level in self._rows()]

    def penalties(self) -> dict[str, Tensor]:
        """``{"entropy": scalar}`` before edges are removed."""
        rows = [row for level in self._rows() for row in level if len(row.parents) > 1]
        if self.is_pruned or not rows:
            return {}
        entropies = [-(shares * shares.clamp(min=1e-12).log()).sum() for shares in (row.shares() for row in rows)]
        return {"entropy": self.strength * torch.stack(entropies).mean()}

    def phases(self) -> Iterator[Phase]:
        """Search with all edges, then training of what is left."""
        if self.is_pruned:
            yield from super().phases()
            return
        yield Phase(name="search", epochs=self.search_epochs, derives=True)
        yield Phase(name="fine-tune")

    def derive(self) -> SharingGraph:
        """The network without weak edges and without nodes that no task reaches; weights stay."""
        if self.is_pruned:
            return self
        return self.with_structure([[row.strong(self.tolerance) for row in level] for level in self._rows()])

    def structure(self) -> list[list[list[int]]] | None:
        """Parents of every node by depth, then of every head; None before edges are removed."""
        return [[list(row.parents) for row in level] for level in self._rows()] if self.is_pruned else None

    def with_structure(self, structure: Sequence[Sequence[Sequence[int]]]) -> SharingGraph:
        """A copy with certain edges only; nodes that no task reaches become empty."""
        pruned = copy.deepcopy(self)
        pruned.is_pruned = True
        for level, wanted in zip(pruned._rows(), structure, strict=True):
            for row, parents in zip(level, wanted, strict=True):
                row.keep(parents)
        pruned._drop_unreached()
        return pruned

    def _drop_unreached(self) -> None:
        for depth, members in enumerate(self._users(self.mixtures())):
            for member, tasks in enumerate(members):
                if not tasks:
                    self._depth(depth)[member] = nn.Identity()
                    if depth:
                        row = self._rows()[depth - 1][member]
                        row.scores.requires_grad_(False)

    def get_extra_state(self) -> Tensor:
        """Whether edges have been removed."""
        return torch.tensor(int(self.is_pruned))

    def set_extra_state(self, state: Tensor) -> None:
        """Take up what :meth:`get_extra_state` gave."""
        self.is_pruned = bool(state)

    # ---------------------------------------------------------------- who owns what

    def _owners(self) -> Iterator[tuple[nn.Module, set[int]]]:
        """Nodes and their edges with the tasks that reach them."""
        for depth, members in enumerate(self._users(self.mixtures())):
            for member, tasks in enumerate(members):
                yield self._depth(depth)[member], tasks
                if depth:
                    yield self._rows()[depth - 1][member], tasks

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """Nodes and edges that two or more tasks reach."""
        enough = min(2, len(self.tasks))
        return trainable(*(part for part, tasks in self._owners() if len(tasks) >= enough))

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The edges of the head, the head, and nodes and edges that only this task reaches."""
        index = self.position(task)
        own = [part for part, tasks in self._owners() if tasks == {index} and len(self.tasks) > 1]
        return trainable(*own, self._rows()[-1][index], self.heads[index])

    def param_groups(self, lr: float, *, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """Scores of edges learn faster than nodes, and are not decayed: decay would make all parents alike.

        Args:
            lr: learning rate of the nodes and heads.
            weight_decay: that of the nodes and heads; default 0.
        """
        return two_groups(
            self,
            self.edges.parameters(),
            usual={"lr": lr, "weight_decay": weight_decay},
            own={"lr": self.edge_lr_factor * lr, "weight_decay": 0.0},
        )

    def describe(self) -> dict[str, Any]:
        """Counts of parameters, and the shares of the parents of every node and head."""
        levels = [
            [dict(zip(row.parents, row.shares().detach().tolist(), strict=True)) for row in level]
            for level in self._rows()
        ]
        return {**super().describe(), "edges": levels}

    def add_task(
        self, task: Task, *, freeze: Freeze = "none", head: nn.Module | None = None, example: Any = None
    ) -> Self:
        """A new model with one more task, whose head mixes all nodes of the last depth that are left.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes everything that exists, ``"shared"`` the nodes and their edges.
            head: head of the new task; default by kind.
            example: sample input of the last stage, only needed when no head is linear and it does not say its width.
        """
        model = grown(self, task, freeze=freeze, shared=("nodes",))
        if freeze == "shared":
            for level in model._rows()[:-1]:
                for row in level:
                    row.requires_grad_(False)
        nodes = model._depth(-1)
        own = _Edges(len(nodes)).to(next(self.parameters()))
        own.keep([place for place, node in enumerate(nodes) if not self.is_pruned or not isinstance(node, nn.Identity)])
        heads: Any = model.edges[-1]
        heads.append(own)
        last = with_width(next(node for node in nodes if not isinstance(node, nn.Identity)))
        model.heads.append(build_head(task, last, others=self.heads, head=head, example=example))
        return model

    def forget(self, index: int) -> None:
        super().forget(index)
        heads: Any = self.edges[-1]
        del heads[index]
        if self.is_pruned:
            names = self.tasks
            self.tasks = (*names[:index], *names[index + 1 :])
            self._drop_unreached()
            self.tasks = names


class _Edges(nn.Module):
    """Scores of the possible parents of one node."""

    def __init__(self, n_parents: int) -> None:
        super().__init__()
        self.parents: tuple[int, ...] = tuple(range(n_parents))
        self.scores = nn.Parameter(torch.zeros(n_parents if n_parents > 1 else 0), requires_grad=n_parents > 1)

    def reset_parameters(self) -> None:
        """All parents alike."""
        nn.init.zeros_(self.scores)

    def shares(self) -> Tensor:
        """(number of parents,), sums to 1; a single parent has no score."""
        if len(self.parents) == 1:
            return self.scores.new_ones(1)
        scores = self.scores.float() if self.scores.dtype in (torch.float16, torch.bfloat16) else self.scores
        return scores.softmax(0)

    def mixture(self) -> Mixture:
        """What the node reads."""
        if len(self.parents) == 1:
            return [(self.parents[0], None)]
        return list(zip(self.parents, self.shares().unbind(), strict=True))

    def strong(self, tolerance: float) -> list[int]:
        """Parents with a share of some size, or else the strongest one."""
        shares = self.shares().tolist()
        found = [parent for parent, share in zip(self.parents, shares, strict=True) if share >= tolerance]
        return found or [self.parents[shares.index(max(shares))]]

    def keep(self, parents: Sequence[int]) -> None:
        """Forget all parents but some."""
        places = [self.parents.index(parent) for parent in parents]
        scores = self.scores.detach()[places] if len(parents) > 1 else self.scores.detach()[:0]
        self.parents = tuple(parents)
        self.scores = nn.Parameter(scores.clone(), requires_grad=len(parents) > 1)
