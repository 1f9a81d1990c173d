"""The tuner: every trial once, the same search however often it is interrupted, several owners of one storage."""

import math
import threading
from datetime import datetime, timedelta

import optuna
import pytest
import sqlalchemy

from taskloom.errors import StudyError
from taskloom.study import tuner as module
from taskloom.study.space import Choice, LogRange, Range, default_settings
from taskloom.study.tuner import Tuner

SPACE = (
    Choice("width", (16, 32, 64), default=32, structural=True),
    LogRange("learning_rate", 1e-4, 1e-2, default=1e-3),
    Range("dropout", 0.0, 0.5, default=0.1),
)
MEMORY = "sqlite:///:memory:"
NAME = "mine"


def make(storage=MEMORY, *, seed=0, owner="me", **options):
    return Tuner(storage, name="test", seed=seed, owner=owner, **options)


def value_of(settings):
    """A score whose best place is at a learning rate of 0.003."""
    return abs(math.log10(settings["learning_rate"]) - math.log10(3e-3)) + settings["dropout"]


def tell(tuner, trials, value=value_of):
    for trial in trials:
        tuner.finish(NAME, trial, value=value(trial.settings), outcome={0: [{"score": 1.0}], 1: []}, seconds=2.0)


def search(tuner, *totals):
    """Plan, take and finish up to each of some numbers of trials."""
    for total in totals:
        tuner.plan(NAME, SPACE, n_trials=total)
        tell(tuner, tuner.take(NAME))
    return [trial.settings for trial in tuner.finished(NAME)]


@pytest.fixture
def file(tmp_path):
    return f"sqlite:///{tmp_path / 'study.db'}"


def test_proposals_follow_the_seed_not_the_storage(file):
    in_memory = search(make(), 6)
    assert in_memory == search(make(file), 6)
    assert in_memory[0] == default_settings(SPACE)
    assert in_memory != search(make(seed=1), 6)
    other = make()
    other.plan("another", SPACE, n_trials=6)
    assert [trial.settings for trial in other.take("another")][1:] != in_memory[1:]


def test_sixteen_trials_cover_the_space(tuner):
    found = search(tuner, 16)
    assert {settings["width"] for settings in found} == {16, 32, 64}
    quarters = {int(4 * (math.log10(settings["learning_rate"]) + 4) / 2.0001) for settings in found}
    assert quarters == {0, 1, 2, 3}


def test_values_come_back_as_they_were(file):
    tuner = make(file)
    tuner.plan(NAME, SPACE, n_trials=3)
    trials = tuner.take(NAME)
    assert [trial.number for trial in trials] == [0, 1, 2]
    tuner.finish(NAME, trials[1], value=0.1, outcome={3: [{"score": None, "x": 0.1 + 0.2}]}, seconds=1.5)
    (finished,) = make(file).finished(NAME)
    assert (finished.number, finished.value, finished.seconds) == (1, 0.1, 1.5)
    assert finished.settings == trials[1].settings
    assert finished.outcome == {3: [{"score": None, "x": 0.1 + 0.2}]}
    assert isinstance(finished.settings["width"], int)


def test_the_second_word_on_a_trial_does_not_count(tuner):
    tuner.plan(NAME, SPACE, n_trials=1)
    (trial,) = tuner.take(NAME)
    for value in (1.0, 2.0):
        tuner.finish(NAME, trial, value=value, outcome={0: value}, seconds=value)
    assert [(one.value, one.outcome) for one in tuner.finished(NAME)] == [(1.0, {0: 1.0})]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_trial_that_diverged_is_finished_and_bad(tuner, value):
    tuner.plan(NAME, SPACE, n_trials=1)
    tell(tuner, tuner.take(NAME), value=lambda settings: value)
    assert tuner.finished(NAME)[0].value > 1e200
    assert tuner.wait_for_others(NAME, 1)


def test_an_empty_space_gives_equal_trials(tuner):
    tuner.plan(NAME, (), n_trials=18)
    assert [trial.settings for trial in tuner.take(NAME)] == [{}] * 18


