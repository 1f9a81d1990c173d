"""Results: the numbers that follow from the scores, and the way to disk and back."""

import json
import math
import shutil

import polars as pl
import pytest

from taskloom.errors import DataError, StudyError
from taskloom.metrics import transfer_report
from taskloom.study.results import SCHEMAS, Results

TASKS = ("title", "수학 / 1", "helper")  # one is called like a column of the table of candidates
CANDIDATES = (("single_task", "single"), ("sharing", "joint"), ("pooled", "pooled"), ("trees", "baseline"))


def settings(**changes):
    return {
        "title": "example",
        "tasks": [
            {
                "name": name,
                "metric": "RMSE",
                "metrics": [{"name": "RMSE", "lower_is_better": True}, {"name": "R2", "lower_is_better": False}],
                "auxiliary": name == "helper",
            }
            for name in TASKS
        ],
        "candidates": [
            {"name": name, "title": name.upper(), "family": family, "summary": "", "source": ""}
            for name, family in CANDIDATES
        ],
        "reference": "single_task",
        "alpha": 0.05,
        "margin": 0.01,
        **changes,
    }


def made(factors=None, *, seeds=8, validation=None, value=None, **changes):
    """Results in which a candidate's scores are the single-task scores times a factor."""
    factors = {"single_task": 1.0, "sharing": 0.9, "pooled": 1.2, "trees": 1.0, **(factors or {})}
    validation = {"single_task": 0.5, "sharing": 0.4, "pooled": 0.7, "trees": 0.6, **(validation or {})}
    rows = {name: [] for name in SCHEMAS}
    for candidate, _ in CANDIDATES:
        for seed in range(seeds):
            one_network = candidate in ("sharing", "pooled")
            for place, task in enumerate(TASKS):
                score = (1 + place + 0.01 * seed) * factors[candidate] * (1 + 0.001 * (-1) ** seed * (place + 1))
                score = score if value is None else value(candidate, task, seed, score)
                for split in ("validation", "test"):
                    rows["scores"].append((candidate, task, "RMSE", seed, split, score, True))
                    rows["scores"].append((candidate, task, "R2", seed, split, -score, False))
            for task in ("",) if one_network else TASKS:
                run = {
                    "candidate": candidate,
                    "seed": seed,
                    "task": task,
                    "trial": seed,
                    "settings": json.dumps({"rate": seed}),
                    "parameters": 10,
                    "train_seconds": 2.0,
                    "predict_microseconds": 3.0,
                    "epochs": 3,
                    "best_epoch": 1,
                    "steps": 9,
                }
                rows["runs"].append(tuple(run.get(name, validation[candidate]) for name in SCHEMAS["runs"]))
    for task in TASKS:
        for epoch, loss in enumerate([3.0, 1.0, 2.0] if task != "title" else [3.0, 2.0, 1.0]):
            rows["curves"].append(("sharing", 0, task, epoch, loss, loss))
            rows["curves"].append(("single_task", 0, task, epoch, loss, loss))
    rows["conflicts"] = [("sharing", 0, e, "title", "수학 / 1", -0.1, share) for e, share in enumerate((1.0, 0.0))]
    return Results.from_rows(rows, settings=settings(**changes), environment={"python": "3"})


def test_gains_are_paired_over_the_tasks_that_count():
    results = made()
    single, joint = results.main_scores("single_task"), results.main_scores("sharing")
    assert set(single) == {"title", "수학 / 1"}
    expected = transfer_report(single, joint, lower_is_better=True)
    assert results.gains("sharing") == expected
    assert results.delta_m("sharing") == expected.delta_m == pytest.approx(10.0)
    assert results.delta_m("pooled") == pytest.approx(-20.0)
    assert results.gains("sharing") is results.gains("sharing")


def test_alpha_and_margin_reach_the_tests():
    assert made(alpha=0.001).gains("sharing").tasks[0].verdict == "inconclusive"
    factors = {"sharing": 0.98}
    assert made(factors).gains("sharing").tasks[0].verdict == "better"
    assert made(factors, margin=0.2, alpha=0.001).gains("sharing").tasks[0].verdict == "equivalent"


