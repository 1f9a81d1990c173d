"""Hard and soft sharing together: a common trunk, and task encoders behind it that are tied to a common copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn

from taskloom.couplings.base import ParameterCoupling
from taskloom.couplings.softshare import CentreDistance
from taskloom.nn._batching import run_together
from taskloom.nn._grow import add_copy, grown
from taskloom.nn._inputs import read_request
from taskloom.nn._tie import Tie
from taskloom.nn.adapters import build_copies
from taskloom.nn.fork import fork
from taskloom.nn.heads.default import build_head, build_heads
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.task import Task

__all__ = ["HardSoftMix"]


class HardSoftMix(MultiTaskModel):
    """A trunk for all tasks, then one encoder per task, all tied to one common copy.

    Early layers are shared outright, later ones may differ as far as the data ask for it.

        y_t = head_t(f_t(trunk(x))),   penalty = strength * sum_t ||theta_t - theta'||^2

    Args:
        trunk: the common part, any module.
        tasks: the tasks.
        encoder: function without arguments that builds the encoder of a task, or one to copy and re-initialise; it
            reads the output of the trunk.
        coupling: the penalty; default ``CentreDistance()``, whose common copy theta' is learned by the penalty alone.
        layers: which layers of the task encoders are tied, as in :class:`SoftSharing`; default all.
        same_start: start all task encoders from the weights of the first; default False.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample output of the trunk, only needed when the encoder does not say its ``out_features``.

    Raises:
        TaskError: encoders of different structure, layers that do not exist, heads that do not match.

    Cost:
        one trunk and K task encoders.

    Differs from the paper:
        the trunk comes first and the tied encoders read it; the sum of losses plus the distance to a common copy is
        that of the source.

    Source:
        L. Duong, T. Cohn, S. Bird, P. Cook, ACL-IJCNLP 2015, for the distance; T. Evgeniou, M. Pontil, Regularized
        Multi-Task Learning, KDD 2004, for the common copy; R. Caruana, Multitask Learning, 1997, for the trunk.

    Example:
        >>> import torch
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())]
        >>> model = HardSoftMix(MLP(4, (16,)), tasks, encoder=lambda: MLP(16, (8,)))
        >>> model(torch.zeros(3, 4))["a"].shape, sorted(model.penalties())
        (torch.Size([3, 1]), ['soft_sharing'])
    """

    has_cut: bool = True

    def __init__(
        self,
        trunk: nn.Module,
        tasks: Sequence[Task],
        *,
        encoder: nn.Module | Callable[[], nn.Module],
        coupling: ParameterCoupling | None = None,
        layers: Sequence[int | str] | None = ("*",),
        same_start: bool = False,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(tasks)
        self.trunk = trunk
        self.encoders = build_copies(encoder, len(self.tasks), same=same_start)
        self.heads = build_heads(self.task_objects, self.encoders[0], heads=heads, example=example)
        chosen = coupling if coupling is not None else CentreDistance()
        self.tie = Tie(self.encoders, self.tasks, coupling=chosen, layers=layers)

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        return self._behind([self.trunk(inputs)] * len(indices), indices)

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        return self._behind(run_together(self.trunk, parts), indices)

    def _behind(self, features: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        forked = [fork(part, self.tasks[index]) for part, index in zip(features, indices, strict=True)]
        return self.encoders.run(forked, members=indices)

    def encode(self, inputs: Any, tasks: Sequence[str] | None = None) -> tuple[Any, ...]:
        """Output of the trunk: one for all tasks, or one per task when each brings its own input."""
        request = read_request(inputs, tasks, self._positions)
        if request.parts is None:
            return (self.trunk(inputs),)
        return tuple(run_together(self.trunk, request.parts))

    def decode(self, cut: Sequence[Any], tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Outputs from the trunk's output; the tasks of an encoded mapping must be named, in model order."""
        request = read_request(None, tasks, self._positions)
        features = list(cut) * len(request.names) if len(cut) == 1 else list(cut)
        outputs = self.decide(self._behind(features, request.indices), request.indices)
        return dict(zip(request.names, outputs, strict=True))

    def penalties(self) -> dict[str, Tensor]:
        """``{"soft_sharing": scalar}``; empty for a single task."""
        penalty = self.tie.penalty(self.encoders)
        return {} if penalty is None else {"soft_sharing": penalty}

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """The trunk."""
        return trainable(self.trunk)

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The encoder and the head of the task."""
        index = self.position(task)
        return trainable(self.encoders[index], self.heads[index])

    def coupling_parameters(self) -> Iterator[nn.Parameter]:
        """The common copy, where the coupling has one."""
        return self.tie.centre_parameters()

    def path(self, task: str) -> nn.Module:
        index = self.position(task)
        return nn.Sequential(self.trunk, self.encoders[index], self.heads[index])

    def add_task(
        self, task: Task, *, freeze: Freeze = "none", head: nn.Module | None = None, example: Any = None
    ) -> Self:
        """A new model with one more task encoder and head.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes everything that exists, ``"shared"`` the trunk, ``"none"`` nothing.
            head: head of the new task; default by kind.
            example: sample output of the trunk, only needed when the encoder does not say its ``out_features``.
        """
        model = grown(self, task, freeze=freeze, shared=("trunk",))
        add_copy(model.encoders)
        model.heads.append(build_head(task, model.encoders[-1], others=self.heads, head=head, example=example))
        model.tie.recheck(model.encoders, model.tasks)
        return model

    def forget(self, index: int) -> None:
        super().forget(index)
        del self.encoders[index]
        self.tie.forget(index)
