"""Exact task gradients from the gradients of layer outputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from taskloom.engine.autograd import AutogradEngine, explained
from taskloom.engine.base import Cost, Layout, ParameterRows, ranks
from taskloom.engine.layers.convolution import ConvolutionForm
from taskloom.engine.layers.embedding import EmbeddingRows
from taskloom.engine.layers.few_labels import FewLabels
from taskloom.engine.layers.graph import Graph
from taskloom.engine.layers.heads import HeadGradients, through_heads
from taskloom.engine.layers.layer_rows import LayerRows
from taskloom.engine.layers.linear import LinearForm, LinearGhost, LinearRowGhost
from taskloom.engine.layers.part import Blocks, Part
from taskloom.engine.layers.passes import Passes
from taskloom.engine.layers.plan import Batching, Plan, Rule, belongs_by_row, make_plan, rule_of, without_rows
from taskloom.engine.layers.pool import Pool
from taskloom.engine.layers.products import own_precision
from taskloom.engine.layers.proofs import Layer
from taskloom.engine.layers.remaining import RemainingRows
from taskloom.engine.layers.room import Room
from taskloom.errors import EngineError

__all__ = ["LayerEngine"]


class LayerEngine:
    """Inner products of task gradients without most of the task gradients. Exact; what :func:`taskloom.balance` uses.

    Only the gradients of layer *outputs* are propagated for every task. A linear layer, a convolution or an embedding
    then adds its share to the inner products in whichever way is cheapest, and every other parameter takes part with
    its ordinary gradient, which comes out of the same passes. The direction is made of what the layers kept, without
    another backward pass.

        G_jk = sum over layers of <(A A^T + 1 1^T) D_j, D_k>  or  <D_j^T A, D_k^T A>,    A inputs, D_k output gradients

    Nothing is attached to the model: the layers are read from the graph of the losses, in every step, so that any
    forward pass may follow any other. A parameter is given to a rule only if the graph shows that all its uses are
    those of the layer; ``tl.explain_cost`` prints which are, and why others are not. One pass is enough where every
    task has rows of its own, and as many as a row has labels where labels are few.

    What it cannot see are hooks on the nodes of the autograd graph (``Node.register_hook``, the old
    ``Module.register_backward_hook``). Hooks on parameters and activations and full backward hooks are seen.

    Args:
        rule: "auto" (default) takes for every linear layer what is estimated cheaper: "form" keeps K weight gradients,
            "ghost" inputs and output gradients. "parameters": no rules.
        batching: how many tasks are propagated together: "auto" (default) as many as keep the gradient of the largest
            activation below 8 MiB on a CPU, and one by one below three; "never", "always", or a number.
        gram_dtype: precision of inner products; default that of the gradients, added up in float64.

    Raises:
        EngineError: an unknown rule, or a number of tasks below 1.

    Cost:
        K propagations through the shared part, without weight gradients where "ghost" pays; memory for the blocks.
        On a CPU the engine keeps its blocks from one step for the next.

    Distributed:
        with a process group it hands over to :class:`taskloom.engine.AutogradEngine`, whose rows can be averaged.

    Example:
        >>> layer = torch.nn.Linear(2, 3)
        >>> output = layer(torch.ones(4, 2))
        >>> rows = LayerEngine().rows([output.sum(), output[:, 0].sum()], [layer.weight, layer.bias])
        >>> rows.gramian()
        tensor([[144.,  48.],
                [ 48.,  48.]], dtype=torch.float64)
    """

    def __init__(
        self, rule: Rule = "auto", batching: Batching = "auto", *, gram_dtype: torch.dtype | None = None
    ) -> None:
        if rule not in ("auto", "form", "ghost", "parameters"):
            raise EngineError(f"LayerEngine: rule must be 'auto', 'form', 'ghost' or 'parameters', found {rule!r}")
        if not (batching in ("auto", "never", "always") or (isinstance(batching, int) and batching >= 1)):
            raise EngineError(
                f"LayerEngine: batching must be 'auto', 'never', 'always' or a number of tasks, found {batching!r}"
            )
        self.rule, self.batching, self.gram_dtype = rule, batching, gram_dtype
        self._pool = Pool()
        self._n_steps = 0
        self._next_look = 0  # step at which rows with few labels are looked for again
        self._wait = 1

    def rows(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> ParameterRows:
        """Task gradients J in parts; zeros where a task does not reach a parameter.

        Raises:
            EngineError: the graph of the losses was freed by an earlier backward pass, a tensor that it needs was
                changed in place, or a part of it is hidden.
        """
        if ranks() > 1:
            return AutogradEngine().rows(losses, parameters)
        return self._measure(losses, parameters, with_heads=True)

    def gramian(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
        """G = J J^T, shape (K, K), float64."""
        if ranks() > 1:
            return AutogradEngine().gramian(losses, parameters)
        return self._measure(losses, parameters, with_heads=False).gramian()

    def cost(self, parameters: Sequence[Tensor], n_tasks: int) -> Cost:
        """At most K backward passes and K copies of the shared parameters; the layers are not known before a step."""
        return AutogradEngine().cost(parameters, n_tasks)

    def plan(self, graph: Graph, parameters: Sequence[Tensor]) -> Plan:
        """What it does with a graph."""
        looks = self._n_steps >= self._next_look
        return make_plan(graph, parameters, rule=self.rule, batching=self.batching, looks_for_few_labels=looks)

    def _measure(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor], *, with_heads: bool) -> LayerRows:
        device = parameters[0].device
        with explained(), torch.no_grad(), own_precision(device):
            graph = Graph(losses)
            plan = self.plan(graph, parameters)
            self._n_steps += 1
            known = {id(parameter) for parameter in parameters}
            leaves: dict[int, list[Tensor]] = {}
            for leaf in graph.leaves.values() if with_heads else ():
                owner = graph.owner(graph.accumulators[id(leaf)])
                if id(leaf) not in known and isinstance(owner, int) and owner >= 0:
                    leaves.setdefault(owner, []).append(leaf)
            return self._run(graph, plan, losses, parameters, leaves)

    def _run(
        self,
        graph: Graph,
        plan: Plan,
        losses: Sequence[Tensor | None],
        parameters: Sequence[Tensor],
        leaves: dict[int, list[Tensor]],
    ) -> LayerRows:
        lease = self._pool.lease()
        heads: HeadGradients = {}
        cotangents = labels = None
        if plan.frontier is not None:
            cotangents, heads = through_heads(graph, losses, leaves, plan.frontier, looks_for_rows=plan.rows > 0)
            if plan.rows:
                labels = FewLabels.find(cotangents, plan.rows, len(losses))
                self._remember(found=labels is not None)
                plan = plan if labels is not None else without_rows(plan)
        by_row = labels is not None or plan.course == "one pass"
        kinds = [self._kind(layer, len(losses), by_row=by_row) for layer in plan.layers]
        remaining = [parameters[one.place] for one in plan.remaining]
        room = Room([*_with_blocks(plan.layers, kinds), *remaining], len(losses), lease)
        parts = [
            kind(layer, len(losses), lease, room) if issubclass(kind, Blocks) else kind(layer, len(losses), lease)
            for layer, kind in zip(plan.layers, kinds, strict=True)
        ]
        rest = RemainingRows(remaining, len(losses), lease, room)
        passes = Passes(graph, losses, parts, rest, {} if plan.frontier else leaves)
        with passes.taps:
            if plan.frontier is None or cotangents is None:
                passes.one_pass() if by_row else passes.task_by_task()
            elif labels is not None:
                passes.of_labels(plan.frontier, labels, cotangents)
            elif not passes.from_features(plan.frontier, cotangents, plan.at_a_time, lease):
                self.batching = "never"
        for part in parts:
            part.finish()
        rest.finish()
        return LayerRows(
            parts,
            rest,
            [one.place for one in plan.remaining],
            room=room,
            layout=Layout(parameters),
            leaves=tuple(graph.leaves.values()),
            heads=heads or passes.heads,
            lease=lease,
            dtype=self.gram_dtype,
        )

    def _remember(self, *, found: bool) -> None:
        """Look less and less often for rows with few labels in batches that have none."""
        self._wait = 1 if found else min(2 * self._wait, 64)
        self._next_look = self._n_steps + (0 if found else self._wait)

    def _kind(self, layer: Layer, n_tasks: int, *, by_row: bool) -> type[Part]:
        """What keeps the task gradients of a layer."""
        is_by_row = by_row or belongs_by_row(layer)
        if layer.kind == "embedding":
            return EmbeddingRows
        if layer.kind == "convolution":
            return ConvolutionForm
        if rule_of(layer, n_tasks, self.rule, by_row=is_by_row) == "form":
            return LinearForm
        return LinearRowGhost if is_by_row else LinearGhost


def _with_blocks(layers: Sequence[Layer], kinds: Sequence[type[Part]]) -> list[Tensor]:
    """Parameters of the layers whose weight gradients are kept; weights first, so that they begin at even addresses."""
    chosen = [layer for layer, kind in zip(layers, kinds, strict=True) if issubclass(kind, Blocks)]
    return [layer.weight for layer in chosen] + [layer.bias for layer in chosen if layer.bias is not None]
