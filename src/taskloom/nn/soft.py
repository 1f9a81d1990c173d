"""Soft parameter sharing: one network per task, tied by a penalty on their parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn

from taskloom.couplings.base import ParameterCoupling
from taskloom.couplings.softshare import PairwiseDistance
from taskloom.nn._separate import SeparateEncoders
from taskloom.nn._tie import Tie
from taskloom.nn.model import Freeze
from taskloom.task import Task

__all__ = ["SoftSharing"]


class SoftSharing(SeparateEncoders):
    """One encoder per task, and a penalty that keeps the encoders alike.

    Between independent networks (strength 0) and equal encoders (large strength). The penalty is
    ``model.penalties()["soft_sharing"]``, to be added once to the objective; no parameter is reached by two task
    losses, so there is nothing for a gradient balancer to balance.

        y_t = head_t(f_t(x)),   penalty = strength * distance(theta_1, ..., theta_K)

    Args:
        encoder: function without arguments that builds a new encoder, or an encoder to copy and re-initialise.
        tasks: the tasks.
        coupling: the penalty, an object of :mod:`taskloom.couplings`: ``PairwiseDistance`` (default),
            ``CentreDistance``, ``GraphDistance``, ``TraceNorm``.
        layers: which layers of the encoder are coupled: stage indices (top-level children, 0 is nearest the input) or
            patterns of parameter names, ``["*"]`` for all; default all stages but the last.
        same_start: start all encoders from the weights of the first; default False.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input, only needed when the encoder does not say its ``out_features``.

    Raises:
        TaskError: encoders of different structure, layers that do not exist, a similarity of another size.

    Cost:
        K encoders; the penalty costs O(K P), for the trace norm see there.

    Differs from the paper:
        which layers are tied is a choice; the default follows the usual practice of tying those nearest the input.

    Source:
        L. Duong, T. Cohn, S. Bird, P. Cook, Low Resource Dependency Parsing: Cross-lingual Parameter Sharing in a
        Neural Network Parser, ACL-IJCNLP 2015 (squared distance); Y. Yang, T. Hospedales, Trace Norm Regularised Deep
        Multi-Task Learning, ICLR 2017 workshop, arXiv:1606.04038 (trace norm).

    Example:
        >>> from taskloom.couplings import PairwiseDistance
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())]
        >>> model = SoftSharing(lambda: MLP(4), tasks, coupling=PairwiseDistance(0.1), same_start=True)
        >>> model.penalties()["soft_sharing"].item()
        0.0
    """

    def __init__(
        self,
        encoder: nn.Module | Callable[[], nn.Module],
        tasks: Sequence[Task],
        *,
        coupling: ParameterCoupling | None = None,
        layers: Sequence[int | str] | None = None,
        same_start: bool = False,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(encoder, tasks, same_start=same_start, heads=heads, example=example)
        chosen = coupling if coupling is not None else PairwiseDistance()
        self.tie = Tie(self.encoders, self.tasks, coupling=chosen, layers=layers)

    def penalties(self) -> dict[str, Tensor]:
        """``{"soft_sharing": scalar}``; empty for a single task."""
        penalty = self.tie.penalty(self.encoders)
        return {} if penalty is None else {"soft_sharing": penalty}

    def proximal_step(self, learning_rate: float) -> None:
        """Pull the encoders together after an optimiser step, in place of adding the penalty to the objective.

        The exact proximal step of the penalty: it never overshoots, so that very strong couplings work with plain
        gradient descent. Frozen encoders stay where they are.

        Args:
            learning_rate: that of the optimiser step.

        Raises:
            TaskError: the coupling has no closed form (the trace norm, the learned centre).

        Example:
            >>> from taskloom.nn import MLP
            >>> from taskloom.task import Regression
            >>> tasks = [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())]
            >>> model = SoftSharing(lambda: MLP(4), tasks, coupling=PairwiseDistance(1e9))
            >>> model.proximal_step(0.1)
            >>> first, second = (encoder[0][0].weight for encoder in model.encoders)
            >>> (first - second).abs().max().item() < 1e-7
            True
        """
        self.tie.proximal_step(self.encoders, learning_rate)

    def coupling_parameters(self) -> Iterator[nn.Parameter]:
        """The common copy, where the coupling has one."""
        return self.tie.centre_parameters()

    def add_task(
        self, task: Task, *, freeze: Freeze = "none", head: nn.Module | None = None, example: Any = None
    ) -> Self:
        """A new model with one more task, whose encoder is tied to the old ones (see :class:`Independent`)."""
        model = super().add_task(task, freeze=freeze, head=head, example=example)
        model.tie.recheck(model.encoders, model.tasks)
        return model

    def forget(self, index: int) -> None:
        super().forget(index)
        self.tie.forget(index)