# -- continuing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stops", [(4, 8, 20, 36), (3, 17, 33, 36)])
def test_a_continued_search_is_the_undisturbed_search(file, stops):
    expected = search(make(), 16, 32, 36)
    for stop in stops:
        found = search(make(file), *range(16, stop, 16), stop)
    assert found == expected


def test_a_model_proposes_after_sixteen_trials():
    tuner = make()
    found = search(tuner, 16, 32, 48)
    even, modelled = found[1:16], found[32:48]
    assert sum(map(value_of, modelled)) / 16 < 0.7 * sum(map(value_of, even)) / 15
    # proposals follow what was found
    other = make()
    other.plan(NAME, SPACE, n_trials=16)
    tell(other, other.take(NAME), value=lambda settings: -value_of(settings))
    assert search(other, 32)[:16] == found[:16]
    assert search(other, 32)[16:] != found[16:32]


def test_a_run_that_was_killed_takes_its_trials_again(file):
    killed = make(file)
    killed.plan(NAME, SPACE, n_trials=4)
    taken = killed.take(NAME)
    tell(killed, taken[1:2])
    again = make(file).take(NAME)
    assert [trial.number for trial in again] == [0, 2, 3]
    assert [trial.settings for trial in again] == [taken[place].settings for place in (0, 2, 3)]


def test_a_plan_that_was_killed_is_completed(file, monkeypatch):
    killed = make(file)
    add, count = optuna.Study.add_trial, iter(range(100))

    def dies(self, trial):
        if next(count) == 2:
            raise KeyboardInterrupt
        add(self, trial)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "add_trial", dies)
        with pytest.raises(KeyboardInterrupt):
            killed.plan(NAME, SPACE, n_trials=6)
    assert search(make(file), 6) == search(make(), 6)


# -- several owners -----------------------------------------------------------------------------------------------


def test_two_owners_take_every_trial_once(file):
    first, second = make(file, owner="a"), make(file, owner="b")
    first.plan(NAME, SPACE, n_trials=3)
    second.plan(NAME, SPACE, n_trials=6)
    mine, others = first.take(NAME), second.take(NAME)
    assert ([trial.number for trial in mine], others) == ([0, 1, 2, 3, 4, 5], [])
    assert second.take(NAME) == []
    tell(first, mine)
    assert second.wait_for_others(NAME, 6)
    assert [trial.number for trial in second.finished(NAME)] == [0, 1, 2, 3, 4, 5]


def test_a_trial_planned_twice_at_the_same_time_is_taken_once(file, monkeypatch):
    first, second = make(file, owner="a"), make(file, owner="b")
    with monkeypatch.context() as patch:
        patch.setattr(Tuner, "_trials", lambda self, candidate: {})  # neither sees what the other one plans
        first.plan(NAME, SPACE, n_trials=3)
        second.plan(NAME, SPACE, n_trials=3)
    mine = first.take(NAME)
    assert [trial.number for trial in mine] == [0, 1, 2]
    assert second.take(NAME) == []
    tell(first, mine)
    assert len(second.finished(NAME)) == 3
    assert search(second, 6) == search(make(), 6)


