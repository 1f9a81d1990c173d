"""Tensor-factorised networks: every task has its own weights, generated from factors that the tasks share."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from taskloom.errors import TaskError
from taskloom.nn._batching import casts, computes_together
from taskloom.nn._grow import freeze_module, grown
from taskloom.nn._hollow import filled, hollow
from taskloom.nn._param_groups import Settings, two_groups
from taskloom.nn.adapters import build_copies
from taskloom.nn.factors.base import Basis, Factorisation, ranked
from taskloom.nn.factors.laf import LAF
from taskloom.nn.heads.default import build_head, build_heads
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.task import Task

__all__ = ["CompressionWarning", "TensorFactorised", "without_warning"]

_LOOP_UP_TO = 4  # tasks: one batched computation of their encoders is slower for two, and wins little for four


class CompressionWarning(UserWarning):
    """The factors of a network have more parameters than the weights that they generate.

    Example:
        >>> issubclass(CompressionWarning, UserWarning)
        True
    """


@contextmanager
def without_warning() -> Iterator[None]:
    """Build networks without a :class:`CompressionWarning`: who builds them knows the sizes, or will be shown them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CompressionWarning)
        yield


class TensorFactorised(MultiTaskModel):
    """One encoder per task, whose weights are combinations of common ones.

    Between independent networks (full rank) and hard sharing (rank 1 with equal s_t): how much is shared, and in which
    layers, is learned with the factors. Matrices and kernels are generated; biases and other vectors stay the task's.

    Args:
        encoder: builds the encoder of one task (a pattern module is copied and re-initialised).
        tasks: the tasks.
        factorisation: :class:`~taskloom.nn.factors.LAF` (default), :class:`~taskloom.nn.factors.Tucker` or
            :class:`~taskloom.nn.factors.TensorTrain`, with its ranks; or one for each matrix and kernel, in the order
            of the encoder's parameters.
        merge_kernel: take the axes of a convolution's kernel as one; default True.
        weight_penalty: strength of ``1/2 sum_t ||W_t||^2``, since weight decay on factors is not that on weights;
            default 0.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input, only needed when the encoder does not say its ``out_features``.

    The factors start as those of K freshly drawn encoders; :meth:`from_networks` starts from trained single-task
    networks, as the paper recommends, and :class:`~taskloom.nn.FactorisedNetworks` trains these first.

    Raises:
        TaskError: encoders of unequal shape, an encoder without a matrix, ranks that are not possible, or not one
            factorisation per matrix.
        CompressionWarning: (a warning) the factors have more parameters than the weights that they generate.

    Cost:
        generating the weights once per step, and K encoders.

    Differs from the paper:
        the numbers of a task are parameters of its own, so that they are private to it; the paper keeps one factor.

    Source:
        Y. Yang, T. Hospedales, Deep Multi-task Representation Learning: A Tensor Factorisation Approach, ICLR 2017,
        arXiv:1605.06391.

    Example:
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name=name, kind=Regression()) for name in "abc"]
        >>> model = TensorFactorised(lambda: MLP(4, (8,)), tasks, factorisation=LAF(rank=1))
        >>> [parameter.numel() for parameter in model.shared_parameters()], model(torch.zeros(2, 4))["c"].shape
        ([32], torch.Size([2, 1]))
    """

    def __init__(
        self,
        encoder: nn.Module | Callable[[], nn.Module],
        tasks: Sequence[Task],
        *,
        factorisation: Factorisation | Sequence[Factorisation] | None = None,
        merge_kernel: bool = True,
        weight_penalty: float = 0.0,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(tasks)
        self._build(list(build_copies(encoder, len(self.tasks))), factorisation, merge_kernel, weight_penalty)
        self.heads = build_heads(self.task_objects, self._plain(0), heads=heads, example=example)

    @classmethod
    def from_networks(
        cls,
        networks: Sequence[nn.Module],
        tasks: Sequence[Task],
        *,
        factorisation: Factorisation | Sequence[Factorisation] | None = None,
        merge_kernel: bool = True,
        weight_penalty: float = 0.0,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> Self:
        """Factorise trained encoders of equal structure, one per task in task order.

        The networks of a trained :class:`~taskloom.nn.Independent` are ``model.encoders``; its ``model.heads`` can be
        taken along. The other arguments are those of the class.
        """
        if len(networks) != len(tasks):
            raise TaskError(f"found {len(networks)} networks for {len(tasks)} tasks; give one per task, in task order")
        built = iter(networks)
        return cls(
            lambda: next(built),
            tasks,
            factorisation=factorisation,
            merge_kernel=merge_kernel,
            weight_penalty=weight_penalty,
            heads=heads,
            example=example,
        )

    def _build(
        self,
        networks: list[nn.Module],
        factorisation: Factorisation | Sequence[Factorisation] | None,
        merge_kernel: bool,
        weight_penalty: float,
    ) -> None:
        if not weight_penalty >= 0:
            raise TaskError(f"weight_penalty must be 0 or more, found {weight_penalty!r}")
        self.weight_penalty, self.merge_kernel = weight_penalty, merge_kernel
        columns = _aligned(networks, self.tasks)
        self.skeleton = hollow(networks[0])
        self.shapes = {name: tuple(column[0].shape) for name, column in columns.items() if column[0].ndim > 1}
        self.vector_names = tuple(name for name in columns if name not in self.shapes)
        if not self.shapes:
            raise TaskError(f"{type(networks[0]).__name__} has no matrix to factorise; use Independent")
        self.factorisations = _one_each(LAF() if factorisation is None else factorisation, list(self.shapes))
        factors = [
            chosen.decompose(_stacked(columns[name], merge_kernel=merge_kernel))
            for name, chosen in zip(self.shapes, self.factorisations, strict=True)
        ]
        self.bases = nn.ModuleList(basis for basis, _ in factors)
        self.numbers = nn.ModuleList(
            nn.ParameterList(numbers[k].clone() for _, numbers in factors) for k in range(len(networks))
        )
        self.vectors = nn.ModuleList(
            nn.ParameterList(columns[name][k].detach().clone() for name in self.vector_names)
            for k in range(len(networks))
        )
        self.statistics = nn.ModuleList(_Buffers(dict(network.named_buffers())) for network in networks)
        if self.compression() > 1:
            warnings.warn(
                f"the factors have {self.compression():.2f} times as many parameters as the weights they generate; "
                "lower the rank, or use Independent",
                CompressionWarning,
                stacklevel=3,
            )

    # ---------------------------------------------------------------- the generated networks

    def weights(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Parameters of the encoders of some tasks by name, each (m, ...), generated in one go."""
        found: dict[str, Tensor] = {}
        for position, ((name, shape), basis) in enumerate(zip(self.shapes.items(), self.bases, strict=True)):
            numbers = [self._own(self.numbers, index)[position] for index in indices]  # (r,) each
            found[name] = _combined(basis(), numbers, together=computes_together(self)).reshape(len(indices), *shape)
        for position, name in enumerate(self.vector_names):
            found[name] = torch.stack([self._own(self.vectors, index)[position] for index in indices])
        return found

    @staticmethod
    def _own(lists: nn.ModuleList, index: int) -> nn.ParameterList:
        """The parameters of one task."""
        own = lists[index]
        assert isinstance(own, nn.ParameterList)
        return own

    def _buffers_of(self, index: int) -> dict[str, Tensor]:
        own = self.statistics[index]
        assert isinstance(own, _Buffers)
        return own.by_name()

    def _tensors(self, generated: Mapping[str, Tensor], position: int, index: int) -> dict[str, Tensor]:
        own = {name: values[position] for name, values in generated.items()}
        return own | self._buffers_of(index)

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        generated = self.weights(indices)
        together = isinstance(inputs, Tensor) and len(indices) > _LOOP_UP_TO and computes_together(self)
        if together and not self._buffers_of(0) and not casts(self):  # statistics are written in place

            def call(parameters: dict[str, Tensor]) -> Any:
                return functional_call(self.skeleton, parameters, (inputs,))

            outputs = vmap(call, randomness="different")(generated)
            if isinstance(outputs, Tensor):
                return list(outputs.unbind(0))
        return self._loop(generated, [inputs] * len(indices), indices)

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        return self._loop(self.weights(indices), parts, indices)

    def _loop(self, generated: Mapping[str, Tensor], parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        return [
            functional_call(self.skeleton, self._tensors(generated, position, index), (part,))
            for position, (index, part) in enumerate(zip(indices, parts, strict=True))
        ]

    def _plain(self, index: int) -> nn.Module:
        """The encoder of one task as a plain module that holds copies of its weights."""
        with torch.no_grad():
            generated = {name: value[0] for name, value in self.weights([index]).items()}
        return filled(self.skeleton, generated, self._buffers_of(index))

    def penalties(self) -> dict[str, Tensor]:
        """``{"weights": scalar}`` with a weight penalty, else nothing."""
        if self.weight_penalty == 0:
            return {}
        generated = self.weights(range(len(self.tasks)))
        squares = torch.stack([generated[name].square().sum() for name in self.shapes])
        return {"weights": 0.5 * self.weight_penalty * squares.sum()}

    # ---------------------------------------------------------------- who owns what

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """The bases."""
        return trainable(self.bases)

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The numbers that combine the bases, the vectors, and the head of the task."""
        index = self.position(task)
        return trainable(self.numbers[index], self.vectors[index], self.heads[index])

    def param_groups(self, lr: float, *, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """Groups for an optimiser: factors are not decayed, which is not what decay of the weights would be.

        ``weight_penalty`` is the latter.
        """
        factors = [*self.bases.parameters(), *self.numbers.parameters()]
        usual: Settings = {"lr": lr, "weight_decay": weight_decay}
        return two_groups(self, factors, usual=usual, own={"lr": lr, "weight_decay": 0.0})

    def path(self, task: str) -> nn.Module:
        return _Path(self, self.position(task))

    def export(self, task: str | None = None) -> nn.Module:
        """A copy for use; for one task a plain network with the generated weights."""
        if task is None:
            return super().export()
        index = self.position(task)
        return nn.Sequential(self._plain(index), copy.deepcopy(self.heads[index])).eval()

    def structure(self) -> dict[str, list[list[int]]]:
        """The ranks of every generated weight, which may have followed from weights."""
        return {"ranks": [list(basis.ranks) for basis in self.bases if isinstance(basis, Basis)]}

    def with_structure(self, structure: Mapping[str, Sequence[Sequence[int]]]) -> TensorFactorised:
        """The same networks, factorised to given ranks."""
        with without_warning():
            return TensorFactorised.from_networks(
                [self._plain(index) for index in range(len(self.tasks))],
                self.task_objects,
                factorisation=ranked(self.factorisations, structure["ranks"]),
                merge_kernel=self.merge_kernel,
                weight_penalty=self.weight_penalty,
                heads=dict(zip(self.tasks, copy.deepcopy(self.heads), strict=True)),
            )

    def compression(self) -> float:
        """Parameters of the factors over those of the weights that they generate; below 1 is smaller."""
        n_tasks = len(self.numbers)
        factors = sum(parameter.numel() for part in (self.bases, self.numbers) for parameter in part.parameters())
        weights = sum(torch.Size(shape).numel() for shape in self.shapes.values())
        return factors / (n_tasks * weights)

    def describe(self) -> dict[str, Any]:
        """Counts of parameters, the compression, and the rank of every generated weight."""
        ranks = {name: len(number) for name, number in zip(self.shapes, self._own(self.numbers, 0), strict=True)}
        return {**super().describe(), "compression": self.compression(), "ranks": ranks}

    def add_task(
        self, task: Task, *, freeze: Freeze = "none", head: nn.Module | None = None, example: Any = None
    ) -> Self:
        """A new model with one more task, which starts as the mean of the others.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes everything that exists, ``"shared"`` the bases, ``"none"`` nothing.
            head: head of the new task; default by kind.
            example: sample input, only needed when no head is linear and the encoder does not say its width.
        """
        model = grown(self, task, freeze=freeze, shared=())
        if freeze == "shared":
            freeze_module(model.bases)
        for lists in (model.numbers, model.vectors):
            rows = [list(self._own(lists, index)) for index in range(len(self.tasks))]
            means = [torch.stack([p.detach() for p in column]).mean(0) for column in zip(*rows, strict=True)]
            lists.append(nn.ParameterList(means))
        model.statistics.append(_Buffers(self._buffers_of(0)))
        model.heads.append(build_head(task, self._plain(0), others=self.heads, head=head, example=example))
        return model

    def forget(self, index: int) -> None:
        super().forget(index)
        for lists in (self.numbers, self.vectors, self.statistics):
            del lists[index]


def _stacked(weights: Sequence[Tensor], *, merge_kernel: bool) -> Tensor:
    """Weights of all tasks, task axis last; kernels of convolutions with one axis for all their places if wanted."""
    stack = torch.stack([weight.detach() for weight in weights], dim=-1)
    return stack.flatten(2, -2) if merge_kernel and stack.ndim > 3 else stack


def _combined(basis: Tensor, numbers: Sequence[Tensor], *, together: bool) -> Tensor:
    """``basis . s_t`` for some tasks, (m, d_1, .., d_p); one by one where answers must not depend on who is asked."""
    if together:
        weights: Tensor = torch.tensordot(torch.stack(list(numbers)), basis, dims=([1], [-1]))
        return weights
    return torch.stack([torch.tensordot(basis, own, dims=1) for own in numbers])


class _Buffers(nn.Module):
    """Buffers of the encoder of one task, such as running statistics, under their names in the encoder."""

    def __init__(self, buffers: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.names = tuple(buffers)
        for number, value in enumerate(buffers.values()):
            self.register_buffer(f"buffer_{number}", value.detach().clone())

    def by_name(self) -> dict[str, Tensor]:
        return {name: getattr(self, f"buffer_{number}") for number, name in enumerate(self.names)}


class _Path(nn.Module):
    """What generates the network of one task, and its head."""

    def __init__(self, model: TensorFactorised, index: int) -> None:
        super().__init__()
        self.skeleton, self.shapes, self.vector_names = model.skeleton, model.shapes, model.vector_names
        self.bases = model.bases
        self.numbers, self.vectors = model._own(model.numbers, index), model._own(model.vectors, index)
        self.statistics = model.statistics[index]
        self.head = model.heads[index]

    def forward(self, inputs: Any) -> Tensor:
        tensors: dict[str, Tensor] = dict(zip(self.vector_names, self.vectors, strict=True))
        for (name, shape), basis, own in zip(self.shapes.items(), self.bases, self.numbers, strict=True):
            tensors[name] = torch.tensordot(basis(), own, dims=1).reshape(shape)
        assert isinstance(self.statistics, _Buffers)
        output: Tensor = self.head(functional_call(self.skeleton, tensors | self.statistics.by_name(), (inputs,)))
        return output


def _one_each(factorisation: Factorisation | Sequence[Factorisation], names: Sequence[str]) -> list[Factorisation]:
    """The factorisation of every weight."""
    if isinstance(factorisation, Factorisation):
        return [factorisation] * len(names)
    if len(factorisation) != len(names):
        raise TaskError(
            f"found {len(factorisation)} factorisations for {len(names)} weights ({', '.join(names)}); give one for "
            "all, or one for each"
        )
    return list(factorisation)


def _aligned(networks: Sequence[nn.Module], tasks: Sequence[str]) -> dict[str, list[nn.Parameter]]:
    """Parameters of equal networks: name -> that of every task."""
    named = [dict(network.named_parameters()) for network in networks]
    for task, own in zip(tasks[1:], named[1:], strict=True):
        for name in named[0] | own:
            first, other = (tuple(p[name].shape) if name in p else "missing" for p in (named[0], own))
            if first != other:
                raise TaskError(
                    f"task networks cannot be factorised together, {name!r} is {first} for {tasks[0]!r} and {other} "
                    f"for {task!r}; build them with one factory"
                )
    return {name: [own[name] for own in named] for name in named[0]}
