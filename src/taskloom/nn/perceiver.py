"""Perceiver IO with task queries: one set of latents for all tasks, read out by learned queries of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._attention import CrossAttention, LearnedTokens, SelfAttention
from taskloom.nn._batching import computes_together
from taskloom.nn._grow import freeze_module, grown
from taskloom.nn._inputs import read_request
from taskloom.nn.fork import fork
from taskloom.nn.heads.default import build_head, build_heads
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.task import Task

__all__ = ["PerceiverIO"]


class PerceiverIO(MultiTaskModel):
    """Tokens of any kind are read into a few latents, and each task reads the latents by its own learned queries.

    One architecture for vectors, images, text and sound at once: what differs is only how an input becomes tokens.

        Z_0 = latents,   Z = cross-attention(Z_0 <- X),   then R x (self-attention of Z)
        F_t = cross-attention(Q_t <- Z),   y_t = head_t(F_t)

    Queries do not see each other, so that computing tasks together equals computing them one by one.

    Args:
        tasks: the tasks.
        in_channels: width C of the input tokens (n, M, C); with ``adapter`` or ``adapters`` what those put out.
        n_latents: number of latents N; default 32 (our choice, the paper has 256 and more).
        channels: width D of the latents; default 64.
        n_blocks: self-attention blocks of different weights; default 2.
        n_repeats: how often the sequence of blocks is run with the same weights; default 1.
        n_heads: heads of every attention; default 4.
        widening: hidden width of the perceptrons over their width; default 1, as in the authors' code.
        queries: number of queries O_t of each task, one number or task -> number; default 1. A task with one query has
            features (n, D), one with more (n, O_t, D).
        query_residual: add the queries to what they found; default True. False suits queries that are positions.
        decoder: ``"shared"`` (only queries and heads are the task's own), or ``"private"``: one decoder per task, then
            the latents are a cut.
        adapter: module that makes tokens (n, M, C) of an input; default none.
        adapters: task -> module that makes tokens of that task's own input, for several data sets of different form.
        heads: task name -> head module; default a linear layer by kind of task.

    An input is a tensor, or a pair (tensor, ignored) with a bool mask (n, M) that is True on padding.

    Raises:
        TaskError: heads do not divide the channels, or queries or adapters do not match the tasks.

    Cost:
        O(M N) for reading, O(N^2) per block, O(O_t N) per task: linear in the size of inputs and outputs.

    Differs from the paper:
        queries and latents start from N(0, 0.02^2), not truncated; the heads are linear per task.

    Source:
        A. Jaegle et al., Perceiver IO: A General Architecture for Structured Inputs & Outputs, ICLR 2022,
        arXiv:2107.14795.

    Example:
        >>> from taskloom.task import Binary, Regression
        >>> tasks = [Task(name="depth", kind=Regression()), Task(name="day", kind=Binary())]
        >>> model = PerceiverIO(tasks, in_channels=6, n_latents=4, channels=8, queries={"depth": 9, "day": 1})
        >>> {task: tuple(output.shape) for task, output in model(torch.zeros(2, 20, 6)).items()}
        {'depth': (2, 9, 1), 'day': (2, 1)}
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        in_channels: int,
        n_latents: int = 32,
        channels: int = 64,
        n_blocks: int = 2,
        n_repeats: int = 1,
        n_heads: int = 4,
        widening: int = 1,
        queries: int | Mapping[str, int] = 1,
        query_residual: bool = True,
        decoder: Literal["shared", "private"] = "shared",
        adapter: nn.Module | None = None,
        adapters: Mapping[str, nn.Module] | None = None,
        heads: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__(tasks)
        for name, value in (("n_latents", n_latents), ("n_repeats", n_repeats), ("widening", widening)):
            if value < 1:
                raise TaskError(f"{name} must be 1 or more, found {value!r}")
        if decoder not in ("shared", "private"):
            raise TaskError(f"decoder must be 'shared' or 'private', found {decoder!r}")
        self.has_cut = decoder == "private"
        self.adapter = adapter if adapter is not None else nn.Identity()
        self.adapters = _per_task(adapters, self.tasks)
        read = CrossAttention(channels, in_channels, n_heads=n_heads, widening=widening)
        blocks = [SelfAttention(channels, n_heads=n_heads, widening=widening) for _ in range(n_blocks)]
        self.reader = _Reader(LearnedTokens(n_latents, channels), read, blocks, n_repeats=n_repeats)
        self.queries = nn.ModuleList(LearnedTokens(n, channels) for n in _query_counts(queries, self.tasks))
        self.decoders = nn.ModuleList(
            CrossAttention(channels, channels, n_heads=n_heads, widening=widening, residual=query_residual)
            for _ in range(len(self.tasks) if self.has_cut else 1)
        )
        self.out_features = channels
        self.heads = build_heads(self.task_objects, self, heads=heads)

    # ---------------------------------------------------------------- the forward pass

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        return self._read_out([self.reader(*_tokens(inputs, self.adapter))] * len(indices), indices)

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        return self._read_out(self._latents_of_each(parts, indices), indices)

    def _latents_of_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Tensor]:
        adapters = [self.adapters[index] if len(self.adapters) else self.adapter for index in indices]
        return [self.reader(*_tokens(part, adapter)) for part, adapter in zip(parts, adapters, strict=True)]

    def _read_out(self, latents: Sequence[Tensor], indices: Sequence[int]) -> list[Any]:
        if self.has_cut:
            forked = [fork(part, self.tasks[index]) for part, index in zip(latents, indices, strict=True)]
            return [self._ask(part, index, self.decoders[index]) for part, index in zip(forked, indices, strict=True)]
        same = all(part is latents[0] for part in latents)
        if not (same and len(indices) > 1 and computes_together(self)):
            return [self._ask(part, index, self.decoders[0]) for part, index in zip(latents, indices, strict=True)]
        asked = [self.queries[index](latents[0].shape[0]) for index in indices]
        answers = self.decoders[0](torch.cat(asked, dim=1), latents[0])
        return [_plain(part) for part in answers.split([part.shape[1] for part in asked], dim=1)]

    def _ask(self, latents: Tensor, index: int, decoder: nn.Module) -> Tensor:
        return _plain(decoder(self.queries[index](latents.shape[0]), latents))

    def encode(self, inputs: Any, tasks: Sequence[str] | None = None) -> tuple[Any, ...]:
        """The latents, where every task has a decoder of its own; one per task when each brings its own input."""
        if not self.has_cut:
            return super().encode(inputs, tasks)
        request = read_request(inputs, tasks, self._positions)
        if request.parts is None:
            return (self.reader(*_tokens(inputs, self.adapter)),)
        return tuple(self._latents_of_each(request.parts, request.indices))

    def decode(self, cut: Sequence[Any], tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Outputs from the latents; the tasks of an encoded mapping must be named, in model order."""
        if not self.has_cut:
            return super().decode(cut, tasks)
        request = read_request(None, tasks, self._positions)
        latents = list(cut) * len(request.names) if len(cut) == 1 else list(cut)
        features = [self._ask(part, i, self.decoders[i]) for part, i in zip(latents, request.indices, strict=True)]
        return dict(zip(request.names, self.decide(features, request.indices), strict=True))

    # ---------------------------------------------------------------- who owns what

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """Latents, reading, blocks, the common adapter, and the decoder unless each task has its own."""
        decoder = () if self.has_cut else self.decoders
        return trainable(self.adapter, self.reader, *decoder)

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The queries, the head, and the task's own adapter and decoder."""
        index = self.position(task)
        adapter = [self.adapters[index]] if len(self.adapters) else []
        decoder = [self.decoders[index]] if self.has_cut else []
        return trainable(*adapter, self.queries[index], *decoder, self.heads[index])

    def path(self, task: str) -> nn.Module:
        return _Path(self, self.position(task))

    def add_task(
        self,
        task: Task,
        *,
        freeze: Freeze = "none",
        queries: int = 1,
        adapter: nn.Module | None = None,
        head: nn.Module | None = None,
    ) -> Self:
        """A new model with the queries of one more task.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes everything that exists, ``"shared"`` all that tasks share.
            queries: number of queries of the new task.
            adapter: makes tokens of the new task's input, where each task has an adapter.
            head: head of the new task; default by kind.
        """
        model = grown(self, task, freeze=freeze, shared=("adapter", "reader"))
        if freeze == "shared" and not self.has_cut:
            freeze_module(model.decoders)
        if len(self.adapters):
            if adapter is None:
                raise TaskError(f"every task of this model has an adapter; give adapter= for {task.name!r}")
            model.adapters.append(adapter)
        model.queries.append(LearnedTokens(queries, self.out_features))
        if self.has_cut:
            first = self.decoders[0]
            assert isinstance(first, CrossAttention)
            hidden = first.feed_forward[1]
            assert isinstance(hidden, nn.Linear)
            fresh = CrossAttention(
                self.out_features,
                self.out_features,
                n_heads=first.attention.n_heads,
                widening=hidden.out_features // self.out_features,
                residual=first.residual,
            )
            model.decoders.append(fresh)
        model.heads.append(build_head(task, self, others=self.heads, head=head))
        return model

    def forget(self, index: int) -> None:
        super().forget(index)
        del self.queries[index]
        if len(self.adapters):
            del self.adapters[index]
        if self.has_cut:
            del self.decoders[index]


class _Reader(nn.Module):
    """Tokens -> latents: one cross-attention, then blocks of self-attention, perhaps several times."""

    def __init__(
        self, latents: LearnedTokens, read: CrossAttention, blocks: Sequence[SelfAttention], *, n_repeats: int
    ) -> None:
        super().__init__()
        self.latents = latents
        self.read = read
        self.blocks = nn.ModuleList(blocks)
        self.n_repeats = n_repeats

    def forward(self, tokens: Tensor, ignored: Tensor | None = None) -> Tensor:
        latents: Tensor = self.read(self.latents(tokens.shape[0]), tokens, ignored=ignored)
        for _ in range(self.n_repeats):
            for block in self.blocks:
                latents = block(latents)
        return latents


def _tokens(inputs: Any, adapter: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Tokens of an input, and which of them are padding."""
    values, ignored = inputs if isinstance(inputs, tuple) else (inputs, None)
    tokens = adapter(values)
    if not isinstance(tokens, Tensor) or tokens.ndim != 3:
        found = tuple(tokens.shape) if isinstance(tokens, Tensor) else type(tokens).__name__
        raise TaskError(f"PerceiverIO reads tokens (n, M, C), found {found}; give adapter= to make tokens of inputs")
    return tokens, ignored


def _plain(features: Tensor) -> Tensor:
    """(n, 1, D) as (n, D): a task with one query has one feature vector."""
    return features.squeeze(1) if features.shape[1] == 1 else features


def _query_counts(queries: int | Mapping[str, int], tasks: Sequence[str]) -> list[int]:
    counts = dict.fromkeys(tasks, queries) if isinstance(queries, int) else dict(queries)
    if set(counts) != set(tasks):
        raise TaskError(f"queries are for {sorted(counts)}, the tasks are {sorted(tasks)}; give one number per task")
    for task, count in counts.items():
        if count < 1:
            raise TaskError(f"queries: task {task!r} has {count}; every task needs 1 or more")
    return [counts[task] for task in tasks]


def _per_task(adapters: Mapping[str, nn.Module] | None, tasks: Sequence[str]) -> nn.ModuleList:
    if adapters is None:
        return nn.ModuleList()
    if set(adapters) != set(tasks):
        raise TaskError(f"adapters are for {sorted(adapters)}, the tasks are {sorted(tasks)}; give one per task")
    if len({id(adapter) for adapter in adapters.values()}) < len(tasks):
        raise TaskError("one adapter module is given for several tasks; use adapter= for a common one")
    return nn.ModuleList(adapters[task] for task in tasks)


class _Path(nn.Module):
    """What one task needs: adapter, latents, blocks, its queries, decoder and head."""

    def __init__(self, model: PerceiverIO, index: int) -> None:
        super().__init__()
        self.adapter = model.adapters[index] if len(model.adapters) else model.adapter
        self.reader = model.reader
        self.queries = model.queries[index]
        self.decoder = model.decoders[index if model.has_cut else 0]
        self.head = model.heads[index]

    def forward(self, inputs: Any) -> Tensor:
        latents = self.reader(*_tokens(inputs, self.adapter))
        features = _plain(self.decoder(self.queries(latents.shape[0]), latents))
        output: Tensor = self.head(features)
        return output
