"""Units of work: dealt by shape, written at once, the same however they are carried out."""

import json
import math

import numpy as np
import pytest
import torch

from taskloom.data.split import RandomSplit
from taskloom.study import unit as module
from taskloom.study.catalogue import catalogue
from taskloom.study.problem import Problem
from taskloom.study.space import Choice, LogRange, default_settings
from taskloom.study.tuner import Trial
from taskloom.study.unit import Unit, read_pieces, run_unit, stored_outcomes, units_of

KNOWN = {candidate.name: candidate for candidate in catalogue()}
SPACE = (Choice("width", (16, 32), default=16, structural=True), LogRange("rate", 1e-3, 1e-1, default=1e-2))


def trials(*widths):
    return [Trial(number, {"width": width, "rate": 0.01}, number) for number, width in enumerate(widths)]


@pytest.fixture
def problems(mixed):
    return {seed: Problem(mixed, RandomSplit(), seed) for seed in (0, 1)}


def made(candidate, problems, *settings):
    space = candidate.plan.space(next(iter(problems.values())).data)
    return Unit(
        candidate,
        tuple(Trial(number, {**default_settings(space), **own}, number) for number, own in enumerate(settings)),
    )


def test_networks_of_one_shape_are_one_unit():
    found = units_of(KNOWN["hard_sharing"], trials(16, 32, 16, 32, 32)[::-1], SPACE)
    assert [unit.stem for unit in found] == ["hard_sharing-0-2", "hard_sharing-1-3-4"]


def test_every_trial_of_an_estimator_is_a_unit():
    assert [unit.stem for unit in units_of(KNOWN["linear"], trials(16, 16), SPACE)] == ["linear-0", "linear-1"]


def test_a_unit_is_stored_and_read_as_it_was(problems, tmp_path):
    unit = made(KNOWN["single_task"], problems, {}, {"learning_rate": 0.01})
    counted = []
    outcome = run_unit(unit, problems, tmp_path, finished=counted.append)
    assert sum(counted) == 2 * 2 * 4  # trials, seeds, tasks
    assert sorted(path.name for path in tmp_path.iterdir()) == ["single_task-0-1.json", "single_task-0-1.safetensors"]
    (stored,) = stored_outcomes("single_task", tmp_path)
    assert stored == outcome
    assert not list(stored_outcomes("single", tmp_path))
    assert set(outcome.values) == set(outcome.outcomes) == set(outcome.settings) == {0, 1}
    for number, seeds in outcome.outcomes.items():
        # the value is the mean over seeds of the mean over the tasks that count: not the auxiliary one
        means = [np.mean([piece["score"] for piece in pieces[:3]]) for pieces in seeds.values()]
        assert outcome.values[number] == pytest.approx(np.mean(means), rel=1e-12)
        assert [piece["tasks"] for piece in seeds[0]] == [[task.name] for task in problems[0].tasks]


def test_only_what_can_be_chosen_is_kept(problems, tmp_path):
    outcome = run_unit(made(KNOWN["single_task"], problems, {}, {"learning_rate": 0.01}), problems, tmp_path)
    kept = {
        f"{trial}/{seed}/{place}"
        for trial, seeds in outcome.outcomes.items()
        for seed, pieces in seeds.items()
        for place, piece in enumerate(pieces)
        if "metrics" in piece
    }
    assert len(kept) == 2 * 4  # one per seed and task
    arrays = read_pieces(tmp_path, "single_task-0-1")
    assert set(arrays) == kept
    for seed in (0, 1):
        for place in range(4):
            scores = {trial: outcome.outcomes[trial][seed][place]["score"] for trial in (0, 1)}
            assert f"{min(scores, key=scores.get)}/{seed}/{place}" in kept
    assert read_pieces(tmp_path, "elsewhere") == {}


def test_stored_weights_are_those_of_the_score(problems, tmp_path):
    candidate = KNOWN["hard_sharing"]
    outcome = run_unit(made(candidate, problems, {}), problems, tmp_path)
    piece, arrays = outcome.outcomes[0][1][0], read_pieces(tmp_path, "hard_sharing-0")["0/1/0"]
    model = next(candidate.plan.learn(problems[1], default_settings(candidate.plan.space(problems[1].data))))[0].model
    state = {name.removeprefix("state/"): torch.from_numpy(array) for name, array in arrays.items() if "state" in name}
    model.load_state_dict(state)
    outputs = problems[1].outputs(model.eval(), "validation")
    losses = [problems[1].relative_loss(name, outputs[name], "validation") for name in problems[1].scored]
    assert np.mean(losses) == pytest.approx(piece["score"], rel=1e-5)
    assert arrays["validation_loss"].shape == arrays["train_loss"].shape == (piece["epochs"], 4)
    assert arrays["score"][piece["best_epoch"]] == pytest.approx(piece["score"], rel=1e-6)
    assert arrays["cosines"].shape[1:] == (4, 4)


def test_a_unit_repeats_itself_and_does_not_depend_on_batches(problems, tmp_path):
    unit = made(KNOWN["hard_sharing"], problems, {}, {"learning_rate": 0.01})
    first = run_unit(unit, problems, tmp_path / "a")
    assert run_unit(unit, problems, tmp_path / "b").values == first.values
    one_by_one = run_unit(unit, problems, tmp_path / "c", batched=False)
    assert one_by_one.values == pytest.approx(first.values, rel=1e-4)


def test_a_kill_between_weights_and_record_leaves_no_unit(problems, tmp_path, monkeypatch):
    def killed(path, value):
        raise KeyboardInterrupt

    unit = made(KNOWN["hard_sharing"], problems, {})
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            run_unit(unit, problems, tmp_path)
    assert list(stored_outcomes("hard_sharing", tmp_path)) == []
    run_unit(unit, problems, tmp_path)
    assert len(list(stored_outcomes("hard_sharing", tmp_path))) == 1


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_trial_that_diverged_is_stored_as_such(constant, problems, tmp_path, score):
    candidate = constant(score=lambda value: score if value > 1 else value)
    outcome = run_unit(made(candidate, problems, {"value": 2.0}, {"value": 0.5}), problems, tmp_path)
    assert not math.isfinite(outcome.values[0])
    assert outcome.values[1] == 0.5
    (stored,) = stored_outcomes(candidate.name, tmp_path)
    assert stored.values == {0: math.inf, 1: 0.5}
    assert stored.outcomes[0][0][0]["score"] is None
    assert "NaN" not in (tmp_path / "constant-0-1.json").read_text()
    json.loads((tmp_path / "constant-0-1.json").read_text())
    assert "metrics" in stored.outcomes[1][0][0]