def test_scores_of_zero_have_absolute_gains():
    results = made(value=lambda candidate, task, seed, score: 0.0 if candidate == "single_task" else 0.1)
    report = results.gains("sharing")
    assert not report.is_relative
    assert report.tasks[0].mean == pytest.approx(-0.1)


def test_verdicts_have_a_row_per_candidate_and_task():
    table = made().verdicts()
    assert table.columns[:3] == ["candidate", "task", "n"]
    assert len(table) == 3 * 2
    assert dict(table.filter(pl.col("task") == "title").select("candidate", "verdict").iter_rows()) == {
        "sharing": "better",
        "pooled": "worse",
        "trees": "equivalent",
    }
    worse = table.row(by_predicate=(pl.col("candidate") == "pooled") & (pl.col("task") == "title"), named=True)
    assert worse["flag"] == "negative transfer"
    assert worse["low"] < worse["mean_gain"] < worse["high"] < 0
    assert worse["corrected_p"] >= worse["p"]


def test_the_best_is_chosen_on_validation_rows_only():
    results = made({"sharing": 5.0, "trees": 0.1})
    best = results.best()
    assert (best.candidate, best.title, best.validation_score) == ("sharing", "SHARING", pytest.approx(0.4))
    assert best.settings[3] == {"": {"rate": 3}}
    assert results.best("baseline").settings[3] == {task: {"rate": 3} for task in TASKS}
    assert made(validation={"sharing": 0.9}).best("together").candidate == "pooled"
    assert made(validation={"sharing": 0.9}).best().candidate == "single_task"
    assert results.best("baseline").candidate == "trees"
    assert made(validation={"sharing": math.inf}).best().candidate == "single_task"
    with pytest.raises(StudyError, match="no candidate of the family 'nothing'"):
        results.best("nothing")


def test_the_answer_follows_the_tables():
    assert made().answer().startswith("Yes: SHARING is better than")
    assert made().answer().endswith("It is also the best of all candidates on the validation rows.")
    assert made(validation={"sharing": 0.9}).answer().startswith("No: POOLED, the best way of learning together, is")
    assert "single-task networks are the best" in made(validation={"sharing": 0.9}).answer()
    assert made(validation={"trees": 0.1}).answer().endswith("is another one: TREES.")
    assert made(seeds=2).answer().startswith("Not settled: with 2 seeds")
    apart = [entry for entry in settings()["candidates"] if entry["family"] in ("single", "baseline")]
    assert made(candidates=apart).answer().startswith("Nothing was learned together.")


def test_the_table_of_candidates():
    table = made().table()
    assert table["candidate"].to_list() == ["sharing", "single_task", "trees", "pooled"] or table[
        "candidate"
    ].to_list() == ["sharing", "trees", "single_task", "pooled"]
    row = table.row(by_predicate=pl.col("candidate") == "single_task", named=True)
    assert row["delta_m"] == 0.0
    assert row["title"] == "SINGLE_TASK"
    assert row["parameters"] == 3 * 10
    assert row["train_seconds"] == pytest.approx(6.0)
    assert row["title (task)"] == pytest.approx(1.035, abs=0.01)
    assert row["수학 / 1"] == pytest.approx(2.035, abs=0.01)
    assert "helper" not in row
    assert math.isnan(row["step_milliseconds"])  # not measured
    sharing = table.row(by_predicate=pl.col("candidate") == "sharing", named=True)
    assert (sharing["parameters"], sharing["predict_microseconds"]) == (10, 3.0)


def test_the_table_has_the_measured_times_of_steps():
    table = made(step_milliseconds={"sharing": 2.5}).table()
    times = dict(zip(table["candidate"], table["step_milliseconds"], strict=True))
    assert times["sharing"] == 2.5
    assert all(math.isnan(value) for name, value in times.items() if name != "sharing")


def test_a_candidate_that_diverged_under_one_seed():
    results = made(
        value=lambda candidate, task, seed, score: math.nan if candidate == "sharing" and seed == 0 else score
    )
    assert results.gains("sharing").tasks[0].n == 7
    assert math.isfinite(results.table().filter(pl.col("candidate") == "sharing")["수학 / 1"].item())


