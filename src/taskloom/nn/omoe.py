"""One-gate mixture of experts: hard sharing whose encoder is a mixture, ``y_t = head_t(sum_i q(z)_i E_i(x))``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._expert_build import ExpertFactory, each_level
from taskloom.nn._expert_level import ExpertLevel
from taskloom.nn._mixture import Mixture
from taskloom.nn.gates.base import GateRule
from taskloom.nn.gates.gate import Gate
from taskloom.nn.gates.report import describe_gates, gate_penalties
from taskloom.nn.gates.rows import GateInput
from taskloom.nn.gates.softmax import SoftmaxGate
from taskloom.nn.hard import HardSharing
from taskloom.task import Task

__all__ = ["OMoE"]


class OMoE(HardSharing):
    """Hard sharing with several encoders (experts) that one gate mixes row by row, in the same way for all tasks.

    The baseline of :class:`MMoE`: as many experts, but no choice per task. What MMoE gains over it, it gains because
    tasks choose, and not because there are more parameters.

        f(x) = sum_i q(z)_i E_i(x),   q(z) = softmax(W z),   y_t = head_t(f(x))

    Args:
        expert: function without arguments that builds a new expert in each call, or a module to copy and re-initialise.
        tasks: the tasks.
        n_experts: number of experts n, 1 or more; default 4 (our choice).
        gate: the rule of the gate; default :class:`SoftmaxGate`.
        gate_input: what the gate reads; see :class:`MMoE`.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input; see :class:`MMoE`.

    Raises:
        TaskError: as :class:`MMoE`.

    Cost:
        n experts, one gate, K heads: n P(E) + n d parameters and the heads.

    Differs from the paper:
        nothing by default.

    Source:
        J. Ma et al., Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts, KDD 2018,
        doi:10.1145/3219819.3220007, equation 5.

    Example:
        >>> import torch
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> model = OMoE(lambda: MLP(4, (8,)), [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())])
        >>> features = model.features(torch.randn(5, 4))
        >>> torch.equal(features["a"], features["b"])
        True
    """

    encoder: Mixture

    def __init__(
        self,
        expert: ExpertFactory,
        tasks: Sequence[Task],
        *,
        n_experts: int = 4,
        gate: GateRule | None = None,
        gate_input: GateInput | None = None,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        if n_experts < 1:
            raise TaskError(f"n_experts must be 1 or more, found {n_experts}")
        rule = SoftmaxGate() if gate is None else gate
        ((experts, gating, _),) = each_level(
            [expert], n_experts=n_experts, rule=rule, gate_input=gate_input, example=example
        )
        level = ExpertLevel(experts, (), n_own=(), shared_gate=gating.build(n_experts), gating=gating)
        super().__init__(Mixture(level), tasks, heads=heads, example=example)
        self.has_batch_penalties = any(gate.keeps_graph for gate in self._gates())

    def _gates(self) -> list[Gate]:
        gate = self.encoder.level.shared_gate
        return [gate] if isinstance(gate, Gate) else []

    def features(self, inputs: Any, tasks: Sequence[str] | None = None) -> dict[str, Any]:
        """What the heads read: task name -> the mixture, the same for all tasks of one input."""
        for gate in self._gates():
            gate.forget()
        return super().features(inputs, tasks)

    def encode(self, inputs: Any, tasks: Sequence[str] | None = None) -> tuple[Any, ...]:
        """The mixture: one for all tasks, or one per task when each brings its own input."""
        for gate in self._gates():
            gate.forget()
        return super().encode(inputs, tasks)

    def penalties(self) -> dict[str, Tensor]:
        """Penalties of the gate's rule; those that look at rows: of the last forward in training."""
        return gate_penalties(self._gates())

    def describe(self) -> dict[str, Any]:
        """Counts of parameters, and ``"shared_gates"``: how the gate weighed the rows that it saw last."""
        return {**super().describe(), "shared_gates": describe_gates(self._gates() or [None])}

    def path(self, task: str) -> nn.Module:
        return nn.Sequential(self.encoder.used(), self.heads[self.position(task)])
