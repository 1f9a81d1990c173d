"""The tuner: which settings are tried, and who tries them. The only file that knows Optuna.

Every candidate has one Optuna study in a storage (a SQLite file, or any URL that Optuna takes), which several machines
may share. Trial 0 has the default settings, the next ones are points of a scrambled Sobol sequence, which covers the
space evenly however few they are; from trial 16 on a tree-structured Parzen estimator proposes, in blocks of 16. What a
trial tries depends only on the seed, its number and the results of earlier blocks, so that a continued search is the
same search.

Trials are put into the storage waiting; a worker takes all of a candidate that wait. A trial that this run's owner had
taken when it was killed is taken again. Two machines may plan a trial at the same time: the first entry of a number
counts, and nobody takes the others.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import qmc

from taskloom._rng import stream_seed
from taskloom.errors import StudyError
from taskloom.study.space import Choice, LogRange, Parameter, default_settings, settings_at

__all__ = ["Finished", "Trial", "Tuner"]

_BLOCK = 16  # so many trials cover the space evenly; then a model proposes so many from all earlier ones
_STALE_SECONDS = 12 * 3600.0  # a trial that somebody else took this long ago and has not finished is taken over
_CLAIM_SECONDS = 60.0  # who takes a trial signs it at once: one that is not signed after this time was given up
_DIVERGED = 1e300  # the value of a trial without a finite score: a bad trial, not a failed one


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
        shared: whether other owners may use the storage at the same time; if not, every unfinished trial is free.

    Raises:
        StudyError: the storage cannot be reached.

    Example:
        >>> tuner = Tuner("sqlite:///:memory:", name="example", seed=0, owner="me")
        >>> space = [LogRange("learning_rate", 1e-4, 1e-2, default=1e-3)]
        >>> tuner.plan("hard_sharing", space, n_trials=2)
        >>> trials = tuner.take("hard_sharing")
        >>> trials[0].settings
        {'learning_rate': 0.001}
        >>> for trial in trials:
        ...     tuner.finish("hard_sharing", trial, value=0.5, outcome={0: "ok"}, seconds=1.0)
        >>> [trial.number for trial in tuner.finished("hard_sharing")]
        [0, 1]
    """

    def __init__(self, storage: str, *, name: str, seed: int, owner: str, shared: bool = True) -> None:
        self._name = name
        self._shared = shared
        self._seed = seed
        self._owner = owner
        with _quiet_optuna():
            try:
                self._storage = _open(storage)
            except Exception as error:
                raise StudyError(
                    f"the Optuna storage {_shown(storage)!r} cannot be reached or read ({_reason(error)}); check the "
                    "URL, that the server runs, and that its driver is installed, or leave storage out to use a SQLite "
                    "file in the run's folder"
                ) from error
        self._studies: dict[str, optuna.Study] = {}

    def plan(self, candidate: str, space: Sequence[Parameter], *, n_trials: int) -> None:
        """Put the settings of the first ``n_trials`` trials into the storage, those that are not there yet."""
        distributions = _distributions(space)
        with self._asking():
            study = self._study(candidate)
            known = self._trials(candidate)
            if any(trial.distributions != distributions for trial in known.values()):
                raise StudyError(
                    f"the hyperparameters of {candidate!r} are others than those of its finished trials, which cannot "
                    "be continued; give another output folder, or give the candidate another name"
                )
            missing = [number for number in range(n_trials) if number not in known]
            for number, settings in zip(missing, self._propose(candidate, space, missing), strict=True):
                study.add_trial(
                    optuna.create_trial(
                        state=TrialState.WAITING,
                        params=settings,
                        distributions=distributions,
                        user_attrs={"number": number},
                    )
                )

    def take(self, candidate: str) -> list[Trial]:
        """All trials of a candidate that wait, in order; also those that this owner had taken and not finished."""
        with self._asking():
            return [
                Trial(number, dict(trial.params), trial.number)
                for number, trial in self._trials(candidate).items()
                if self._is_taken_by_me(trial)
            ]

    def finish(self, candidate: str, trial: Trial, *, value: float, outcome: Mapping[int, Any], seconds: float) -> None:
        """Store the outcome of a trial; a second call for the same trial changes nothing."""
        with self._asking():
            study = self._study(candidate)
            frozen = study.get_trials(deepcopy=False)[trial.identifier]
            if frozen.state.is_finished():
                return
            identifier = frozen._trial_id
            for seed, value_of_seed in outcome.items():
                text = json.dumps(value_of_seed, separators=(",", ":"))
                self._storage.set_trial_user_attr(identifier, f"seed-{seed}", text)
            self._storage.set_trial_user_attr(identifier, "seconds", seconds)
            study.tell(trial.identifier, value if np.isfinite(value) else _DIVERGED, skip_if_finished=True)

    def finished(self, candidate: str) -> list[Finished]:
        """Finished trials of a candidate, by number."""
        with self._asking():
            return [
                _finished(number, trial)
                for number, trial in self._trials(candidate).items()
                if trial.state is TrialState.COMPLETE
            ]

    def wait_for_others(self, candidate: str, n_trials: int, *, poll: float = 2.0) -> bool:
        """Wait until other machines have finished what they took; False if some trial has to be taken over."""
        while True:
            with self._asking():
                trials = self._trials(candidate)
            missing = [
                trials.get(number)
                for number in range(n_trials)
                if number not in trials or trials[number].state is not TrialState.COMPLETE
            ]
            if not missing:
                return True
            if any(trial is None or self._is_free(trial) for trial in missing):
                return False
            time.sleep(poll)

    # -- parts ------------------------------------------------------------------------------------------------

    def _study(self, candidate: str) -> optuna.Study:
        if candidate not in self._studies:
            self._studies[candidate] = optuna.create_study(
                storage=self._storage,
                study_name=f"{self._name}/{candidate}",
                direction="minimize",
                load_if_exists=True,
            )
        return self._studies[candidate]

    def _trials(self, candidate: str) -> dict[int, FrozenTrial]:
        """Trials by number, in order; of several entries of one number the first that nobody has marked as failed."""
        found: dict[int, FrozenTrial] = {}
        for trial in self._study(candidate).get_trials(deepcopy=False):
            if trial.state is not TrialState.FAIL:
                found.setdefault(int(trial.user_attrs["number"]), trial)
        return dict(sorted(found.items()))

    def _is_free(self, trial: FrozenTrial) -> bool:
        """Whether this owner may take a trial: it waits, is this owner's own, or was given up by who took it."""
        if trial.state is not TrialState.RUNNING:
            return trial.state is TrialState.WAITING
        if not self._shared:
            return True
        signed = trial.user_attrs.get("taken")
        if signed is None:
            began = trial.datetime_start
            return began is None or abs((datetime.now() - began).total_seconds()) > _CLAIM_SECONDS
        return bool(signed["owner"] == self._owner or time.time() - signed["at"] > _STALE_SECONDS)

    def _is_taken_by_me(self, trial: FrozenTrial) -> bool:
        """Take and sign a trial that is free; False if it is not, or somebody else was quicker."""
        if not self._is_free(trial):
            return False
        try:
            if trial.state is TrialState.WAITING and not self._storage.set_trial_state_values(
                trial._trial_id, TrialState.RUNNING
            ):
                return False
            self._storage.set_trial_user_attr(trial._trial_id, "taken", {"owner": self._owner, "at": time.time()})
        except optuna.exceptions.UpdateFinishedTrialError:
            return False
        return True

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn failures of the storage into errors that say what to do."""
        try:
            with _quiet_optuna():
                yield
        except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
            raise StudyError(
                f"the storage of the trials failed ({_reason(error.__cause__ or error)}); check the disk, or the "
                "server, and run the same command again: what is finished is kept"
            ) from error

    def _propose(
        self, candidate: str, space: Sequence[Parameter], numbers: Sequence[int]
    ) -> Iterator[dict[str, float | int | str]]:
        even = _even_points(stream_seed(self._seed, f"tuner {candidate}"), len(space))
        for number in numbers:
            if number == 0:
                yield default_settings(space)
            elif number < _BLOCK:
                yield settings_at(space, even[number])
            else:
                yield self._model_proposal(candidate, space, number)

    def _model_proposal(self, candidate: str, space: Sequence[Parameter], number: int) -> dict[str, float | int | str]:
        """A proposal of the tree-structured Parzen estimator from the trials of earlier blocks."""
        sampler = optuna.samplers.TPESampler(
            seed=stream_seed(self._seed, f"tuner {candidate}", number) % 2**32, n_startup_trials=0, multivariate=True
        )
        model = optuna.create_study(sampler=sampler, direction="minimize")
        distributions = _distributions(space)
        for trial in self.finished(candidate):
            if trial.number < number // _BLOCK * _BLOCK:
                model.add_trial(
                    optuna.create_trial(params=dict(trial.settings), distributions=distributions, value=trial.value)
                )
        proposed = model.ask(distributions)
        return {parameter.name: proposed.params[parameter.name] for parameter in space}


def _even_points(seed: int, n_parameters: int) -> np.ndarray:
    """The first points of a scrambled Sobol sequence, (_BLOCK, n_parameters)."""
    if n_parameters == 0:
        return np.zeros((_BLOCK, 0))
    sequence = qmc.Sobol(n_parameters, scramble=True, rng=np.random.default_rng(seed))
    points: np.ndarray = sequence.random(_BLOCK)
    return points


def _distributions(space: Sequence[Parameter]) -> dict[str, BaseDistribution]:
    return {parameter.name: _distribution(parameter) for parameter in space}


def _distribution(parameter: Parameter) -> BaseDistribution:
    if isinstance(parameter, Choice):
        return CategoricalDistribution(list(parameter.values))
    return FloatDistribution(parameter.low, parameter.high, log=isinstance(parameter, LogRange))


def _finished(number: int, trial: FrozenTrial) -> Finished:
    outcome = {
        int(key.removeprefix("seed-")): json.loads(text)
        for key, text in trial.user_attrs.items()
        if key.startswith("seed-")
    }
    return Finished(number, dict(trial.params), float(trial.values[0]), outcome, float(trial.user_attrs["seconds"]))


def _open(storage: str) -> optuna.storages.RDBStorage:
    if not storage.startswith("sqlite"):
        return optuna.storages.RDBStorage(storage)
    opened = optuna.storages.RDBStorage(storage, engine_kwargs={"connect_args": {"timeout": 60}})
    if opened.engine.url.database not in (None, "", ":memory:"):
        # SQLite locks its file at the first write of a transaction, so that two owners could both read that a trial
        # waits and then both take it; here it locks at the beginning, as SQLAlchemy's manual shows
        sqlalchemy.event.listen(opened.engine, "connect", _leave_transactions_to_sqlalchemy)
        sqlalchemy.event.listen(
            opened.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE")
        )
        opened.engine.dispose()
    return opened


def _leave_transactions_to_sqlalchemy(connection: Any, record: object) -> None:
    connection.isolation_level = None


def _lock(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _shown(storage: str) -> str:
    """A storage URL without its password."""
    try:
        return sqlalchemy.engine.make_url(storage).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return storage


def _reason(error: BaseException) -> str:
    """The first line of an error, or its class."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


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