def test_a_candidate_that_diverged_under_every_seed():
    results = made(
        value=lambda candidate, task, seed, score: math.nan if candidate == "sharing" else score,
        validation={"sharing": math.inf},
    )
    assert results.gains("sharing").tasks[0].n == 0
    assert results.best().candidate != "sharing"
    assert math.isnan(results.table().filter(pl.col("candidate") == "sharing")["delta_m"].item())
    assert results.table()["candidate"].to_list()[-1] == "sharing"
    assert len(results.verdicts()) == 6
    assert results.answer()
    only = [entry for entry in settings()["candidates"] if entry["name"] in ("single_task", "sharing")]
    assert Results(**{**vars_of(results), "settings": settings(candidates=only)}).answer()


def vars_of(results):
    return {name: getattr(results, name) for name in ("settings", "environment", *SCHEMAS)}


def test_diagnostics_of_a_shared_checkpoint_and_of_separate_ones():
    results = made()
    shared = {row["task"]: row for row in results.diagnostics("sharing").iter_rows(named=True)}
    assert set(shared) == set(TASKS)
    assert shared["title"]["best_epoch"] == 3.0
    assert shared["helper"]["best_epoch"] == 2.0
    assert shared["title"]["conflict_share"] == pytest.approx(0.5)
    assert shared["helper"]["conflict_share"] is None
    apart = {row["task"]: row for row in results.diagnostics("single_task").iter_rows(named=True)}
    assert apart["title"]["checkpoint_regret"] == 0.0
    trees = results.diagnostics("trees")
    assert trees["best_epoch"].null_count() == len(TASKS)


@pytest.mark.parametrize("ask", ["describe", "gains", "delta_m", "diagnostics", "main_scores"])
def test_an_unknown_candidate_is_named_with_the_nearest(ask):
    with pytest.raises(StudyError, match=r"unknown candidate 'shaering'\. Did you mean 'sharing'\?"):
        getattr(made(), ask)("shaering")


# -- files --------------------------------------------------------------------------------------------------------


def test_results_come_back_as_they_were(tmp_path, compared):
    for number, results in enumerate((made(), compared.results)):
        folder = tmp_path / str(number)
        results.save(folder)
        again = Results.load(folder)
        assert again.settings == json.loads(json.dumps(results.settings))
        assert again.environment == results.environment
        for name in SCHEMAS:
            assert getattr(again, name).equals(getattr(results, name))
            assert pl.read_csv(folder / f"{name}.csv").columns == list(SCHEMAS[name])
        assert again.answer() == results.answer()
        assert again.table().equals(results.table())
        assert again.verdicts().equals(results.verdicts())
        assert again.to_frame().equals(results.scores)


def test_a_run_is_read_from_its_folder(compared):
    assert Results.load(compared.folder).scores.equals(compared.results.scores)
    assert Results.load(compared.folder / "results").candidates == compared.results.candidates


def test_what_cannot_be_read(tmp_path, compared):
    with pytest.raises(StudyError, match="does not exist; give the folder of a run"):
        Results.load(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(compared.folder / "results", copy)
    file = copy / "settings.json"
    file.write_text(file.read_text().replace('"version": 1', '"version": 7'))
    with pytest.raises(StudyError, match="have version 7, this taskloom reads version 1; run the comparison again"):
        Results.load(copy)


def test_tables_without_their_columns_are_refused():
    parts = vars_of(made())
    with pytest.raises(DataError, match=r"table 'curves' lacks the columns \['epoch'\]"):
        Results(**{**parts, "curves": parts["curves"].drop("epoch")})


def test_a_results_folder_that_was_copied_in_part_is_named(tmp_path, compared):
    copy = tmp_path / "copy"
    shutil.copytree(compared.folder / "results", copy)
    (copy / "runs.parquet").unlink()
    with pytest.raises(StudyError, match=r"runs\.parquet"):
        Results.load(copy)
    (copy / "runs.parquet").write_text("nothing of use")
    with pytest.raises(StudyError, match=r"runs\.parquet"):
        Results.load(copy)
