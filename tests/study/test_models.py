"""Stored models: what is loaded predicts what was scored."""

import shutil

import narwhals as nw
import numpy as np
import polars as pl
import pytest
import skops.io

import taskloom as tl
from taskloom.data.split import RandomSplit
from taskloom.data.table import MultiTaskData, read_features
from taskloom.errors import ExportError, StudyError
from taskloom.fit.train import train
from taskloom.study.candidate import Candidate
from taskloom.study.catalogue import catalogue
from taskloom.study.models import load_model, store_learned
from taskloom.study.plans.apart import Apart
from taskloom.study.problem import Problem, metrics_of
from taskloom.study.space import default_settings


class Foreign:
    """Of no package that is trusted."""


KNOWN = {candidate.name: candidate for candidate in catalogue()}


def scores_of(model, finished, seed):
    """Test scores of a stored model's predictions, from the data themselves."""
    data = finished.data
    rows = RandomSplit().split(data, seed).test
    predictions = model.predict(data)
    found = {}
    for task in data.tasks:
        own = rows[data.mask[task.name][rows]]
        metric = metrics_of(task)[0]
        found[task.name] = metric(predictions[task.name][own], data.targets[task.name][own])
    return found


@pytest.mark.parametrize("which", ["compared", "compared_schools"])
@pytest.mark.parametrize("name", ["single_task", "hard_sharing", "transfer", "linear"])
def test_a_stored_model_predicts_what_was_scored(which, name, request):
    finished = request.getfixturevalue(which)
    model = load_model(finished.folder, candidate=name)
    assert model.candidate == name
    assert [task.name for task in model.tasks] == [task.name for task in finished.data.tasks]
    runs = finished.results.runs.filter(candidate=name)
    best = runs.group_by("seed").agg(pl.col("validation_score").mean()).sort("validation_score")["seed"][0]
    scores = finished.results.scores.filter(candidate=name, split="test", seed=best)
    for task, value in scores_of(model, finished, best).items():
        main = metrics_of(next(one for one in finished.data.tasks if one.name == task))[0].name
        assert value == pytest.approx(scores.filter(task=task, metric=main)["value"].item(), rel=1e-6)


def test_the_best_candidate_is_loaded_unless_told_otherwise(compared):
    names = ("single_task", "hard_sharing", "transfer", "linear")
    best = min(names, key=compared.results.validation_score)
    assert load_model(compared.folder).candidate == best
    stored = sorted(path.name for path in (compared.folder / "checkpoints").iterdir())
    assert stored == sorted(names)
    for name in names:
        files = sorted(path.name for path in (compared.folder / "checkpoints" / name).iterdir())
        assert files == (
            ["estimators.skops", "model.json"] if name == "linear" else ["model.json", "model.safetensors"]
        )
    assert load_model(compared.folder / "checkpoints" / "transfer").candidate == "transfer"


def test_predictions_have_the_form_of_their_task(compared, compared_schools, main_task):
    model = load_model(compared.folder, candidate="hard_sharing")
    found = model.predict(compared.data)
    n_rows = compared.data.n_rows
    assert {name: values.shape for name, values in found.items()} == {
        main_task: (n_rows,),
        "a / b": (n_rows,),
        "passed?": (n_rows,),
        "colour": (n_rows, 3),
    }
    assert all(np.isfinite(values).all() for values in found.values())
    np.testing.assert_allclose(found["colour"].sum(1), 1.0)
    schools = compared_schools.data
    for position, (name, values) in enumerate(load_model(compared_schools.folder).predict(schools).items()):
        np.testing.assert_array_equal(np.isfinite(values), schools.task_ids == position, err_msg=name)


def test_new_rows_of_a_table(tmp_path):
    random = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "x": random.normal(size=80),
            "colour": random.choice(["red", "blue"], 80),
            "y 값": random.normal(size=80),
            "sold": random.choice(["yes", "no"], 80),
        }
    )
    data = MultiTaskData.from_frame(frame, targets=["y 값", "sold"])
    tl.compare(data, candidates="linear", seeds=1, budget=1, out=tmp_path / "run", progress=False)
    model = load_model(tmp_path / "run")
    new = nw.from_native(frame).select("x", "colour").tail(7).to_native()
    found = model.predict(read_features(new, model.preparation.schema))
    whole = model.predict(data)
    for name in ("y 값", "sold"):
        np.testing.assert_allclose(found[name], whole[name][-7:], rtol=1e-5, atol=1e-6)


def learned_by(candidate, problem):
    settings = default_settings(candidate.plan.space(problem.data))
    learning = candidate.plan.learn(problem, settings)
    results = None
    while True:
        try:
            results = train(learning.send(results))
        except StopIteration as end:
            return settings, end.value


