"""The tuner: which settings are tried, and who tries them. The only file that knows Optuna.

Every candidate has one Optuna study in a storage (a SQLite file, or any URL that Optuna takes), which several machines
may share. Trial 0 has the default settings, the next ones are points of a scrambled Sobol sequence, which covers the
space evenly however few they are; from trial 16 on a tree-structured Parzen estimator proposes. What a trial tries
depends only on the seed, its number and the results of earlier rounds, so that a continued search is the same search.

Trials are put into the storage waiting; a worker takes all of a candidate that wait. A trial that this run's owner had
taken when it was killed is taken again.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import qmc

from taskloom._rng import stream_seed
from taskloom.errors import StudyError
from taskloom.study.space import Choice, LogRange, Parameter, default_settings, settings_at

__all__ = ["Finished", "Trial", "Tuner"]

_EVEN_TRIALS = 16  # trials that cover the space evenly before a model proposes
_STALE = timedelta(hours=12)  # a trial that somebody else took this long ago and has not finished is taken over


@dataclass(frozen=True)
class Trial:
    """Settings to try.

    Args:
        number: place in the candidate's sequence of trials, from 0.
        settings: hyperparameters by name.
        identifier: the trial's number in the storage.
    """

    number: int
    settings: Mapping[str, float | int | str]
    identifier: int


@dataclass(frozen=True)
class Finished:
    """A trial with its outcome.

    Args:
        number: place in the candidate's sequence.
        settings: hyperparameters by name.
        value: mean validation score over the seeds.
        outcome: what the trial's worker stored, one JSON-able value per seed.
        seconds: wall time of its unit of work, divided by the unit's trials.
    """

    number: int
    settings: Mapping[str, float | int | str]
    value: float
    outcome: Mapping[int, Any]
    seconds: float


class Tuner:
    """Trials of all candidates of one comparison.

    Args:
        storage: Optuna storage URL.
        name: name of the comparison; studies are called ``<name>/<candidate>``.
        seed: base seed of the proposals.
        owner: identifier of this run; trials that it has taken and not finished are taken again.

    Raises:
        StudyError: the storage cannot be reached.

    Example:
        >>> tuner = Tuner("sqlite:///:memory:", name="example", seed=0, owner="me")
        >>> space = [LogRange("learning_rate", 1e-4, 1e-2, default=1e-3)]
        >>> tuner.plan("hard_sharing", space, n_trials=2)
        >>> trials = tuner.take("hard_sharing", space)
        >>> trials[0].settings
        {'learning_rate': 0.001}
        >>> for trial in trials:
        ...     tuner.finish("hard_sharing", trial, value=0.5, outcome={0: "ok"}, seconds=1.0)
        >>> [trial.number for trial in tuner.finished("hard_sharing")]
        [0, 1]
    """

    def __init__(self, storage: str, *, name: str, seed: int, owner: str) -> None:
        self._name = name
        self._seed = seed
        self._owner = owner
        with _quiet_optuna():
            try:
                arguments = {"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else {}
                self._storage = optuna.storages.RDBStorage(storage, engine_kwargs=arguments)
            except Exception as error:
                reason = str(error).strip().splitlines()
                raise StudyError(
                    f"the Optuna storage {storage!r} cannot be reached or read "
                    f"({reason[0] if reason else type(error).__name__}); check the URL, that the server runs, and that "
                    "its driver is installed, or leave storage out to use a SQLite file in the run's folder"
                ) from error
        self._studies: dict[str, optuna.Study] = {}

    def plan(self, candidate: str, space: Sequence[Parameter], *, n_trials: int) -> None:
        """Put the settings of the first ``n_trials`` trials into the storage, those that are not there yet."""
        study = self._study(candidate)
        with _quiet_optuna():
            known = {_number(trial) for trial in study.get_trials(deepcopy=False)}
            missing = [number for number in range(n_trials) if number not in known]
            for number, settings in zip(missing, self._propose(candidate, space, missing), strict=True):
                study.enqueue_trial(settings, user_attrs={"number": number})

    def take(self, candidate: str, space: Sequence[Parameter]) -> list[Trial]:
        """All trials of a candidate that wait, in order; also those that this owner had taken and not finished."""
        study = self._study(candidate)
        taken: dict[int, Trial] = {}
        with _quiet_optuna():
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if self._is_mine(trial):
                    taken[_number(trial)] = Trial(_number(trial), _settings(trial, space), trial.number)
            n_waiting = len(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))
            finished = {trial.number for trial in self.finished(candidate)}
            for _ in range(n_waiting):
                asked = study.ask(_distributions(space))
                asked.set_user_attr("owner", self._owner)
                number = _number(asked)
                if number < 0 or number in taken or number in finished:
                    # nothing waited any more, or two machines planned the same trial at the same time
                    study.tell(asked, state=TrialState.FAIL)
                    continue
                taken[number] = Trial(number, {p.name: asked.params[p.name] for p in space}, asked.number)
        return [taken[number] for number in sorted(taken)]

    def finish(self, candidate: str, trial: Trial, *, value: float, outcome: Mapping[int, Any], seconds: float) -> None:
        """Store the outcome of a trial; a second call for the same trial changes nothing."""
        study = self._study(candidate)
        with _quiet_optuna():
            frozen = study.get_trials(deepcopy=False)[trial.identifier]
            if frozen.state.is_finished():
                return
            identifier = frozen._trial_id
            for seed, value_of_seed in outcome.items():
                text = json.dumps(value_of_seed, separators=(",", ":"))
                self._storage.set_trial_user_attr(identifier, f"seed-{seed}", text)
            self._storage.set_trial_user_attr(identifier, "seconds", seconds)
            finite = value if np.isfinite(value) else 1e300  # a diverged trial is a bad trial, not a failed one
            study.tell(trial.identifier, finite, skip_if_finished=True)

    def finished(self, candidate: str) -> list[Finished]:
        """Finished trials of a candidate, by number."""
        study = self._study(candidate)
        with _quiet_optuna():
            trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        found = {}
        for trial in trials:
            outcome = {
                int(key.removeprefix("seed-")): json.loads(text)
                for key, text in trial.user_attrs.items()
                if key.startswith("seed-")
            }
            found[_number(trial)] = Finished(
                _number(trial), dict(trial.params), float(trial.values[0]), outcome, float(trial.user_attrs["seconds"])
            )
        return [found[number] for number in sorted(found)]

    def wait_for_others(self, candidate: str, n_trials: int, *, poll: float = 2.0) -> bool:
        """Wait until other machines have finished what they took; False if some trial has to be taken over."""
        study = self._study(candidate)
        while True:
            if len(self.finished(candidate)) >= n_trials:
                return True
            with _quiet_optuna():
                running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            if not any(not self._is_mine(trial) for trial in running):
                return False
            time.sleep(poll)

    # -- parts ------------------------------------------------------------------------------------------------

    def _study(self, candidate: str) -> optuna.Study:
        if candidate not in self._studies:
            with _quiet_optuna():
                self._studies[candidate] = optuna.create_study(
                    storage=self._storage,
                    study_name=f"{self._name}/{candidate}",
                    direction="minimize",
                    load_if_exists=True,
                )
        return self._studies[candidate]

    def _is_mine(self, trial: FrozenTrial) -> bool:
        """Whether a running trial is this owner's, or has been given up by whoever took it."""
        if trial.user_attrs.get("owner") == self._owner:
            return True
        return trial.datetime_start is not None and datetime.now() - trial.datetime_start > _STALE

    def _propose(
        self, candidate: str, space: Sequence[Parameter], numbers: Sequence[int]
    ) -> Iterator[dict[str, float | int | str]]:
        even = _even_points(stream_seed(self._seed, f"tuner {candidate}"), len(space))
        for number in numbers:
            if number == 0:
                yield default_settings(space)
            elif number < _EVEN_TRIALS:
                yield settings_at(space, even[number])
            else:
                yield self._model_proposal(candidate, space, number)

    def _model_proposal(self, candidate: str, space: Sequence[Parameter], number: int) -> dict[str, float | int | str]:
        """A proposal of the tree-structured Parzen estimator from the trials finished so far."""
        sampler = optuna.samplers.TPESampler(
            seed=stream_seed(self._seed, f"tuner {candidate}", number) % 2**32, n_startup_trials=0, multivariate=True
        )
        copy = optuna.create_study(sampler=sampler, direction="minimize")
        distributions = _distributions(space)
        for trial in self.finished(candidate):
            copy.add_trial(
                optuna.create_trial(params=dict(trial.settings), distributions=distributions, value=trial.value)
            )
        proposed = copy.ask(distributions)
        return {parameter.name: proposed.params[parameter.name] for parameter in space}


def _even_points(seed: int, n_parameters: int) -> np.ndarray:
    """The first points of a scrambled Sobol sequence, (_EVEN_TRIALS, n_parameters)."""
    sequence = qmc.Sobol(n_parameters, scramble=True, rng=np.random.default_rng(seed))
    points: np.ndarray = sequence.random(_EVEN_TRIALS)
    return points


def _distributions(space: Sequence[Parameter]) -> dict[str, BaseDistribution]:
    return {parameter.name: _distribution(parameter) for parameter in space}


def _distribution(parameter: Parameter) -> BaseDistribution:
    if isinstance(parameter, Choice):
        return CategoricalDistribution(list(parameter.values))
    return FloatDistribution(parameter.low, parameter.high, log=isinstance(parameter, LogRange))


def _number(trial: Any) -> int:
    return int(trial.user_attrs.get("number", -1))


def _settings(trial: FrozenTrial, space: Sequence[Parameter]) -> dict[str, float | int | str]:
    return {parameter.name: trial.params[parameter.name] for parameter in space}


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Keep Optuna's messages about every trial from the user."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        logger.setLevel(level)
