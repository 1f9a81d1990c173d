"""Carry out units: in this process, or in several at the same time."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch

from taskloom.data.multitask import MultiTaskData
from taskloom.data.split import Splitter
from taskloom.study.problem import Problem
from taskloom.study.unit import Unit, UnitOutcome, run_unit

if TYPE_CHECKING:
    from taskloom.study.run import Study

__all__ = ["Workers"]


class Workers:
    """One or several processes that carry out units. What a unit finds does not depend on who carries it out.

    Args:
        study: the comparison.
        problems: seed -> data under its split.
        n_workers: number of processes; 1 uses this one.
    """

    def __init__(self, study: Study, problems: Mapping[int, Problem], n_workers: int) -> None:
        self._study = study
        self._problems = problems
        self._n_workers = n_workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def run(
        self, units: Sequence[Unit], folder: Path, begins: Callable[[Unit], None]
    ) -> Iterator[tuple[Unit, UnitOutcome]]:
        """Carry out units; yields each with its outcome when it is finished."""
        if self._n_workers == 1 or len(units) < 2:
            for unit in units:
                begins(unit)
                yield unit, run_unit(unit, self._problems, folder, batched=self._study.batched)
            return
        pool = self._start()
        waiting: dict[Future[UnitOutcome], Unit] = {
            pool.submit(_run_in_worker, unit, folder, self._study.batched): unit for unit in units
        }
        for future in as_completed(waiting):
            yield waiting[future], future.result()

    def _start(self) -> ProcessPoolExecutor:
        if self._pool is None:
            first = next(iter(self._problems.values()))
            threads = max(1, (os.cpu_count() or 1) // self._n_workers)
            self._pool = ProcessPoolExecutor(
                self._n_workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_prepare_worker,
                initargs=(self._study.data, first.splitter, tuple(self._problems), first.main, threads),
            )
        return self._pool


_problems_of_worker: dict[int, Problem] = {}


def _prepare_worker(
    data: MultiTaskData, splitter: Splitter, seeds: tuple[int, ...], main: tuple[str, ...], threads: int
) -> None:
    torch.set_num_threads(threads)
    _problems_of_worker.update({seed: Problem(data, splitter, seed, main=main) for seed in seeds})


def _run_in_worker(unit: Unit, folder: Path, batched: bool) -> UnitOutcome:
    return run_unit(unit, _problems_of_worker, folder, batched=batched)