def test_what_one_training_has_learned_is_stored(problem, tmp_path):
    settings, learned = learned_by(KNOWN["hard_sharing"], problem)
    store_learned(learned, candidate=KNOWN["hard_sharing"], settings=settings, problem=problem, folder=tmp_path)
    found = load_model(tmp_path).predict(problem.data)["passed?"][problem.rows("passed?", "test")]
    expected = problem.data.tasks[2].kind.predict(learned[0].outputs("test")["passed?"])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def stored_and_loaded(candidate, problem, folder):
    """Every task's predictions of a stored candidate, and those that it was scored by, for the test rows."""
    settings, learned = learned_by(candidate, problem)
    store_learned(learned, candidate=candidate, settings=settings, problem=problem, folder=folder)
    loaded = load_model(folder).predict(problem.data)
    outputs = {name: values for one in learned for name, values in one.outputs("test").items()}
    scored = {
        task.name: problem.preparation.restore(task.name, task.kind.predict(outputs[task.name]))
        for task in problem.tasks
    }
    return {name: values[problem.rows(name, "test")] for name, values in loaded.items()}, scored


CLASSICAL = [one.name for one in catalogue() if one.family == "joint" and not hasattr(one.plan, "build")]


@pytest.mark.parametrize("layout", ["columns", "column"])
@pytest.mark.parametrize("name", ["linear", "boosted_trees", "boosted_trees_pooled", *CLASSICAL])
def test_estimators_are_stored(name, layout, mixed_with, schools, tmp_path):
    """Each for tasks with the same rows and for tasks with rows of their own, one of a single class among them."""
    if layout == "column":
        data = schools
    else:
        random = np.random.default_rng(3)
        x = random.normal(size=(60, 3))
        y = {"price": x[:, 0] + random.normal(size=60), "size": x[:, 1] + random.normal(size=60)}
        labels = {"sold": x[:, 0] > random.normal(size=60), "dear": x[:, 2] > random.normal(size=60)}
        labels["always"] = np.full(60, True)
        targets = {**y, **{key: np.where(value, "yes", "no") for key, value in labels.items()}}
        kinds = {key: tl.Regression() if key in y else tl.Binary(("no", "yes")) for key in targets}
        data = MultiTaskData.from_arrays(x, targets, kinds)
    if KNOWN[name].plan.reason_against(data) is not None:
        data = data.only(["price", "size"]) if layout == "columns" else data
    if KNOWN[name].plan.reason_against(data) is not None:
        pytest.skip(f"not for these data: {KNOWN[name].plan.reason_against(data)}")
    loaded, scored = stored_and_loaded(KNOWN[name], Problem(data, RandomSplit(), 0), tmp_path)
    assert list(loaded) == [task.name for task in data.tasks]
    for task, values in loaded.items():
        np.testing.assert_allclose(values, scored[task], rtol=1e-6, atol=1e-9, err_msg=task)


def test_estimators_of_several_classes_are_stored(problem, tmp_path):
    loaded, scored = stored_and_loaded(KNOWN["boosted_trees"], problem, tmp_path)
    for task, values in loaded.items():
        np.testing.assert_allclose(values, scored[task], rtol=1e-6, err_msg=task)


def test_a_finished_run_fits_no_estimator_again(compared, monkeypatch):
    stored = compared.folder / "checkpoints" / "linear" / "estimators.skops"
    before = stored.stat().st_mtime_ns
    compared.call()
    assert stored.stat().st_mtime_ns == before


def test_what_only_predicts_cannot_be_stored(problem, tmp_path, constant):
    settings, learned = learned_by(constant("guess"), problem)
    with pytest.raises(ExportError, match="'guess' gives predictions only; its plan must return Learned with fit="):
        store_learned(learned, candidate=constant("guess"), settings=settings, problem=problem, folder=tmp_path)


def test_foreign_types_are_not_made(problem, tmp_path):
    settings, learned = learned_by(KNOWN["linear"], problem)
    store_learned(learned, candidate=KNOWN["linear"], settings=settings, problem=problem, folder=tmp_path)
    skops.io.dump((Foreign(),), tmp_path / "estimators.skops")
    with pytest.raises(StudyError, match=r"Foreign'\], which neither taskloom nor scikit-learn has"):
        load_model(tmp_path)
    (tmp_path / "estimators.skops").write_bytes(b"nothing of use")
    with pytest.raises(StudyError, match="is damaged"):
        load_model(tmp_path)


def test_a_candidate_of_ones_own_is_given_as_the_object(problem, tmp_path, constant):
    mine = Candidate(name="mine", title="mine", summary="Mine.", family="joint", plan=Apart())
    settings, learned = learned_by(mine, problem)
    store_learned(learned, candidate=mine, settings=settings, problem=problem, folder=tmp_path)
    assert load_model(tmp_path, candidate=mine).candidate == "mine"
    with pytest.raises(StudyError, match="'mine', which is not in the catalogue; give the Candidate object"):
        load_model(tmp_path)
    with pytest.raises(StudyError, match=r"'mine' has no method build\(shape\)"):
        load_model(tmp_path, candidate=constant("mine"))


def test_what_cannot_be_loaded(tmp_path, compared):
    with pytest.raises(StudyError, match="does not exist; give the folder of a run"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(StudyError, match="holds no stored model; give the folder of a finished run"):
        load_model(tmp_path)
    with pytest.raises(StudyError, match=r"no model of the candidate 'boosted_trees'; it has \['hard_sharing', "):
        load_model(compared.folder, candidate="boosted_trees")
    copy = tmp_path / "copy"
    shutil.copytree(compared.folder / "checkpoints" / "transfer", copy)
    (copy / "model.safetensors").write_bytes(b"nothing of use")
    with pytest.raises(StudyError, match="is damaged"):
        load_model(copy)
