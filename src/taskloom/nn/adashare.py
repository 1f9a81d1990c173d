"""AdaShare: every task learns which blocks of one residual network it runs and which it skips."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from taskloom.errors import ExportError, TaskError
from taskloom.nn._batching import computes_together, run_together
from taskloom.nn._grow import grown
from taskloom.nn._selected import mixture, run_selected
from taskloom.nn.heads.default import build_head, build_heads
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.nn.phase import Phase
from taskloom.nn.policies.policy import Policy
from taskloom.task import Task

__all__ = ["AdaShare"]

SELECT, SKIP = 0, 1
_ALL, _SEARCH, _FIXED = 0, 1, 2


class AdaShare(MultiTaskModel):
    """One sequence of blocks; a policy per task says which blocks it runs. What tasks share is what both run.

    Feature sharing without more parameters than hard sharing: the network learns where tasks should part.

        h_t^l = u_tl block_l(h_t^(l-1)) + (1 - u_tl) skip_l(h_t^(l-1)),   u from a Gumbel-softmax over (select, skip)

    Training goes through phases: a warm-up with all blocks; a search that alternates between weights (on 80 % of the
    rows) and policies (on the rest), in which the last blocks become free first; and a new training under the policies
    that were found. In evaluation mode the most probable policy is run, tasks of equal decisions so far together.

    Args:
        blocks: (block, skip) pairs, or blocks alone, which are skipped by the identity. A block contains its shortcut.
        tasks: the tasks.
        stem: module before the first block that all tasks run; default none.
        sparsity: weight of the penalty that pushes blocks to be skipped; default 0.03, the largest of a sweep that
            raised no error (see the guide to architectures); from 0.1 on tasks are pushed below what they need.
        sharing: weight of the penalty on differences between the policies of two tasks, a sum over pairs; default 0.05
            over the number of pairs. The authors have 0.05 for two tasks and 0.005 for five.
        sparsity_form: ``"log"``, the mean of -log P(skip) over free blocks, as in the paper; or ``"expected"``, the
            mean of P(select), which is gentler. Default ``"expected"``.
        hard: sample one-hot policies in the search; default False, as in the authors' code.
        learning_rate: that of the policies' own Adam; default 0.1. The authors' 0.01 needs thousands of steps.
        temperature: that of the first search epoch; default 5.
        cooling: factor on it after every policy phase; default 0.965, as in the authors' code.
        warmup_epochs: epochs with all blocks; default 4.
        search_cycles: pairs of a weights epoch and a policy epoch; default 12.
        speed: policy epochs after which one more block is free; default 3, or fewer where there are more blocks than
            that frees.
        min_blocks: blocks that every task runs at least, its most probable ones; default 1.
        fresh_weights: train anew from new weights under the policies, as in the paper; default True.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input of the last block, only needed when that does not say its ``out_features``.

    Raises:
        TaskError: no block, a weight below 0, or a block whose skip changes another shape (found at the first call).
        UserWarning: (a warning) a task has chosen fewer blocks than ``min_blocks``.

    Cost:
        the search runs every block once per task; a fixed network the blocks on the paths of the tasks, common
        beginnings once.

    Differs from the paper:
        the learning rate of the policies; the policy is the most probable one, not the best of eight samples; the
        paper's weights of the sharing penalty fall with depth, the authors' code lets them grow: here they fall.

    Source:
        X. Sun, R. Panda, R. Feris, K. Saenko, AdaShare: Learning What To Share For Efficient Deep Multi-Task Learning,
        NeurIPS 2020, arXiv:1911.12423.

    Example:
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())]
        >>> model = AdaShare([MLP(8, (8,)) for _ in range(3)], tasks, stem=MLP(4, (8,)))
        >>> [phase.name for phase in model.phases()][:3], model(torch.zeros(2, 4))["a"].shape
        (['warm-up', 'weights 1', 'policy 1'], torch.Size([2, 1]))
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module | tuple[nn.Module, nn.Module]],
        tasks: Sequence[Task],
        *,
        stem: nn.Module | None = None,
        sparsity: float = 0.03,
        sharing: float | None = None,
        sparsity_form: Literal["log", "expected"] = "expected",
        hard: bool = False,
        learning_rate: float = 0.1,
        temperature: float = 5.0,
        cooling: float = 0.965,
        warmup_epochs: int = 4,
        search_cycles: int = 12,
        speed: int = 3,
        min_blocks: int = 1,
        fresh_weights: bool = True,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(tasks)
        pairs = [(block, nn.Identity()) if isinstance(block, nn.Module) else block for block in blocks]
        if not pairs:
            raise TaskError("AdaShare needs at least one block")
        if sharing is None:
            sharing = 0.05 / max(1, math.comb(len(self.tasks), 2))
        _check_weights(sparsity, sharing, sparsity_form, learning_rate)
        _check_lengths(warmup_epochs=warmup_epochs, search_cycles=search_cycles, speed=speed)
        if not 0 <= min_blocks <= len(pairs):
            raise TaskError(f"min_blocks must lie in 0..{len(pairs)}, the number of blocks, found {min_blocks!r}")
        self.sparsity, self.sharing, self.sparsity_form, self.hard = sparsity, sharing, sparsity_form, hard
        self.cooling, self.warmup_epochs, self.search_cycles = cooling, warmup_epochs, search_cycles
        self.speed = max(1, min(speed, search_cycles // len(pairs)))
        self.min_blocks, self.fresh_weights = min_blocks, fresh_weights
        self.stem = stem if stem is not None else nn.Identity()
        self.blocks = nn.ModuleList(block for block, _ in pairs)
        self.skips = nn.ModuleList(skip for _, skip in pairs)
        self.policy = Policy((len(self.tasks), len(pairs)), 2, temperature=temperature)
        self.mode = _SEARCH
        self.open_blocks = len(pairs)
        self.chosen: tuple[tuple[bool, ...], ...] = ()  # per task, once that is fixed
        self.heads = build_heads(self.task_objects, self.blocks[-1], heads=heads, example=example)
        self._policy_optimiser = partial(torch.optim.Adam, lr=learning_rate, weight_decay=5e-4)

    # ---------------------------------------------------------------- the forward pass

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        return self._run([self.stem(inputs)] * len(indices), indices)

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        return self._run(run_together(self.stem, parts), indices)

    def _run(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        if self.training and self.mode == _SEARCH:
            return self._mixed(list(parts), indices)
        decisions = self.decisions()
        return run_selected(
            zip(self.blocks, self.skips, strict=True),
            parts,
            selected=[decisions[index] for index in indices],
            together=computes_together(self),
        )

    def _mixed(self, hidden: list[Any], indices: Sequence[int]) -> list[Any]:
        """Every block and every skip, weighted by a sample of the policy."""
        samples = self.policy.sample(hard=self.hard)[..., SELECT]  # (K, L)
        first_open = len(self.blocks) - self.open_blocks
        for depth, (block, skip) in enumerate(zip(self.blocks, self.skips, strict=True)):
            ran = run_together(block, hidden)
            if depth < first_open:
                hidden = ran
                continue
            skipped = run_together(skip, hidden)
            shares = [samples[index, depth].to(part.dtype) for index, part in zip(indices, ran, strict=True)]
            hidden = [mixture(depth, *three) for three in zip(shares, ran, skipped, strict=True)]
        return hidden

    # ---------------------------------------------------------------- what is chosen

    def decisions(self) -> tuple[tuple[bool, ...], ...]:
        """Which of the L blocks each of the K tasks runs when the network is used now."""
        n_closed = len(self.blocks) - self.open_blocks
        if self.mode == _FIXED:
            return self.chosen
        if self.mode == _ALL:
            n_closed = len(self.blocks)
        rows = (self.policy.choices() == SELECT).tolist()
        return tuple((*[True] * n_closed, *row[n_closed:]) for row in rows)

    def derive(self) -> AdaShare:
        """The network under its most probable policies, without what no task runs; blocks never free are run."""
        if self.mode == _FIXED:
            return self
        rows = [list(row) for row in self.decisions()]
        probable = self.policy.probabilities().detach()[..., SELECT]
        for task, row, own in zip(self.tasks, rows, probable, strict=True):
            if sum(row) < self.min_blocks:
                warnings.warn(
                    f"task {task!r} has chosen {sum(row)} blocks; it gets its {self.min_blocks} most probable ones. "
                    "Lower sparsity=",
                    stacklevel=2,
                )
                for depth in own.topk(self.min_blocks).indices.tolist():
                    row[depth] = True
        return self.with_structure(rows)

    def structure(self) -> list[list[bool]] | None:
        """Which blocks every task runs, once that is fixed."""
        return [list(row) for row in self.chosen] if self.mode == _FIXED else None

    def with_structure(self, structure: Sequence[Sequence[bool]]) -> AdaShare:
        """A copy that runs what a table of K rows and L columns says, without what no task runs."""
        shape = (len(self.tasks), len(self.blocks))
        if len(structure) != shape[0] or any(len(row) != shape[1] for row in structure):
            raise TaskError(f"structure must have {shape[0]} rows (tasks) of {shape[1]} entries (blocks)")
        fixed = copy.deepcopy(self)
        fixed.mode, fixed.chosen = _FIXED, tuple(tuple(map(bool, row)) for row in structure)
        fixed.policy.requires_grad_(False)
        fixed._drop_unused()
        return fixed

    def _drop_unused(self) -> None:
        for depth, runs in enumerate(zip(*self.chosen, strict=True)):
            if not any(runs):
                self.blocks[depth] = nn.Identity()
            if all(runs):
                self.skips[depth] = nn.Identity()

    def get_extra_state(self) -> Tensor:
        """Mode, number of free blocks, and what is fixed."""
        return torch.tensor([self.mode, self.open_blocks, *(int(runs) for row in self.chosen for runs in row)])

    def set_extra_state(self, state: Tensor) -> None:
        """Take up what :meth:`get_extra_state` gave."""
        self.mode, self.open_blocks, *flat = (int(number) for number in state)
        width = len(self.blocks)
        self.chosen = tuple(tuple(map(bool, flat[at : at + width])) for at in range(0, len(flat), width))

    # ---------------------------------------------------------------- training

    def penalties(self) -> dict[str, Tensor]:
        """``{"sparsity": scalar, "sharing": scalar}`` while the policy is searched."""
        first_open = len(self.blocks) - self.open_blocks
        if self.mode != _SEARCH or first_open == len(self.blocks):
            return {}
        select = self.policy.probabilities()[..., SELECT]  # (K, L)
        free = select[:, first_open:]
        rare = free.mean() if self.sparsity_form == "expected" else -torch.log1p(-free.clamp(max=1 - 1e-6)).mean()
        found = {"sparsity": self.sparsity * rare}
        n_tasks, n_blocks = select.shape
        if n_tasks > 1:
            differences = (free[:, None] - free[None]).abs().sum((0, 1)) / 2  # (free blocks,), over pairs
            level = torch.arange(first_open + 1, n_blocks + 1, device=select.device, dtype=select.dtype)
            found["sharing"] = self.sharing * (differences * (n_blocks - level) / n_blocks).sum()
        return found

    def phases(self) -> Iterator[Phase]:
        """Warm-up, search in cycles of weights and policy, training under the policies found."""
        if self.mode == _FIXED:
            yield from super().phases()
            return
        weights = ("shared", "task")
        yield Phase(
            name="warm-up",
            epochs=self.warmup_epochs,
            train=weights,
            penalties="none",
            on_enter=partial(self._enter, _ALL),
        )
        for cycle in range(self.search_cycles):
            yield Phase(
                name=f"weights {cycle + 1}",
                epochs=1,
                train=weights,
                split="weights",
                penalties="none",
                on_enter=partial(self._enter, _SEARCH, cycle),
            )
            yield Phase(
                name=f"policy {cycle + 1}",
                epochs=1,
                train=("structure",),
                split="policy",
                penalties=("sparsity", "sharing"),
                optimiser=self._policy_optimiser,
                on_exit=self._cool,
                derives=cycle == self.search_cycles - 1,
            )
        yield Phase(name="retrain", fresh_weights=self.fresh_weights)

    def _enter(self, mode: int, cycle: int = 0) -> None:
        self.mode = mode
        self.open_blocks = min(len(self.blocks), 1 + cycle // self.speed)

    def _cool(self) -> None:
        self.policy.temperature.mul_(self.cooling)

    # ---------------------------------------------------------------- who owns what

    def _users(self) -> Iterator[tuple[nn.Module, list[int]]]:
        """Blocks and skips with the tasks that can reach them."""
        everyone = list(range(len(self.tasks)))
        fixed = self.mode == _FIXED
        for depth, (block, skip) in enumerate(zip(self.blocks, self.skips, strict=True)):
            runs = [row[depth] for row in self.chosen]
            yield block, [task for task in everyone if runs[task]] if fixed else everyone
            if self.mode != _ALL:
                yield skip, [task for task in everyone if not runs[task]] if fixed else everyone

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """The stem, and blocks that two or more tasks may run."""
        enough = min(2, len(self.tasks))
        return trainable(self.stem, *(module for module, users in self._users() if len(users) >= enough))

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The head, and in a fixed network the blocks that only this task runs."""
        index = self.position(task)
        single = len(self.tasks) == 1
        own = (module for module, users in self._users() if users == [index] and not single)
        return trainable(*own, self.heads[index])

    def structure_parameters(self) -> Iterator[nn.Parameter]:
        """The logits of the policies, while they are searched."""
        return trainable(self.policy)

    def path(self, task: str) -> nn.Module:
        index = self.position(task)
        row = self.decisions()[index]
        run = [block if runs else skip for runs, block, skip in zip(row, self.blocks, self.skips, strict=True)]
        return nn.Sequential(self.stem, *run, self.heads[index])

    def export(self, task: str | None = None) -> nn.Module:
        """A copy for use; for one task the sequence of its blocks.

        Raises:
            ExportError: the policies are not fixed yet.
        """
        if self.mode != _FIXED:
            raise ExportError("the policies of this AdaShare are still searched; call derive() first")
        return super().export(task)

    def describe(self) -> dict[str, Any]:
        """Counts of parameters, the blocks that every task runs, and the probabilities of running them."""
        probable = self.policy.probabilities().detach()[..., SELECT]
        return {
            **super().describe(),
            "blocks": dict(zip(self.tasks, map(list, self.decisions()), strict=True)),
            "select": dict(zip(self.tasks, probable.tolist(), strict=True)),
        }

    def add_task(
        self,
        task: Task,
        *,
        freeze: Freeze = "none",
        like: str | None = None,
        head: nn.Module | None = None,
        example: Any = None,
    ) -> Self:
        """A new model with one more task, which runs the blocks of another; while these are searched it is free.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes everything that exists, policies too, ``"shared"`` stem, blocks and skips.
            like: the task whose blocks it runs, or whose policy it begins with; default the first.
            head: head of the new task; default by kind.
            example: sample input of the last block, only needed when no head is linear and it does not say its width.
        """
        partner = 0 if like is None else self.position(like)
        model = grown(self, task, freeze=freeze, shared=("stem", "blocks", "skips"))
        logits = model.policy.logits
        rows = torch.cat([logits.detach(), logits.detach()[partner : partner + 1]])
        model.policy.logits = nn.Parameter(rows, requires_grad=logits.requires_grad)
        if self.mode == _FIXED:
            model.chosen = (*self.chosen, self.chosen[partner])
        model.heads.append(build_head(task, self.blocks[-1], others=self.heads, head=head, example=example))
        return model

    def forget(self, index: int) -> None:
        super().forget(index)
        kept = [task for task in range(len(self.tasks)) if task != index]
        logits = self.policy.logits
        self.policy.logits = nn.Parameter(logits.detach()[kept].clone(), requires_grad=logits.requires_grad)
        if self.mode == _FIXED:
            self.chosen = tuple(self.chosen[task] for task in kept)
            self._drop_unused()


def _check_weights(sparsity: float, sharing: float, sparsity_form: str, learning_rate: float) -> None:
    if not sparsity >= 0 or not sharing >= 0:
        raise TaskError(f"sparsity and sharing must be 0 or more, found {sparsity!r} and {sharing!r}")
    if sparsity_form not in ("log", "expected"):
        raise TaskError(f"sparsity_form must be 'log' or 'expected', found {sparsity_form!r}")
    if not learning_rate > 0:
        raise TaskError(f"learning_rate must be positive, found {learning_rate!r}")


def _check_lengths(**lengths: int) -> None:
    for name, value in lengths.items():
        if value < 1:
            raise TaskError(f"{name} must be 1 or more, found {value!r}")