def test_owners_at_the_same_time_in_threads(file):
    make(file).plan(NAME, SPACE, n_trials=1)
    taken = {}

    def work(owner):
        tuner = make(file, owner=owner)
        tuner.plan(NAME, SPACE, n_trials=8)
        taken[owner] = tuner.take(NAME)
        tell(tuner, taken[owner])
        assert tuner.wait_for_others(NAME, 8, poll=0.01)

    threads = [threading.Thread(target=work, args=(owner,)) for owner in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(trial.number for trials in taken.values() for trial in trials) == list(range(8))
    assert [trial.number for trial in make(file).finished(NAME)] == list(range(8))


def test_waiting_for_another_owner(file, monkeypatch):
    first, second = make(file, owner="a"), make(file, owner="b")
    first.plan(NAME, SPACE, n_trials=2)
    taken = first.take(NAME)
    tell(first, taken[:1])
    monkeypatch.setattr(module.time, "sleep", lambda seconds: tell(first, taken[1:]))
    assert second.wait_for_others(NAME, 2)


def test_nothing_is_waited_for_when_something_can_be_done(file):
    first, second = make(file, owner="a"), make(file, owner="b")
    assert not second.wait_for_others(NAME, 1)  # not planned
    first.plan(NAME, SPACE, n_trials=2)
    assert not second.wait_for_others(NAME, 2)  # waiting
    second.take(NAME)
    assert not second.wait_for_others(NAME, 2)  # its own


@pytest.mark.parametrize(("age", "is_taken_over"), [(3600.0, False), (13 * 3600.0, True)])
def test_a_trial_that_somebody_gave_up_is_taken_over(file, monkeypatch, age, is_taken_over):
    first, second = make(file, owner="a"), make(file, owner="b")
    first.plan(NAME, SPACE, n_trials=1)
    first.take(NAME)
    now = module.time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + age)
    assert len(second.take(NAME)) == int(is_taken_over)
    if is_taken_over:  # now it belongs to who took it last
        assert make(file, owner="c").take(NAME) == []


@pytest.mark.parametrize(("age", "is_taken_over"), [(1.0, False), (100.0, True)])
def test_a_kill_before_the_signature_does_not_block_others(file, age, is_taken_over):
    killed = make(file, owner="a")
    killed.plan(NAME, SPACE, n_trials=1)
    killed._storage.set_trial_state_values(1, optuna.trial.TrialState.RUNNING)
    began = datetime.now() - timedelta(seconds=age)
    engine = sqlalchemy.create_engine(file)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE trials SET datetime_start = :began"), {"began": str(began)})
    assert len(make(file, owner="b").take(NAME)) == int(is_taken_over)
    assert len(make(file, owner="c", shared=False).take(NAME)) == 1  # nobody else uses the folder's own storage


def test_a_trial_marked_as_failed_is_planned_anew(file):
    tuner = make(file)
    expected = search(tuner, 3)
    tuner.plan(NAME, SPACE, n_trials=4)
    (trial,) = tuner.take(NAME)
    tuner._study(NAME).tell(trial.identifier, state=optuna.trial.TrialState.FAIL)  # by hand, in Optuna's dashboard
    assert search(tuner, 4)[:3] == expected
    assert search(tuner, 4)[3] == trial.settings


# -- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "storage",
    ["sqlite:////nowhere/at/all/study.db", "nonsense", "nosuchserver://me:secret@host/db", "redis://localhost:1/0"],
)
def test_a_storage_that_cannot_be_reached(storage):
    with pytest.raises(StudyError, match=r"the Optuna storage '.*' cannot be reached or read \(.+\); check") as caught:
        make(storage)
    assert "secret" not in str(caught.value)


def test_a_storage_that_is_no_database(tmp_path):
    (tmp_path / "a.db").write_text("this is no database, and not empty either\n" * 100)
    with pytest.raises(StudyError, match="cannot be reached or read"):
        make(f"sqlite:///{tmp_path / 'a.db'}")


def test_a_storage_that_fails_during_the_run(file):
    tuner = make(file)
    tuner.plan(NAME, SPACE, n_trials=1)
    engine = sqlalchemy.create_engine(file)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("ALTER TABLE trials RENAME TO elsewhere"))
    for call in (lambda: tuner.take(NAME), lambda: tuner.plan("new", SPACE, n_trials=1), lambda: tuner.finished(NAME)):
        with pytest.raises(StudyError, match=r"the storage of the trials failed \(.*no such table.*is kept"):
            call()


def test_hyperparameters_that_changed_are_refused(file):
    search(make(file), 2)
    for changed in (SPACE[:2], (*SPACE[:2], Range("dropout", 0.0, 0.6, default=0.1))):
        with pytest.raises(StudyError, match=r"hyperparameters of 'mine' are others .* another output folder"):
            make(file).plan(NAME, changed, n_trials=4)


def test_optuna_says_nothing(tuner, capfd):
    level = optuna.logging.get_verbosity()
    search(tuner, 17)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == level
