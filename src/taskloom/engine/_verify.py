"""The first-step check: task gradients add up to the gradient of the added losses, and ranks agree on the weights.

    sum_k c_k J_k = d (sum_k c_k l_k) / d theta,    c_k distinct

holds to rounding on the same graph whatever the model does (dropout draws its mask in the forward pass), because a
backward pass is linear. What breaks it: an engine that is wrong for this model, a custom autograd function or a tensor
hook that is not linear in the gradient it is handed, a backward pass that changes what it has saved. The coefficients
differ, so that gradients given to the wrong task are noticed too.
"""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from taskloom.balance.flow import Combination, Rows
from taskloom.engine._fsdp import is_sharded, local_part, shards
from taskloom.engine.autograd import AutogradEngine
from taskloom.engine.base import Cost, GradientEngine, Layout, ParameterRows, ranks
from taskloom.engine.sharded import GatheredFeatureEngine, ShardedEngine
from taskloom.errors import EngineError

__all__ = ["Verification", "When", "require_same_tasks"]

When = Literal["first", "always", "never"]


class Verification:
    """The checks of one step, if any: those of the first step of a balancer with an engine, or of every step.

    It stands in for the engine while gradients are measured.

    Args:
        when: "first", "always" or "never".
        balancer: the balancer of the step.
        engine: what measures task gradients.
        is_default: whether the engine was chosen, not given; chosen ones of a kind are alike.
        shared: what the caller passed as shared parameters, for their names.
    """

    def __init__(
        self, when: When, balancer: nn.Module, engine: GradientEngine, *, is_default: bool, shared: object = None
    ) -> None:
        self._when, self._balancer, self._engine, self._shared = when, balancer, engine, shared
        self._pair: Any = type(engine) if is_default else _reference(engine)
        self._has_added_up = False

    def is_due(self, *, with_gradients: bool) -> bool:
        """Whether this step is checked."""
        if self._when == "first":
            return (self._pair, with_gradients) not in _done.get(self._balancer, ())
        return self._when == "always"

    # -- the engine ------------------------------------------------------------------------------------------------

    def rows(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Rows:
        """What the engine measures, after the check of its sum; once per step.

        Raises:
            EngineError: the task gradients do not add up, or the graph is watched by a static-graph reducer.
        """
        if ranks() > 1 and ("graph", True) not in (done := _done.setdefault(self._balancer, set())):
            _refuse_static_graph(losses)
            done.add(("graph", True))
        rows = self._engine.rows(losses, parameters)
        starts_inside = isinstance(self._engine, GatheredFeatureEngine)  # of the graph, where FSDP gathers nothing
        if not self._has_added_up and not starts_inside and self.is_due(with_gradients=True):
            self._has_added_up = self._adds_up(rows, losses, parameters)
        return rows

    def gramian(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
        """G = J J^T, shape (K, K)."""
        return self.rows(losses, parameters).gramian()

    def cost(self, parameters: Sequence[Tensor], n_tasks: int) -> Cost:
        """What the engine costs; the check adds one backward pass to the first step."""
        return self._engine.cost(parameters, n_tasks)

    # -- the checks ------------------------------------------------------------------------------------------------

    def agree(self, tasks: Sequence[str], combination: Combination) -> None:
        """Compare the decision of all ranks, and note that this pair was checked.

        Raises:
            EngineError: ranks have found different weights.
        """
        if not self.is_due(with_gradients=self._has_added_up):
            return
        if ranks() > 1:
            _require_agreement(tasks, combination)
        _done.setdefault(self._balancer, set()).add((self._pair, self._has_added_up))

    def _adds_up(self, rows: Rows, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> bool:
        """Whether the check could be made: not where gradients overflow, which is reported elsewhere."""
        factors = _coefficients(len(losses))
        terms = [float(factor) * loss for factor, loss in zip(factors, losses, strict=True) if loss is not None]
        total = torch.stack(terms).sum() if terms else None
        engine = ShardedEngine() if any(map(is_sharded, parameters)) else AutogradEngine()
        expected = engine.rows([total], parameters).gradients(factors.new_ones(1))
        found: Sequence[Tensor | None]
        if isinstance(rows, ParameterRows):
            found = rows.gradients(factors)
        else:
            found = Layout(parameters).split(rows.combine(factors))
        device = next((loss.device for loss in losses if loss is not None), parameters[0].device)
        sizes = _squares(expected, found, parameters, device)  # (3, P): of the difference, of both
        if not bool(torch.isfinite(sizes).all()):
            return False
        difference, first, second = sizes.sqrt()
        whole = (first + second).norm()
        if isinstance(rows, ParameterRows):  # single gradients can be large and cancel
            whole = whole + float(factors @ rows.gramian().detach().to(factors).diagonal().clamp(min=0).sqrt())
        unit = _rounding([loss for loss in losses if loss is not None], parameters)
        allowed = unit**0.5 * (first + second) + 4 * unit * whole
        wrong = (difference > allowed).nonzero().flatten().tolist()
        if wrong:
            share = difference / torch.where(first + second > 0, first + second, 1)
            raise EngineError(_explained(self._engine, wrong, parameters, share, unit**0.5, self._shared))
        return True


_done: weakref.WeakKeyDictionary[nn.Module, set[Any]] = weakref.WeakKeyDictionary()


def _reference(engine: GradientEngine) -> Any:
    try:
        return weakref.ref(engine)
    except TypeError:
        return type(engine)


def _coefficients(n_tasks: int) -> Tensor:
    """Distinct numbers between 1 and 2 that float32 holds exactly, the same on all ranks."""
    return 1 + (torch.arange(n_tasks, dtype=torch.float64) * 0.618034 % 1 * 256).round() / 256


def _squares(
    expected: Sequence[Tensor | None],
    found: Sequence[Tensor | None],
    parameters: Sequence[Tensor],
    device: torch.device,
) -> Tensor:
    """Squared norms (3, P) of the difference and of both, over all ranks."""
    columns = []
    accurate = torch.float32 if any(one.device.type == "mps" for one in parameters) else torch.float64
    for first, second, parameter in zip(expected, found, parameters, strict=True):
        zero = torch.zeros((), device=parameter.device, dtype=accurate)
        one, other = (zero if gradient is None else local_part(gradient).to(accurate) for gradient in (first, second))
        columns.append(torch.stack([(one - other).square().sum(), one.square().sum(), other.square().sum()]))
    sizes = torch.stack([column.to(device) for column in columns], dim=1).detach()
    if ranks() > 1:
        torch.distributed.all_reduce(sizes)
    return sizes.cpu()


def _nodes(losses: Iterable[Tensor | None]) -> Iterator[Any]:
    """Every node of a graph, once."""
    seen: set[Any] = set()
    waiting: list[Any] = [None if loss is None else loss.grad_fn for loss in losses]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            waiting.extend(following for following, _ in node.next_functions)


def _refuse_static_graph(losses: Iterable[Tensor | None]) -> None:
    """DistributedDataParallel(static_graph=True) takes the first pass, which measures, for the one that trains."""
    for node in _nodes(losses):
        wrapper = getattr(node, "ddp_weakref", None)
        if wrapper is not None and getattr(wrapper(), "static_graph", False):
            raise EngineError(
                "DistributedDataParallel(static_graph=True) would take the passes that measure task gradients for "
                "training and stop averaging the gradients of heads; leave static_graph out, "
                "find_unused_parameters=True does what is needed"
            )


def _rounding(losses: Iterable[Tensor], parameters: Sequence[Tensor]) -> float:
    """Unit of rounding of the coarsest arithmetic in a graph."""
    dtypes = {one.dtype for one in parameters}
    dtypes.update(reduced for shard in shards() if (reduced := shard.managed.reduce_dtype) is not None)
    for node in _nodes(losses):
        if "Compiled" in node.name():  # its arithmetic cannot be seen
            dtypes.add(torch.bfloat16)
        dtypes.update(given.dtype for given in getattr(node, "_input_metadata", ()))
    unit = max(torch.finfo(dtype).eps for dtype in dtypes if dtype.is_floating_point)
    shortened = torch.get_float32_matmul_precision() != "highest"
    if torch.float32 in dtypes and (shortened or any(one.device.type == "cuda" for one in parameters)):
        unit = max(unit, 2.0**-7 if shortened else 2.0**-10)  # matrix products with shorter mantissas (TF32)
    return float(unit)


def _explained(
    engine: GradientEngine,
    wrong: Sequence[int],
    parameters: Sequence[Tensor],
    share: Tensor,
    allowed: float,
    shared: object,
) -> str:
    names: Mapping[int, str | None] = {id(shard.parameter): shard.name for shard in shards()}
    if isinstance(shared, nn.Module):
        names = {**names, **{id(parameter): name for name, parameter in shared.named_parameters()}}
    worst = sorted(wrong, key=lambda place: -float(share[place]))[:3]
    listed = []
    for place in worst:
        parameter = parameters[place]
        name = names.get(id(parameter))
        called = f"number {place}" if name is None else f"{name!r} (number {place})"
        listed.append(f"{called} of shape {tuple(parameter.shape)}: off by {float(share[place]):.1%} of its size")
    return (
        f"the task gradients that {type(engine).__name__} measured do not add up to the gradient of the added losses, "
        f"at {len(wrong)} of {len(parameters)} shared parameters; {'; '.join(listed)} (allowed: {allowed:.1e}). Look "
        "there for a custom autograd function or a tensor hook whose backward is not linear (clipping, noise, changes "
        "in place); in float16 pass scaler=. If engine=taskloom.engine.AutogradEngine() passes, the engine is wrong "
        "for this model: please report it. verify='never' leaves the check out"
    )


def _require_agreement(tasks: Sequence[str], combination: Combination) -> None:
    weights = combination.weights.detach()
    values = [weights.double()]
    if combination.direction is not None:
        direction = combination.direction.detach().double()
        values.append(torch.stack([direction.sum(), direction.norm()]).to(weights.device))
    here = torch.cat(values)
    high = torch.cat([here, -here])
    torch.distributed.all_reduce(high, op=torch.distributed.ReduceOp.MAX)
    high, low = high[: len(here)], -high[len(here) :]
    apart = high - low > 1e-6 * torch.maximum(high.abs(), low.abs())
    if bool(apart.any()):
        shown = ", ".join(f"{task} {value:.6g}" for task, value in zip(tasks, weights.tolist(), strict=True))
        raise EngineError(
            f"the ranks have found different weights; those of rank {torch.distributed.get_rank()} are {shown}. Give "
            "the balancer the same tasks in the same order, the same seed and the same state on every rank (load the "
            "same checkpoint), and average the gradients of its own parameters over the ranks"
        )


def require_same_tasks(tasks: Sequence[str], like: Tensor) -> None:
    """Refuse, on all ranks, a step whose tasks are not the same everywhere; nothing else could be exchanged.

    Raises:
        EngineError: names or their order differ.
    """
    number = float(zlib.crc32("\n".join(tasks).encode()))
    both = torch.tensor([number, -number], dtype=torch.float64, device=like.device)
    torch.distributed.all_reduce(both, op=torch.distributed.ReduceOp.MAX)
    if float(both.sum()) != 0:
        raise EngineError(
            f"the ranks have losses of different tasks, rank {torch.distributed.get_rank()} of {list(tasks)}; call "
            "balancer.bind(tasks) with all tasks before the first step, then a rank may lack some"
        )
