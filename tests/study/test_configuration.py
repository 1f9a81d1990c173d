"""The configuration of a comparison: everything that determines its trials, the same in every process."""

import dataclasses
import json

import taskloom as tl
from taskloom.data.split import RandomSplit
from taskloom.study.budget import Budget
from taskloom.study.catalogue import choose
from taskloom.study.configuration import configuration
from taskloom.study.run import Study


class MyLoss:
    def __call__(self, prediction, target, mask):
        return prediction.sum()


def fingerprint(data, **changes):
    study = Study(data, **changes)
    return configuration(study, *choose("default", data), study.split or RandomSplit())["fingerprint"]


def test_what_determines_the_trials_changes_the_fingerprint(mixed, schools):
    same = fingerprint(mixed)
    for changes in ({"budget": Budget(trials=3)}, {"alpha": 0.1}, {"margin": 0.1}, {"title": "x"}, {"command": "y"}):
        assert fingerprint(mixed, **changes) == same
    others = [
        fingerprint(schools),
        fingerprint(mixed, seed=1),
        fingerprint(mixed, seeds=3),
        fingerprint(mixed, main="a / b"),
        fingerprint(mixed, split=RandomSplit((0.5, 0.3, 0.2))),
    ]
    for change in (
        {"loss": tl.losses.Huber(2.0)},
        {"loss": tl.losses.Huber(3.0)},
        {"loss_weight": 2.0},
        {"auxiliary": True},
    ):
        first = dataclasses.replace(mixed.tasks[0], **change)
        others.append(fingerprint(dataclasses.replace(mixed, tasks=(first, *mixed.tasks[1:]))))
    assert len({same, *others}) == 1 + len(others)


def test_a_loss_of_ones_own_has_no_address_in_it(mixed):
    tasks = (dataclasses.replace(mixed.tasks[0], loss=MyLoss()), *mixed.tasks[1:])
    study = Study(dataclasses.replace(mixed, tasks=tasks))
    entry = configuration(study, *choose("default", mixed), RandomSplit())["settings"]["tasks"][0]
    assert entry["loss"] == "MyLoss"


def test_the_configuration_is_json(mixed):
    found = configuration(Study(mixed), *choose("default", mixed), RandomSplit())
    assert json.loads(json.dumps(found)) == found
    assert found["settings"]["command"].startswith("tl.compare(data, seeds=5, seed=0, budget='8 trials'")
