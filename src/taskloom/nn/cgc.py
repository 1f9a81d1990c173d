"""Customised gate control: experts of the tasks' own beside shared ones, mixed by one gate per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from taskloom.nn._expert_build import ExpertFactory
from taskloom.nn._expert_network import ExpertNetwork
from taskloom.nn.gates.base import GateRule
from taskloom.nn.gates.rows import GateInput
from taskloom.task import Task

__all__ = ["CGC"]


class CGC(ExpertNetwork):
    """Shared experts and experts of each task's own; a task's gate mixes its own and the shared ones.

    Compared with :class:`MMoE`, a task has experts that no other task can spoil. :class:`PLE` with one level.

        f_t(x) = sum_i q_t(z)_i E_i(x) over [own experts of t; shared experts],   q_t(z) = softmax(W_t z)
        y_t = head_t(f_t(x))

    Without own experts it is MMoE, without shared ones it is a mixture of experts per task, with one shared expert
    alone hard sharing, and with one own expert alone independent networks.

    Args:
        expert: function without arguments that builds a new expert in each call, or a module to copy and re-initialise.
        tasks: the tasks.
        n_shared: number of shared experts m_s; default 2 (our choice).
        n_own: number of own experts m_t, one number for all tasks or a mapping task -> number; default 1 (our choice).
            0 is allowed where there are shared experts.
        gate: the rule of the gates; default :class:`SoftmaxGate`.
        gate_input: what the gates read; see :class:`MMoE`.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input; see :class:`MMoE`.

    Raises:
        TaskError: a task without any expert; otherwise as :class:`MMoE`.

    Cost:
        m_s + sum m_t experts, K gates, K heads; in training one batched computation for all own and one for all shared
        experts. (m_s + sum m_t) P(E) + d sum (m_t + m_s) parameters and the heads; a task with one expert has no gate.

    Differs from the paper:
        nothing by default.

    Source:
        H. Tang, J. Liu, M. Zhao, X. Gong, Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model
        for Personalized Recommendations, RecSys 2020, doi:10.1145/3383313.3412236, section 4.1.

    Example:
        >>> import torch
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())]
        >>> model = CGC(lambda: MLP(4, (8,)), tasks, n_shared=2, n_own={"a": 1, "b": 3})
        >>> [weights[0].shape for weights in model.gate_weights(torch.zeros(6, 4)).values()]
        [torch.Size([6, 3]), torch.Size([6, 5])]
    """

    def __init__(
        self,
        expert: ExpertFactory,
        tasks: Sequence[Task],
        *,
        n_shared: int = 2,
        n_own: int | Mapping[str, int] = 1,
        gate: GateRule | None = None,
        gate_input: GateInput | None = None,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(
            [expert],
            tasks,
            n_shared=n_shared,
            n_own=n_own,
            gate=gate,
            gate_input=gate_input,
            heads=heads,
            example=example,
        )
