"""Progressive layered extraction: several levels of shared and own experts, with a stream per task and a shared one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from taskloom.nn._expert_build import ExpertFactory, GateInputs
from taskloom.nn._expert_network import ExpertNetwork
from taskloom.nn.gates.base import GateRule
from taskloom.task import Task

__all__ = ["PLE"]


class PLE(ExpertNetwork):
    """Levels of :class:`CGC`: tasks have states of their own, and a shared state reads the experts of all.

        h_t^j = q_t^j(h_t^(j-1)) . [own experts of t at level j on h_t^(j-1); shared experts on h_s^(j-1)]
        h_s^j = q_s^j(h_s^(j-1)) . [own experts of all tasks; shared experts],  j < N
        h_t^0 = h_s^0 = x,   y_t = head_t(h_t^N)

    At the last level there is no shared gate. Before it the experts of a task feed the shared state and so all tasks:
    by its parameters only the last level separates the tasks.

    Args:
        experts: per level a function without arguments that builds a new expert in each call, or a module to copy and
            re-initialise; the first maps x, each later one what the experts of the level before return.
        tasks: the tasks.
        n_shared: number of shared experts m_s at each level; default 2 (our choice).
        n_own: number of own experts m_t at each level, one number or a mapping task -> number; default 1 (our choice).
            A task with 0 reads shared experts alone.
        gate: the rule of all gates; default :class:`SoftmaxGate`.
        gate_input: what the gates read of a state, one function for all levels or one (or None) per level; see
            :class:`MMoE`.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input; needed when experts do not say ``in_features`` (first level) and ``out_features``, or
            with gate_input.

    Raises:
        TaskError: no level, a task without any expert; otherwise as :class:`MMoE`.

    Cost:
        per level m_s + sum m_t experts and K + 1 gates (K at the last): (m_s + sum m_t) P(E^j) + d_j [sum (m_t + m_s) +
        (m_s + sum m_t)(j < N)] parameters; gates over one expert are left out. One task alone still needs all experts
        of all levels but the last. With one input per task all of that runs on every batch.

    Differs from the paper:
        nothing by default.

    Source:
        H. Tang, J. Liu, M. Zhao, X. Gong, Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model
        for Personalized Recommendations, RecSys 2020, doi:10.1145/3383313.3412236, section 4.2.

    Example:
        >>> import torch
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())]
        >>> model = PLE([lambda: MLP(4, (8,)), lambda: MLP(8, (6,))], tasks)
        >>> model(torch.zeros(5, 4))["b"].shape, [len(level.experts) for level in model.levels]
        (torch.Size([5, 1]), [4, 4])
    """

    def __init__(
        self,
        experts: Sequence[ExpertFactory],
        tasks: Sequence[Task],
        *,
        n_shared: int = 2,
        n_own: int | Mapping[str, int] = 1,
        gate: GateRule | None = None,
        gate_input: GateInputs = None,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(
            experts,
            tasks,
            n_shared=n_shared,
            n_own=n_own,
            gate=gate,
            gate_input=gate_input,
            heads=heads,
            example=example,
        )
