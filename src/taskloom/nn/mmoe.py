"""Multi-gate mixture of experts: shared experts, one gate per task, ``f_t(x) = sum_i g_t(x)_i E_i(x)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from taskloom.errors import TaskError
from taskloom.nn._expert_build import ExpertFactory
from taskloom.nn._expert_network import ExpertNetwork
from taskloom.nn.gates.base import GateRule
from taskloom.nn.gates.rows import GateInput
from taskloom.task import Task

__all__ = ["MMoE"]


class MMoE(ExpertNetwork):
    """Several shared encoders (experts); a gate per task decides, row by row, how much each counts for the task.

    Tasks that agree come to use the same experts, tasks that compete can use different ones: between hard sharing (one
    expert) and independent networks, decided by the data. Costs as many encoders as there are experts.

        f_t(x) = sum_i q_t(z)_i E_i(x),   q_t(z) = softmax(W_t z),   y_t = head_t(f_t(x))

    It is :class:`CGC` without experts of the tasks' own.

    Args:
        expert: function without arguments that builds a new expert in each call, or a module to copy and re-initialise.
            Experts return tensors (B, features) or with more axes, all of one shape.
        tasks: the tasks.
        n_experts: number of experts n, 1 or more; default 4 (our choice; the paper uses 8).
        gate: the rule of the gates: :class:`SoftmaxGate` (default), :class:`DSelectKGate`, :class:`TopKGate`,
            :class:`StaticGate`, or one of your own.
        gate_input: what the gates read, a function of x that gives rows (B, d) and has no parameters; default x itself
            if it is a matrix, means over tokens (B, N, D) and over the positions of images (B, C, height, width).
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input; needed when the expert does not say its ``in_features`` and ``out_features``, or with
            gate_input.

    Raises:
        TaskError: no expert; a factory that repeats itself; heads that do not match; later, experts whose outputs
            cannot be mixed and gate inputs that are no rows.

    Cost:
        n experts, K gates, K heads; in training one batched computation for all experts and one product for all gates.
        n P(E) + K n d parameters and the heads; with one expert there are no gates.

    Differs from the paper:
        nothing by default; experts that are no MLPs, and other gates, are possible.

    Source:
        J. Ma, Z. Zhao, X. Yi, J. Chen, L. Hong, E. Chi, Modeling Task Relationships in Multi-task Learning with
        Multi-gate Mixture-of-Experts, KDD 2018, doi:10.1145/3219819.3220007, equations 5 to 7.

    Example:
        >>> import torch
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Binary, Regression
        >>> tasks = [Task(name="price", kind=Regression()), Task(name="sold", kind=Binary())]
        >>> model = MMoE(lambda: MLP(4, (8,)), tasks, n_experts=3)
        >>> model(torch.zeros(5, 4))["sold"].shape, model.gate_weights(torch.zeros(1, 4))["price"]
        (torch.Size([5, 1]), [tensor([[0.3333, 0.3333, 0.3333]])])
    """

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
        super().__init__(
            [expert],
            tasks,
            n_shared=n_experts,
            n_own=0,
            gate=gate,
            gate_input=gate_input,
            heads=heads,
            example=example,
        )
