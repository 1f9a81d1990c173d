"""Small data sets, short trainings, and one small finished comparison that many tests read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import taskloom as tl
from taskloom.data.split import RandomSplit
from taskloom.data.table import MultiTaskData
from taskloom.fit.training import Schedule
from taskloom.study.candidate import Candidate, Learned, Learning
from taskloom.study.problem import Problem
from taskloom.study.results import Results
from taskloom.study.space import Choice, LogRange, Parameter, Settings
from taskloom.study.tuner import Tuner

MAIN = "수학 점수"  # tasks are called as users call them
PLANS = ("apart", "together", "transfer")


def short_schedule(n_tasks: int, *, measures: bool) -> Schedule:
    return Schedule(max_epochs=4, patience=3, measure_every=int(measures))


@pytest.fixture(autouse=True, scope="package")
def _short_trainings() -> Iterator[None]:
    """Four epochs show everything that these tests look at."""
    with pytest.MonkeyPatch.context() as patch:
        for plan in PLANS:
            patch.setattr(f"taskloom.study.plans.{plan}.schedule_for", short_schedule)
        yield


def make_mixed(*, permuted_rows: np.ndarray | None = None, n_rows: int = 90) -> MultiTaskData:
    """Three tasks that count and an auxiliary one on the same rows, with labels missing.

    Args:
        permuted_rows: rows of task "a / b" whose targets are dealt out anew among them.
        n_rows: number of rows.
    """
    random = np.random.default_rng(0)
    x = random.normal(size=(n_rows, 4))
    score = x[:, 0] + 0.3 * random.normal(size=n_rows)
    score[random.random(n_rows) < 0.3] = np.nan
    level = x[:, 0] + x[:, 1] + 0.3 * random.normal(size=n_rows)
    if permuted_rows is not None:
        level[permuted_rows] = 5.0 + np.random.default_rng(1).permutation(level[permuted_rows])
    passed = (x[:, 1] + 0.5 * random.normal(size=n_rows) > 0).astype(np.int64)
    passed[:10] = -1
    colour = np.digitize(x[:, 2] + 0.2 * random.normal(size=n_rows), [-0.5, 0.5])
    return MultiTaskData.from_arrays(
        x,
        {MAIN: score, "a / b": level, "passed?": passed, "colour": colour},
        [
            tl.Task(name=MAIN, kind=tl.Regression()),
            tl.Task(name="a / b", kind=tl.Regression()),
            tl.Task(name="passed?", kind=tl.Binary(("no", "yes"))),
            tl.Task(name="colour", kind=tl.Multiclass(3), auxiliary=True),
        ],
    )


def make_schools(n_tasks: int = 3, n_rows: int = 30) -> MultiTaskData:
    """Several data sets of one kind; task k has ``n_rows + k`` rows."""
    random = np.random.default_rng(2)
    parts = {}
    for number in range(n_tasks):
        x = random.normal(size=(n_rows + number, 3))
        parts[f"school {number}"] = (x, x[:, 0] + 0.2 * number * x[:, 1] + 0.3 * random.normal(size=len(x)))
    return MultiTaskData.from_tasks(parts)


@dataclass(frozen=True)
class Constant:
    """A plan that learns nothing and answers at once: the output of every task is one number, its setting."""

    parameters: tuple[Parameter, ...] = (LogRange("value", 0.1, 10.0, default=1.0), Choice("width", (1, 2, 3), 2))
    score: Callable[[float], float] = abs

    def reason_against(self, data: MultiTaskData) -> str | None:
        return None

    def space(self, data: MultiTaskData) -> tuple[Parameter, ...]:
        return self.parameters

    def learn(self, problem: Problem, settings: Settings) -> Learning:
        yield from ()
        value = float(settings["value"])

        def outputs(part: str) -> dict[str, np.ndarray]:
            kinds = {task.name: task.kind for task in problem.tasks}
            return {
                name: np.full((len(problem.rows(name, part)), kind.n_outputs), value) for name, kind in kinds.items()
            }

        names = tuple(task.name for task in problem.tasks)
        return [Learned(names, self.score(value), outputs, parameters=1, seconds=0.0)]


@pytest.fixture(scope="session")
def mixed() -> MultiTaskData:
    return make_mixed()


@pytest.fixture(scope="session")
def schools() -> MultiTaskData:
    return make_schools()


@pytest.fixture(scope="session")
def main_task() -> str:
    return MAIN


@pytest.fixture(scope="session")
def mixed_with() -> Callable[..., MultiTaskData]:
    return make_mixed


@pytest.fixture(scope="session")
def schools_with() -> Callable[..., MultiTaskData]:
    return make_schools


@pytest.fixture(scope="session")
def constant() -> Callable[..., Candidate]:
    """Makes a candidate that answers at once."""

    def make(name: str = "constant", **arguments: object) -> Candidate:
        return Candidate(name=name, title=name, summary="One number.", family="joint", plan=Constant(**arguments))

    return make


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the candidates that are named take part, not also the two that always do."""
    from taskloom.study import run

    def only(wanted: tuple[Candidate, ...], data: MultiTaskData) -> tuple[tuple[Candidate, ...], dict[str, str]]:
        return tuple(wanted), {}

    monkeypatch.setattr(run, "choose", only)


@pytest.fixture
def tuner() -> Tuner:
    """A tuner with a storage in memory."""
    return Tuner("sqlite:///:memory:", name="test", seed=0, owner="me")


@pytest.fixture(scope="session")
def problem(mixed: MultiTaskData) -> Problem:
    return Problem(mixed, RandomSplit(), 0)


@dataclass(frozen=True)
class Finished:
    """A finished comparison with its folder."""

    results: Results
    folder: Path
    data: MultiTaskData
    call: Callable[..., Results]


def finish(data: MultiTaskData, folder: Path) -> Finished:
    def call(**changes: object) -> Results:
        arguments: dict[str, object] = {
            "candidates": ["hard_sharing", "linear", "transfer"],
            "seeds": 2,
            "budget": 3,
            "out": folder,
            "workers": 1,
            "progress": False,
        }
        return tl.compare(data, **{**arguments, **changes})

    return Finished(call(), folder, data, call)


@pytest.fixture(scope="package")
def compared(_short_trainings: None, mixed: MultiTaskData, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Two seeds, three trials, four candidates on several targets of the same rows. To be read, not to be changed."""
    return finish(mixed, tmp_path_factory.mktemp("mixed") / "run")


@pytest.fixture(scope="package")
def compared_schools(
    _short_trainings: None, schools: MultiTaskData, tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """The same on several data sets."""
    return finish(schools, tmp_path_factory.mktemp("schools") / "run")
