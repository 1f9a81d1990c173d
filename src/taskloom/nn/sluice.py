"""Sluice networks: cross-stitch between subspaces of channels, and features read off all layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._layer_mixing import LayerMixing
from taskloom.nn._orthogonality import SubspaceOrthogonality
from taskloom.nn._param_groups import UNIT_LR_FACTOR
from taskloom.nn._stages import Stages
from taskloom.nn._stitched import StitchedNetworks
from taskloom.nn.mixing import Mixing
from taskloom.nn.model import trainable
from taskloom.task import Task

__all__ = ["Sluice"]


class Sluice(StitchedNetworks):
    """One encoder per task; every layer is shared in part, and every task reads the layers that serve it.

    The channels of each layer are split into subspaces, which are mixed across tasks as in :class:`CrossStitch`; a task
    may share one subspace and keep the other to itself. The features are a weighted sum over layers. Between hard
    sharing, cross-stitch networks and supervision at different depths, which are all special cases.

        h~_(t,s) = sum_(t',s') alpha[t S + s, t' S + s'] h_(t',s'),    rep_t = sum_l beta_t[l] h~_t^l

    The penalty ``model.penalties()["orthogonality"]`` keeps the subspaces of a layer from learning the same.

    Args:
        stages: the encoder in stages, see :class:`CrossStitch`.
        tasks: the tasks.
        after: indices of the stages behind which the networks are mixed; default all.
        subspaces: number S of subspaces of the channels; default 2, as in the paper.
        alpha: mixing at the start: ``"own"`` (default): 0.9 for the same subspace of the same task, the rest spread
            over the other tasks; ``"balanced"``: all equal; ``"imbalanced"``: 0.9 on the diagonal, the rest spread
            over everything else; or a matrix (K S, K S).
        beta: weights of the layers at the start: ``"imbalanced"`` (default): 0.9 for the last; ``"balanced"``: all
            equal; or a tensor (L,). With one stage it is fixed to 1.
        orthogonality: the penalty; None: none. Default ``SubspaceOrthogonality()``.
        project: map layers of other width to that of the last one by a matrix per layer and task; default False: all
            layers must have one width.
        channels: number of channels behind each stage, for ``project``; default: from ``example`` or the layers.
        dimension: axis of the channels, 1 (default) for (n, D) and images, 2 for tokens (n, N, D).
        same_start: give all encoders the weights of the first, for pretrained encoders; default False.
        unit_lr_factor: learning rate of the mixing weights over that of the networks in :func:`taskloom.fit`; default 1
            (measured for AdamW). The paper has more, with plain gradient steps: see ``model.param_groups``.
        single_task_epochs: train the networks apart for so many epochs before they are mixed; default 0.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input of the encoder, only needed when the layers do not say how wide the features are.

    Raises:
        TaskError: settings outside their range, widths that differ without ``project`` or do not divide into subspaces.

    Cost:
        K encoders; a unit costs one (K S x K S) matrix product.

    Differs from the paper:
        the start of alpha; any encoder, K tasks; for more than two subspaces the penalty sums over pairs; ``project``.

    Source:
        S. Ruder, J. Bingel, I. Augenstein, A. Søgaard, Latent Multi-task Architecture Learning, AAAI 2019,
        arXiv:1705.08142.

    Example:
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())]
        >>> model = Sluice(MLP(4, (8, 8)), tasks)
        >>> model(torch.zeros(3, 4))["b"].shape, model.units[0].weight.shape, sorted(model.penalties())
        (torch.Size([3, 1]), torch.Size([4, 4]), ['orthogonality'])
    """

    orthogonality_strength: Tensor

    def __init__(
        self,
        stages: Stages,
        tasks: Sequence[Task],
        *,
        after: Sequence[int] | None = None,
        subspaces: int = 2,
        alpha: Literal["own", "balanced", "imbalanced"] | Tensor = "own",
        beta: Literal["balanced", "imbalanced"] | Tensor = "imbalanced",
        orthogonality: SubspaceOrthogonality | None = SubspaceOrthogonality(),  # noqa: B008 - a frozen record
        project: bool = False,
        channels: Sequence[int] | None = None,
        dimension: int = 1,
        same_start: bool = False,
        unit_lr_factor: float = UNIT_LR_FACTOR,
        single_task_epochs: int = 0,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(
            stages,
            tasks,
            channels=channels,
            dimension=dimension,
            same_start=same_start,
            unit_lr_factor=unit_lr_factor,
            single_task_epochs=single_task_epochs,
            heads=heads,
            example=example,
        )
        n_stages = len(self.stages)
        start = _alpha(alpha, len(self.tasks), subspaces)
        layer_weights = _beta(beta, n_stages)
        self.subspaces = subspaces
        self.project = project
        self._check_widths(project)
        self.connect(
            range(n_stages) if after is None else after,
            unit=lambda place: Mixing(len(self.tasks), subspaces=subspaces, init=start, dimension=dimension),
            readout=lambda: LayerMixing(layer_weights, projections=self._projections(), dimension=dimension),
        )
        self.orthogonality = orthogonality if subspaces > 1 else None
        if self.orthogonality is not None:
            # float64 so that the strength given is the strength used, whatever the precision of the networks
            strength = torch.tensor(self.orthogonality.strength, dtype=torch.float64)
            self.register_buffer("orthogonality_strength", strength)
            for stage in self._stages():
                self.orthogonality.check(stage[0], subspaces)

    def _check_widths(self, project: bool) -> None:
        known = {width for width in self.widths if width is not None}
        if not project and len(known) > 1:
            raise TaskError(
                f"the layers are {self.widths} channels wide, and a task's features are a sum over layers; give "
                "project=True, or stages of one width"
            )

    def _projections(self) -> list[nn.Module | None]:
        if not self.project:
            return [None] * len(self.stages)
        widths = [self.width(place) for place in range(len(self.stages))]
        return [None if width == widths[-1] else nn.Linear(width, widths[-1], bias=False) for width in widths]

    def penalties(self) -> dict[str, Tensor]:
        """``{"orthogonality": scalar}``; empty with one subspace, and without the penalty."""
        if self.orthogonality is None:
            return {}
        overlaps = [self.orthogonality.overlap(list(stage), self.subspaces) for stage in self._stages()]
        total = torch.stack(overlaps).sum()
        return {"orthogonality": self.orthogonality_strength.to(total.dtype) * total}

    def mixing_parameters(self) -> Iterator[nn.Parameter]:
        """The alphas and the betas."""
        yield from super().mixing_parameters()
        yield from trainable(*(readout.beta for readout in self.readouts if isinstance(readout, LayerMixing)))

    def describe(self) -> dict[str, Any]:
        """As :class:`CrossStitch`; ``layers``: task -> weight of each stage in its features."""
        betas = [readout.beta.tolist() for readout in self.readouts if isinstance(readout, LayerMixing)]
        return {**super().describe(), "layers": dict(zip(self.tasks, betas, strict=True))}


def _alpha(given: str | Tensor, n_tasks: int, subspaces: int) -> Tensor:
    """The matrix (K S, K S) to start from."""
    if isinstance(given, Tensor):
        return given
    if given not in ("own", "balanced", "imbalanced"):
        raise TaskError(f"alpha must be 'own', 'balanced', 'imbalanced' or a matrix, found {given!r}")
    if subspaces < 1:
        raise TaskError(f"subspaces must be 1 or more, found {subspaces}")
    size = n_tasks * subspaces
    if given == "balanced":
        return torch.full((size, size), 1 / size, dtype=torch.float64)
    own = torch.eye(size, dtype=torch.float64)
    if size == 1 or (given == "own" and n_tasks == 1):
        return own
    same_task = torch.block_diag(*[torch.ones(subspaces, subspaces, dtype=torch.float64)] * n_tasks)
    others = 1 - (same_task if given == "own" else own)
    return 0.9 * own + 0.1 * others / others.sum(1, keepdim=True)


def _beta(given: str | Tensor, n_stages: int) -> Tensor:
    """The weights (L,) to start from."""
    if isinstance(given, Tensor):
        if given.shape != (n_stages,):
            raise TaskError(f"beta must have one weight for each of {n_stages} stages, found {tuple(given.shape)}")
        return given.detach().double()
    if given not in ("balanced", "imbalanced"):
        raise TaskError(f"beta must be 'balanced', 'imbalanced' or a tensor, found {given!r}")
    if n_stages == 1 or given == "balanced":
        return torch.full((n_stages,), 1 / n_stages, dtype=torch.float64)
    weights = torch.full((n_stages,), 0.1 / (n_stages - 1), dtype=torch.float64)
    weights[-1] = 0.9
    return weights
