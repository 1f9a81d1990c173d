"""The gate of one task: its parameters, and what it did to the rows that it saw last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._precision import full_precision, widened
from taskloom.nn.cost import layer_macs
from taskloom.nn.gates.base import GateRule

__all__ = ["Gate", "weigh_together"]


class Gate(nn.Module):
    """Weights of n experts for every row, none negative: ``q = weigh(W z + b)``.

    After a call in training mode the gate remembers how it weighed the rows (:attr:`last_weights`,
    :attr:`last_entropy`) and what :meth:`penalties` needs, until the next call. In an architecture, which may call it
    for several blocks of rows in one forward pass, it collects them until :meth:`forget`. Copies and pickles leave all
    of that out.

    Args:
        in_features: width d of the rows that it reads.
        n_experts: number n of experts.
        rule: how scores become weights.

    Raises:
        TaskError: no expert, no feature, or a rule that cannot weigh so many.

    Example:
        >>> from taskloom.nn import SoftmaxGate
        >>> gate = Gate(5, 3, rule=SoftmaxGate())
        >>> gate(torch.zeros(2, 5)), gate.weight.shape
        (tensor([[0.3333, 0.3333, 0.3333],
                [0.3333, 0.3333, 0.3333]], ...), torch.Size([3, 5]))
        >>> gate.last_weights
        tensor([0.3333, 0.3333, 0.3333])
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, in_features: int, n_experts: int, *, rule: GateRule) -> None:
        super().__init__()
        if n_experts < 1 or in_features < 1:
            raise TaskError(f"a gate needs 1 or more experts and features, found {n_experts} and {in_features}")
        rule.check(n_experts)
        self.rule = rule
        self.in_features = in_features
        self.n_experts = n_experts
        self.draws = rule.draws
        self.collects = False  # until forget()
        n_scores = rule.n_scores(n_experts)
        for name, shape in (("weight", (n_scores, in_features)), ("bias", (n_scores,))):
            is_there = not rule.is_static if name == "weight" else rule.is_static or rule.has_bias
            self.register_parameter(name, nn.Parameter(torch.empty(shape)) if is_there else None)
        for name, constant in rule.constants(n_experts).items():
            self.register_buffer(name, constant, persistent=False)
        self._seen: list[_Seen] = []
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the scores anew."""
        with torch.no_grad():
            self.rule.start(self.weight, self.bias)

    def constants(self) -> dict[str, Tensor]:
        """What the rule needs beside the scores."""
        return dict(self.named_buffers())

    def forward(self, rows: Tensor) -> Tensor:
        """Weights (B, n) for rows (B, d)."""
        scores, weights = self._weighed(rows)
        if self.training and self.weight is not None:
            _remember([self], scores.unsqueeze(0), weights.unsqueeze(0))
        return weights

    def _weighed(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        if self.weight is None:
            weights = self._static(training=self.training)
            return weights, weights.expand(rows.shape[0], -1)
        with full_precision(rows):
            scores = widened(F.linear(rows.to(self.weight.dtype), self.weight, self.bias))
            return scores, self.rule.weigh(scores, self.constants(), training=self.training)

    def static_weights(self) -> Tensor:
        """Weights (n,) of a gate that reads no input, detached, in evaluation mode."""
        return self._static(training=False).detach()

    def _static(self, *, training: bool) -> Tensor:
        return self.rule.weigh(widened(_given(self.bias)), self.constants(), training=training)

    # ---------------------------------------------------------------- what it did last

    @property
    def keeps_graph(self) -> bool:
        """Whether penalties depend on the rows seen last."""
        return self.rule.has_penalties and not self.rule.is_static

    def forget(self) -> None:
        """Drop what was decided for earlier rows."""
        self._seen.clear()

    def penalties(self) -> dict[str, Tensor]:
        """Named, weighted scalars: of the parameters where the gate reads no input, else of the rows seen last."""
        if not self.rule.has_penalties:
            return {}
        if self.weight is None:
            scores, weights = widened(_given(self.bias)).unsqueeze(0), self._static(training=True).unsqueeze(0)
            return self.rule.penalties(scores, weights, self.constants())
        seen = self.seen()
        return {} if seen is None else self.rule.penalties(*seen, self.constants())

    def seen(self) -> tuple[Tensor, Tensor] | None:
        """Scores (rows, n scores) and weights (rows, n) of the rows seen last in training mode; None before the first.

        They have their graph if the rule has penalties.
        """
        alive = [seen for seen in self._seen if _is_alive(seen.weights)]
        if not alive:
            return None
        scores = torch.cat([seen.scores[seen.place] for seen in alive])
        return scores, torch.cat([seen.weights[seen.place] for seen in alive])

    @property
    def last_weights(self) -> Tensor | None:
        """Mean weight of each expert over the rows seen last in training mode, (n,); None before the first.

        A gate that reads no input weighs all rows alike, and knows the weights without seeing any.
        """
        weights = self._last()
        return None if weights is None else weights.mean(0)

    @property
    def last_entropy(self) -> Tensor | None:
        """Mean entropy of the weights of those rows in nats: 0 where one expert counts, log n where all do alike."""
        weights = self._last()
        return None if weights is None else -torch.xlogy(weights, weights).sum(-1).mean()

    def _last(self) -> Tensor | None:
        if self.weight is None:
            return self.static_weights().unsqueeze(0)
        kept = [seen.weights[seen.place].detach() for seen in self._seen if not _is_transformed(seen.weights)]
        return torch.cat(kept) if kept else None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_seen": []}  # tensors of a graph can be neither copied nor stored

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.n_experts}, rule={self.rule!r}"


def weigh_together(gates: Sequence[Gate], rows: Sequence[Tensor]) -> Tensor | None:
    """Weights (G, B, n) of several gates of one form as one product; None where their forms or rows differ.

    Args:
        gates: the gates, all in the same mode.
        rows: (B, d) for each; one object for all is multiplied with all weights at once.
    """
    first = gates[0]
    if not all(_same_form(gate, first) for gate in gates) or any(part.shape != rows[0].shape for part in rows):
        return None
    if first.weight is None:
        biases = widened(torch.stack([_given(gate.bias) for gate in gates])).unsqueeze(1)  # (G, 1, scores)
        shares = first.rule.weigh(biases, first.constants(), training=first.training)
        return shares.expand(-1, rows[0].shape[0], -1)
    with full_precision(rows[0]):
        scores = widened(_scores(gates, rows))
        weights = first.rule.weigh(scores, first.constants(), training=first.training)
    if first.training:
        _remember(gates, scores, weights)
    return weights


@layer_macs.register
def _gate_macs(layer: Gate, inputs: tuple[Any, ...], *, output: Any) -> int:
    return 0 if layer.weight is None else int(inputs[0].shape[0]) * layer.weight.numel()


def _same_form(gate: Gate, other: Gate) -> bool:
    same_rule = gate.rule is other.rule or gate.rule == other.rule
    return same_rule and gate.n_experts == other.n_experts and gate.in_features == other.in_features


def _scores(gates: Sequence[Gate], rows: Sequence[Tensor]) -> Tensor:
    """Scores (G, B, n scores)."""
    weights: list[Tensor] = [_given(gate.weight) for gate in gates]
    biases: list[Tensor] | None = None if gates[0].bias is None else [_given(gate.bias) for gate in gates]
    if all(part is rows[0] for part in rows):
        common = rows[0].to(weights[0].dtype)
        together: Tensor = F.linear(common, torch.cat(weights), None if biases is None else torch.cat(biases))
        return together.reshape(common.shape[0], len(gates), -1).transpose(0, 1)
    each = torch.stack(list(rows)).to(weights[0].dtype)
    product = torch.bmm(each, torch.stack(weights).transpose(1, 2))
    return product if biases is None else product + torch.stack(biases).unsqueeze(1)


class _Seen(NamedTuple):
    """Scores (gates, B, scores) and weights (gates, B, n) of gates computed together, and the place of one gate."""

    scores: Tensor
    weights: Tensor
    place: int


def _remember(gates: Sequence[Gate], scores: Tensor, weights: Tensor) -> None:
    """Keep what was decided for some rows: with its graph if penalties need it, else just the numbers."""
    if not gates[0].keeps_graph:
        if _is_transformed(weights):
            return
        scores, weights = scores.detach(), weights.detach()
    for place, gate in enumerate(gates):
        if not gate.collects:
            gate.forget()
        gate._seen.append(_Seen(scores, weights, place))


def _given(parameter: nn.Parameter | None) -> nn.Parameter:
    assert parameter is not None
    return parameter


def _is_transformed(tensor: Tensor) -> bool:
    """Whether a tensor lives only inside a function transform (``vmap``, ``grad``) and must not be used after it."""
    # compilers see through transforms, and cannot ask
    return not torch.compiler.is_compiling() and torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def _is_alive(tensor: Tensor) -> bool:
    return not _is_transformed(tensor) or torch._C._functorch.maybe_current_level() is not None
