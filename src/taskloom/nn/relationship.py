"""Deep relationship networks: a prior on the stacked weights of task towers learns how the tasks are related."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._batching import run_together
from taskloom.nn._grow import add_copy, grown
from taskloom.nn._inputs import read_request
from taskloom.nn._param_groups import Settings, two_groups
from taskloom.nn._tensor_normal import TensorNormal
from taskloom.nn.adapters import build_copies
from taskloom.nn.fork import fork
from taskloom.nn.heads.default import build_head, build_heads
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.nn.parallel import Parallel
from taskloom.nn.phase import Phase
from taskloom.task import Task

__all__ = ["RelationshipNetwork"]

Mode = Literal["feature", "output", "task"]
_AXES: tuple[Mode, ...] = ("feature", "output", "task")
_LARGEST = 8192
_SMALLEST_RIDGE = 1e-9


class RelationshipNetwork(MultiTaskModel):
    """A common trunk and one tower per task; the towers' weights share a tensor normal prior that is learned too.

    Soft sharing that finds out by itself which tasks are alike, and which are opposed: the task covariance of the prior
    pulls the weights of related tasks together. :meth:`task_correlation` shows it.

        penalty = strength * sum over layers of
            1/2 [ <W, W x_1 S_1^-1 x_2 S_2^-1 x_3 S_3^-1> + sum_m (D / D_m) log|S_m| ],   W of shape (in, out, K)

    With identity covariances this is weight decay ``strength/2 ||W||^2``: give these weights no other. Every ``every``
    steps the covariances take a flip-flop step towards the present weights.

    Args:
        trunk: module shared by all tasks.
        tasks: the tasks.
        tower: builds the tower of one task (a pattern module is copied and re-initialised); their heads are theirs too.
        strength: factor on the penalty; default 1e-3. As a prior it is 1/N for a loss that is the mean of N rows.
        modes: axes with a covariance of their own: ``"feature"`` (inputs of a layer), ``"output"``, ``"task"``; default
            ``("task",)``, what the authors' code does. The paper has all three.
        layers: name patterns of the tower's weights that are coupled; default ``("*",)``, all with two axes or more.
            The inputs of a convolution are its channels times its kernel.
        estimator: ``"flip-flop"``, or ``"mtrl"``: the task covariance with trace 1 in closed form,
            ``(M M^T)^(1/2) / trace``; for ``modes=("task",)`` only.
        every: steps between updates of the covariances; default 100, as in the authors' code.
        warmup: steps before the first; default 0.
        ridge: added to the diagonal of a covariance relative to its mean; default 1e-3 (our choice).
        smallest_variance: no variance under the prior counts as smaller, whatever the weights are, so that the penalty
            pulls a weight at most ``strength / smallest_variance`` times itself. Without a bound, weights and variances
            draw each other to zero. Default 0.003 (our choice). Gradient descent without momentum needs a learning rate
            below ``2 * smallest_variance / strength``. With ``"mtrl"``, whose trace is 1, the bound is at most 0.1 / K.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample output of the trunk, only needed when the tower does not say its ``out_features``.

    Raises:
        TaskError: towers of unequal shape, no layer to couple, an axis longer than 8,192 with a covariance of its own,
            an estimator that does not fit the modes, or a number out of its range.

    Cost:
        trunk and K towers; two buffers of D_1^2 + D_2^2 + K^2 numbers per layer for all modes; an update finds the
        eigenvectors of matrices of these sizes.

    Differs from the paper:
        log-determinants enter with a plus sign, as the likelihood has them. Only the product of the three scales is
        determined: features and outputs are normalised to mean variance 1. Variances have a smallest value, where the
        authors' code clips the trace of the inverse, and does not invert small singular values.

    Source:
        M. Long, J. Wang, Learning Multiple Tasks with Deep Relationship Networks, arXiv:1506.02117; M. Long, Z. Cao,
        J. Wang, P. S. Yu, Learning Multiple Tasks with Multilinear Relationship Networks, NeurIPS 2017; the closed
        form: Y. Zhang, D.-Y. Yeung, A Convex Formulation for Learning Task Relationships, UAI 2010.

    Example:
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())]
        >>> model = RelationshipNetwork(MLP(4, (16,)), tasks, tower=lambda: MLP(16, (8,)))
        >>> model.update_covariances()
        >>> model.task_correlation("0.0.weight").shape
        torch.Size([2, 2])
    """

    has_cut: bool = True

    def __init__(
        self,
        trunk: nn.Module,
        tasks: Sequence[Task],
        *,
        tower: nn.Module | Callable[[], nn.Module],
        strength: float = 1e-3,
        modes: Sequence[Mode] = ("task",),
        layers: Sequence[str] = ("*",),
        estimator: Literal["flip-flop", "mtrl"] = "flip-flop",
        every: int = 100,
        warmup: int = 0,
        ridge: float = 1e-3,
        smallest_variance: float = 3e-3,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(tasks)
        _check_settings(modes, estimator, strength=strength, every=every, warmup=warmup)
        _check_bounds(ridge, smallest_variance)
        self.strength, self.every, self.warmup = strength, every, warmup
        self.estimator, self.ridge, self.smallest_variance = estimator, ridge, smallest_variance
        self.modes = tuple(mode for mode in _AXES if mode in modes)
        self.trunk = trunk
        self.towers = build_copies(tower, len(self.tasks), what="tower")
        self.heads = build_heads(self.task_objects, self.towers[0], heads=heads, example=example)
        self.layers = _coupled(self.towers, layers, self.tasks)
        self.priors = nn.ModuleList(self._prior(name) for name in self.layers)

    def _prior(self, layer: str) -> TensorNormal:
        shape = self._stack(layer).shape
        axes = [_AXES.index(mode) for mode in self.modes]
        for axis in axes:
            if shape[axis] > _LARGEST:
                raise TaskError(
                    f"layer {layer!r} has {shape[axis]} {_AXES[axis]}s, too many for a covariance of them (at most "
                    f"{_LARGEST}); use modes=('task',), or leave the layer out of layers="
                )
        smallest = self.smallest_variance
        if self.estimator == "mtrl":  # with trace 1 the mean falls with the number of tasks
            smallest = min(smallest, 0.1 / len(self.towers))
        return TensorNormal(shape, modes=axes, ridge=self.ridge, smallest_variance=smallest)

    def _stack(self, layer: str) -> Tensor:
        """Weights of a layer of all towers, (in, out, K)."""
        weights = [dict(tower.named_parameters())[layer] for tower in self.towers]
        return torch.stack([weight.flatten(1).T for weight in weights], dim=-1)

    # ---------------------------------------------------------------- the forward pass

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        return self._behind([self.trunk(inputs)] * len(indices), indices)

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        return self._behind(run_together(self.trunk, parts), indices)

    def _behind(self, features: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        forked = [fork(part, self.tasks[index]) for part, index in zip(features, indices, strict=True)]
        return self.towers.run(forked, members=indices)

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

    # ---------------------------------------------------------------- the prior

    def penalties(self) -> dict[str, Tensor]:
        """``{"relationship": scalar}``."""
        values = [prior(self._stack(layer)) for layer, prior in zip(self.layers, self.priors, strict=True)]
        total: Tensor = self.strength * sum(values[1:], start=values[0])
        dtype = next(self.towers[0].parameters()).dtype
        return {"relationship": total.to(torch.promote_types(dtype, torch.float32))}  # float16 ends at 65,504

    @torch.no_grad()
    def update_covariances(self) -> None:
        """Take one flip-flop sweep (or the closed form) towards the present weights; training calls this by itself.

        Weights that are not finite have no covariance: a layer that has them keeps the one it had.
        """
        for layer, prior in zip(self.layers, self.priors, strict=True):
            assert isinstance(prior, TensorNormal)
            stack = self._stack(layer)
            if not stack.isfinite().all():
                continue
            if self.estimator == "mtrl":
                prior.set_covariance(_AXES.index("task"), _closed_form(stack, self.ridge))
            else:
                prior.update(stack)

    def task_correlation(self, layer: str | None = None) -> Tensor:
        """Correlations of the tasks under the prior, (K, K); of one coupled layer, or the mean over all.

        Raises:
            TaskError: the layer is not coupled, or the tasks have no covariance.
        """
        if "task" not in self.modes:
            raise TaskError(f"modes={self.modes} have no task covariance; build the network with 'task' among them")
        if layer is not None and layer not in self.layers:
            raise TaskError(f"layer {layer!r} is not coupled; coupled are {list(self.layers)}")
        chosen = self.layers if layer is None else (layer,)
        found = []
        for name, prior in zip(self.layers, self.priors, strict=True):
            assert isinstance(prior, TensorNormal)
            if name in chosen:
                covariance = prior.covariance(_AXES.index("task"))
                scale = covariance.diagonal().sqrt()
                found.append(covariance / (scale[:, None] * scale))
        return torch.stack(found).mean(0)

    def phases(self) -> Iterator[Phase]:
        """One phase, with updates of the covariances on the way."""
        yield Phase(name="train", on_step=self._refresh)

    def _refresh(self, step: int, n_steps: int) -> None:
        if step + 1 > self.warmup and (step + 1 - self.warmup) % self.every == 0:
            self.update_covariances()

    # ---------------------------------------------------------------- who owns what

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """The trunk."""
        return trainable(self.trunk)

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The tower and the head of the task."""
        index = self.position(task)
        return trainable(self.towers[index], self.heads[index])

    def param_groups(self, lr: float, *, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """Groups for an optimiser: the coupled weights have their prior, and no weight decay besides."""
        named = [dict(tower.named_parameters()) for tower in self.towers]
        coupled = [weights[layer] for weights in named for layer in self.layers]
        usual: Settings = {"lr": lr, "weight_decay": weight_decay}
        return two_groups(self, coupled, usual=usual, own={"lr": lr, "weight_decay": 0.0})

    def path(self, task: str) -> nn.Module:
        index = self.position(task)
        return nn.Sequential(self.trunk, self.towers[index], self.heads[index])

    def describe(self) -> dict[str, Any]:
        """Counts of parameters, and the task correlations where they are learned."""
        learned = {"task_correlation": self.task_correlation().tolist()} if "task" in self.modes else {}
        return {**super().describe(), **learned}

    def add_task(
        self, task: Task, *, freeze: Freeze = "none", head: nn.Module | None = None, example: Any = None
    ) -> Self:
        """A new model with one more tower and head; the new task starts uncorrelated.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes everything that exists, ``"shared"`` the trunk, ``"none"`` nothing.
            head: head of the new task; default by kind.
            example: sample output of the trunk, only needed when the tower does not say its ``out_features``.
        """
        model = grown(self, task, freeze=freeze, shared=("trunk",))
        add_copy(model.towers)
        model.heads.append(build_head(task, model.towers[-1], others=self.heads, head=head, example=example))
        model._renew_priors(lambda old: torch.block_diag(old, old.diagonal().mean().reshape(1, 1)))
        return model

    def forget(self, index: int) -> None:
        super().forget(index)
        del self.towers[index]
        kept = [position for position in range(len(self.tasks)) if position != index]
        self._renew_priors(lambda old: old[kept][:, kept])

    def _renew_priors(self, tasks: Callable[[Tensor], Tensor]) -> None:
        """Priors for another number of tasks, with the covariances learned so far."""
        olds, self.priors = self.priors, nn.ModuleList(self._prior(name) for name in self.layers)
        for old, new in zip(olds, self.priors, strict=True):
            assert isinstance(old, TensorNormal)
            assert isinstance(new, TensorNormal)
            for axis in new.modes:
                before = old.covariance(axis).double()
                new.set_covariance(axis, tasks(before) if _AXES[axis] == "task" else before)
        self.priors.to(next(self.towers.parameters()).device)


def _closed_form(stack: Tensor, ridge: float) -> Tensor:
    """``(M M^T)^(1/2) / trace`` for M the tasks' weights, (K, D), with a ridge; Zhang and Yeung's."""
    matrix = stack.double().flatten(0, 1).T
    matrix = matrix / matrix.abs().max().clamp(min=torch.finfo(matrix.dtype).tiny)  # the scale has no part in it
    values, vectors = torch.linalg.eigh(matrix @ matrix.T)
    roots = values.clamp(min=0).sqrt()
    total = roots.sum()
    shares = torch.where(total > 0, roots / total, 1 / len(roots))  # weights of zero say nothing about relations
    shares = (shares + ridge / len(roots)) / (1 + ridge)
    found: Tensor = (vectors * shares) @ vectors.T
    return found


def _coupled(towers: Parallel, patterns: Sequence[str], tasks: Sequence[str]) -> tuple[str, ...]:
    """Names of the weights to couple; equal in all towers."""
    first = {name: tuple(p.shape) for name, p in towers[0].named_parameters() if p.ndim >= 2}
    chosen = [name for name in first if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if not chosen:
        raise TaskError(f"no weight of the towers matches layers={list(patterns)}; weights: {list(first)}")
    for task, tower in zip(tasks[1:], list(towers)[1:], strict=True):
        shapes = {name: tuple(parameter.shape) for name, parameter in tower.named_parameters()}
        for name in chosen:
            if shapes.get(name) != first[name]:
                raise TaskError(
                    f"task networks cannot be coupled, {name!r} is {first[name]} for {tasks[0]!r} and "
                    f"{shapes.get(name, 'missing')} for {task!r}; build them with one factory"
                )
    return tuple(chosen)


def _check_settings(modes: Sequence[str], estimator: str, *, strength: float, every: int, warmup: int) -> None:
    unknown = [mode for mode in modes if mode not in _AXES]
    if unknown or not modes:
        raise TaskError(f"modes={tuple(modes)}: expected some of {list(_AXES)}")
    if estimator not in ("flip-flop", "mtrl"):
        raise TaskError(f"estimator must be 'flip-flop' or 'mtrl', found {estimator!r}")
    if estimator == "mtrl" and tuple(modes) != ("task",):
        raise TaskError(f"estimator='mtrl' is a closed form for modes=('task',), found modes={tuple(modes)}")
    if every < 1 or warmup < 0:
        raise TaskError(f"every must be 1 or more and warmup 0 or more, found {every!r} and {warmup!r}")
    if not strength >= 0:
        raise TaskError(f"strength must be 0 or more, found {strength!r}")


def _check_bounds(ridge: float, smallest_variance: float) -> None:
    if not ridge >= _SMALLEST_RIDGE:
        raise TaskError(f"ridge must be {_SMALLEST_RIDGE} or more, what rounding leaves of it, found {ridge!r}")
    if not 0 < smallest_variance < math.inf:
        raise TaskError(f"smallest_variance must be positive and finite, found {smallest_variance!r}; take 0.003")
