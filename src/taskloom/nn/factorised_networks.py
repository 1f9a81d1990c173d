"""Single-task networks that are trained, and then go on as one tensor-factorised network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from taskloom.errors import ExportError, TaskError
from taskloom.nn.factorised import TensorFactorised, without_warning
from taskloom.nn.factors.base import Factorisation, ranked
from taskloom.nn.factors.laf import LAF
from taskloom.nn.independent import Independent
from taskloom.nn.phase import Phase
from taskloom.task import Task

__all__ = ["FactorisedNetworks"]


class FactorisedNetworks(Independent):
    """Single-task networks that are trained first; their weights are factorised, and the factors trained on.

    Training goes through two phases: every task learns its own network; then :meth:`derive` factorises the stacked
    weights into a :class:`~taskloom.nn.TensorFactorised`. What the networks have in common is in the factors from the
    start, and a relative error as rank finds out how much that is. Factors of freshly drawn weights have nothing in
    common: they need far more training, and small ranks may never be reached.

    Args:
        encoder: builds the encoder of one task (a pattern module is copied and re-initialised).
        tasks: the tasks.
        factorisation: as in :class:`~taskloom.nn.TensorFactorised`; default LAF with a relative error of 0.1, about
            what the paper uses.
        merge_kernel: as there.
        weight_penalty: as there, for the second phase.
        single_epochs: epochs of the single-task networks; default 20 (our choice).
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input, only needed when the encoder does not say its ``out_features``.

    Raises:
        TaskError: fewer than one epoch, and what :class:`~taskloom.nn.TensorFactorised` raises.
        CompressionWarning: (a warning, by :meth:`derive`) the factors have more parameters than the weights that they
            generate.

    Cost:
        K encoders in both phases, one singular value decomposition per axis of every stacked weight between them.

    Differs from the paper:
        as :class:`~taskloom.nn.TensorFactorised` does.

    Source:
        Y. Yang, T. Hospedales, Deep Multi-task Representation Learning: A Tensor Factorisation Approach, ICLR 2017,
        arXiv:1605.06391.

    Example:
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name=name, kind=Regression()) for name in "abc"]
        >>> model = FactorisedNetworks(lambda: MLP(4, (8,)), tasks)
        >>> [phase.name for phase in model.phases()], type(model.derive()).__name__
        (['single tasks', 'train'], 'TensorFactorised')
    """

    def __init__(
        self,
        encoder: nn.Module | Callable[[], nn.Module],
        tasks: Sequence[Task],
        *,
        factorisation: Factorisation | Sequence[Factorisation] | None = None,
        merge_kernel: bool = True,
        weight_penalty: float = 0.0,
        single_epochs: int = 20,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(encoder, tasks, heads=heads, example=example)
        if single_epochs < 1:
            raise TaskError(f"single_epochs must be 1 or more, found {single_epochs!r}; TensorFactorised has no phase")
        self.factorisation = LAF() if factorisation is None else factorisation
        self.merge_kernel, self.weight_penalty, self.single_epochs = merge_kernel, weight_penalty, single_epochs

    def phases(self) -> Iterator[Phase]:
        """Single-task networks, then their factors."""
        yield Phase(name="single tasks", epochs=self.single_epochs, derives=True)
        yield Phase(name="train")

    def derive(self) -> TensorFactorised:
        """The factorised networks; nothing is shared with those of before."""
        return self._factorised(self.factorisation)

    def with_structure(self, structure: Mapping[str, Sequence[Sequence[int]]]) -> TensorFactorised:
        """Networks of these shapes, factorised to given ranks."""
        with without_warning():
            return self._factorised(ranked(self.factorisation, structure["ranks"]))

    def _factorised(self, factorisation: Factorisation | Sequence[Factorisation]) -> TensorFactorised:
        return TensorFactorised.from_networks(
            list(self.encoders),
            self.task_objects,
            factorisation=factorisation,
            merge_kernel=self.merge_kernel,
            weight_penalty=self.weight_penalty,
            heads=dict(zip(self.tasks, copy.deepcopy(self.heads), strict=True)),
        )

    def export(self, task: str | None = None) -> nn.Module:
        """Not before the networks are factorised.

        Raises:
            ExportError: always; ``derive().export(task)`` works.
        """
        raise ExportError("these FactorisedNetworks are not factorised yet; call derive() first")
