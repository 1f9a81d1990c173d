"""Mod-Squad: sparse mixtures of experts in every block, with routers per task that share experts as tasks allow."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self, cast

from torch import Tensor, nn

from taskloom.errors import ExportError, TaskError
from taskloom.nn._expert_build import ExpertFactory, GateInputs, each_level
from taskloom.nn._expert_level import ExpertLevel
from taskloom.nn._grow import freeze_module, grown
from taskloom.nn._mixture import Mixture
from taskloom.nn._routed import RoutedBlock, Router
from taskloom.nn.gates.gate import Gate
from taskloom.nn.gates.report import describe_gates
from taskloom.nn.heads.default import build_head, build_heads
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.nn.parallel import Parallel
from taskloom.nn.phase import Phase
from taskloom.task import Task

__all__ = ["ModSquad"]


class ModSquad(MultiTaskModel):
    """Blocks of experts for all tasks, each task with routers of its own; afterwards every task keeps a small network.

    A penalty on the routers makes tasks specialise: it rewards information about the task in the choice of an expert,
    so that every expert serves some tasks and every task settles on some experts. What a task does not use is dropped
    after training.

        h_t^j = sum_e q_(t,e)^j(h_t^(j-1)) E_e^j(h_t^(j-1)),   h_t^0 = x,   y_t = head_t(h_t^N)
        penalty = -mutual_information * sum_j I_j,   I = sum_(t,e) P(t, e) log(P(t, e) / (P(t) P(e)))

    with q the softmax over the k largest scores of the router, P(t) = 1/K, and P(e|t) the mean probability of expert e
    under the softmax of all scores. P(e|t) is a running mean over batches; gradients are those of the last batch.

    Args:
        experts: per block a function without arguments that builds a new expert in each call, or a module to copy and
            re-initialise.
        tasks: the tasks.
        n_experts: number of experts per block; default 4 (our choice).
        k: how many experts a router mixes, from 2 to n_experts; default 2 (our choice).
        noise: whether router scores are noisy in training; default False (our choice).
        mutual_information: weight of the penalty, 0 or more; default 1e-3 (our choice).
        momentum: of the running means, in [0, 1); default 0.9 (our choice). 0: the last batch alone.
        keep: how many experts a task keeps in each block after training, by running mean: :meth:`derive` drops the
            others, and ``phases`` train on with what is left. Default None: all.
        gate_input: what routers read of a state, for all blocks or one per block; see :class:`MMoE`.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input; needed when experts do not say their widths, or with gate_input.

    Raises:
        TaskError: a number outside its range; otherwise as :class:`MMoE`.

    Cost:
        the first block n experts for all tasks of one input; every later block n experts per task, since states differ.
        All experts are computed, also those that a router leaves out. Once derived: ``keep`` experts per task.

    Differs from the paper:
        routers choose per sample, not per token; any experts; dense computation; the running mean.

    Source:
        Z. Chen, Y. Shen, M. Ding, Z. Chen, H. Zhao, E. Learned-Miller, C. Gan, Mod-Squad: Designing Mixtures of Experts
        As Modular Multi-Task Learners, CVPR 2023, arXiv:2212.08066.

    Example:
        >>> import torch
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())]
        >>> model = ModSquad([lambda: MLP(4, (8,)), lambda: MLP(8, (6,))], tasks, keep=2)
        >>> outputs = model(torch.randn(5, 4))
        >>> model.update_usage()  # after every step; taskloom.fit does it
        >>> small = model.derive()
        >>> [len(experts) for experts in small.structure()[0]]
        [2, 2]
    """

    def __init__(
        self,
        experts: Sequence[ExpertFactory],
        tasks: Sequence[Task],
        *,
        n_experts: int = 4,
        k: int = 2,
        noise: bool = False,
        mutual_information: float = 1e-3,
        momentum: float = 0.9,
        keep: int | None = None,
        gate_input: GateInputs = None,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(tasks)
        _check(n_experts, mutual_information, momentum, keep)
        self.mutual_information = mutual_information
        self.momentum = momentum
        self.keep = keep
        rule = Router(k=k, noise=noise)
        rule.check(n_experts)
        levels = list(each_level(experts, n_experts=n_experts, rule=rule, gate_input=gate_input, example=example))
        self.blocks = nn.ModuleList(RoutedBlock(built, len(self.tasks), gating=gating) for built, gating, _ in levels)
        self.heads = build_heads(self.task_objects, levels[-1][0][0], heads=heads, example=levels[-1][2])
        self.has_batch_penalties = mutual_information > 0
        self.is_derived = False

    def _each(self) -> Iterator[RoutedBlock]:
        return cast(Iterator[RoutedBlock], iter(self.blocks))

    def features(self, inputs: Any, tasks: Sequence[str] | None = None) -> dict[str, Any]:
        """What the heads read: task name -> state behind the last block."""
        for gate in self._gates():
            gate.forget()
        return super().features(inputs, tasks)

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        return self.represent_each([inputs] * len(indices), indices)

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        states: list[Any] = list(parts)
        for block in self._each():
            states = block.run(states, indices)
        return states

    def _gates(self) -> Iterator[Gate]:
        for block in self._each():
            yield from (gate for gate in block.gates if isinstance(gate, Gate))

    # ---------------------------------------------------------------- parameters

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """Experts that two or more tasks have (all experts, for a single task)."""
        return trainable(*self._experts_of(None))

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """Routers and head of the task, and experts that no other task has kept."""
        index = self.position(task)
        routers = [block.gate(index) for block in self._each()]
        return trainable(*routers, *self._experts_of(index), self.heads[index])

    def _experts_of(self, task: int | None) -> list[nn.Module]:
        """Experts that only one task has, or (None) those that several have; all, for a single task."""
        found: list[nn.Module] = []
        for block in self._each():
            users = [block.users(number) for number in range(len(block.experts))]
            owners = [own[0] if len(own) == 1 and len(self.heads) > 1 else None for own in users]
            found += [expert for expert, owner in zip(block.experts, owners, strict=True) if owner == task]
        return found

    def penalties(self) -> dict[str, Tensor]:
        """``{"mutual_information": scalar}`` of the last forward pass in training; empty for fewer than two tasks."""
        if self.mutual_information == 0:
            return {}
        found = [block.mutual_information(self.momentum) for block in self._each()]
        values = [value for value in found if value is not None]
        return {"mutual_information": -self.mutual_information * sum(values[1:], start=values[0])} if values else {}

    # ---------------------------------------------------------------- which task uses which expert

    def update_usage(self) -> None:
        """Add the last forward pass in training to the running means; call it after every step (``fit`` does)."""
        for block in self._each():
            block.update_usage(self.momentum)

    def phases(self) -> Iterator[Phase]:
        """Train with running means; with ``keep``, then train on with the experts that the tasks keep."""
        if self.is_derived:
            yield Phase(name="train")
            return
        yield Phase(name="train", on_step=lambda step, n_steps: self.update_usage(), derives=self.keep is not None)
        if self.keep is not None:
            yield Phase(name="fine-tune")

    def derive(self) -> MultiTaskModel:
        """The network in which a task has the ``keep`` experts that it uses most in each block; itself without keep.

        Raises:
            TaskError: the running means are empty.
        """
        if self.keep is None or self.is_derived:
            return self
        for block in self._each():
            for task, row in zip(self.tasks, block.usage, strict=True):
                if len(block.experts) > 1 and not bool(row.any()):
                    raise TaskError(
                        f"it is not known which experts task {task!r} uses; call update_usage() after the steps of a "
                        "training, or train by taskloom.fit"
                    )
        return self.with_structure([block.top(self.keep) for block in self._each()])

    def structure(self) -> Any:
        """Per block and task the numbers of its experts in the block, once derived; None before."""
        if not self.is_derived:
            return None
        return [[[block.numbers[member] for member in own] for own in block.members] for block in self._each()]

    def with_structure(self, structure: Any) -> MultiTaskModel:
        """The network in which every task has these experts: per block and task their numbers in the block."""
        model = copy.deepcopy(self)
        model.is_derived, model.mutual_information, model.has_batch_penalties = True, 0.0, False
        for block, members in zip(model._each(), structure, strict=True):
            block.keep(members)
        return model

    def export(self, task: str | None = None) -> nn.Module:
        """A copy for use; with ``keep``, of the derived network.

        Raises:
            ExportError: tasks are to keep some experts, and it is not decided yet which.
        """
        if self.keep is not None and not self.is_derived:
            raise ExportError("it is open which experts the tasks of this ModSquad keep; call derive() first")
        return super().export(task)

    def describe(self) -> dict[str, Any]:
        """Counts of parameters, ``"gates"`` per task and block, and ``"usage"``: running means per block and task."""
        gates = {
            task: describe_gates([block.gate(index) for block in self._each()]) for index, task in enumerate(self.tasks)
        }
        usage = [dict(zip(self.tasks, block.usage.tolist(), strict=True)) for block in self._each()]
        return {**super().describe(), "gates": gates, "usage": usage}

    # ---------------------------------------------------------------- other tasks

    def path(self, task: str) -> nn.Module:
        index = self.position(task)
        return nn.Sequential(*(_mixture(block, index) for block in self._each()), self.heads[index])

    def add_task(
        self, task: Task, *, freeze: Freeze = "none", head: nn.Module | None = None, example: Any = None
    ) -> Self:
        """A new model with one more task, which gets routers over all experts, and a head.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes everything that exists, ``"shared"`` the experts that tasks share.
            head: head of the new task; default by kind.
            example: sample input of the last block, only needed when the experts do not say their ``out_features``.
        """
        model = grown(self, task, freeze=freeze, shared=())
        if freeze == "shared":
            for expert in model._experts_of(None):
                freeze_module(expert)
        for block in model._each():
            block.add_task()
        last = list(model._each())[-1].experts[0]
        model.heads.append(build_head(task, last, others=self.heads, head=head, example=example))
        return model

    def forget(self, index: int) -> None:
        super().forget(index)
        for block in self._each():
            block.forget(index)


def _mixture(block: RoutedBlock, task: int) -> Mixture:
    """What one task computes in a block."""
    experts = Parallel([block.experts[member] for member in block.members[task]])
    level = ExpertLevel(experts, (), n_own=(), shared_gate=block.gate(task), gating=block.gating)
    return Mixture(level).train(block.training)


def _check(n_experts: int, mutual_information: float, momentum: float, keep: int | None) -> None:
    if n_experts < 2:
        raise TaskError(f"n_experts must be 2 or more, found {n_experts}")
    if not mutual_information >= 0:
        raise TaskError(f"mutual_information must be 0 or more, found {mutual_information!r}")
    if not 0 <= momentum < 1:
        raise TaskError(f"momentum must lie in [0, 1), found {momentum!r}")
    if keep is not None and not 1 <= keep <= n_experts:
        raise TaskError(f"keep must lie in 1..{n_experts} (the number of experts), found {keep}")
