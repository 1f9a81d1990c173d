"""The comparison of learning together and apart: verdicts, flags, notes, and what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from taskloom.errors import DataError, TaskError
from taskloom.metrics import (
    TransferReport,
    benjamini_hochberg,
    holm,
    permutation_test,
    sign_flip_test,
    t_interval,
    transfer_report,
)

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "statistics.json").read_text())

Table = dict[str, dict[int, float]]
gain_tables = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 3), st.integers(2, 8)), elements=st.floats(-50, 50).map(lambda x: round(x, 3))
)


def scores_of(gains: Any, *, level: float = 1.0) -> tuple[Table, Table]:
    """Losses, apart and together, whose relative gains are the given ones, shape (K, n), in percent."""
    table = np.atleast_2d(np.asarray(gains, dtype=np.float64))
    single = {f"task {k}": dict.fromkeys(range(table.shape[1]), level) for k in range(len(table))}
    joint = {
        f"task {k}": {seed: level * (1.0 - gain / 100.0) for seed, gain in enumerate(row)}
        for k, row in enumerate(table)
    }
    return single, joint


def report_of(gains: Any, **settings: Any) -> TransferReport:
    return transfer_report(*scores_of(gains), lower_is_better=True, **settings)


EIGHT = np.array([5.0, 6.0, 7.0, 5.5, 6.5, 4.5, 5.2, 6.1])


# ------------------------------------------------------------------------------------------------ figures


@pytest.mark.parametrize("case", GOLDEN["paired_tests"], ids=lambda case: f"n={len(case['d'])}")
def test_golden_figures_appear_in_the_report(case: dict[str, Any]) -> None:
    gain = report_of(case["d"]).tasks[0]
    assert gain.n == len(case["d"])
    assert gain.gains == pytest.approx(case["d"], rel=1e-9)
    assert gain.mean == pytest.approx(case["mean"], rel=1e-9)
    assert gain.sd == pytest.approx(case["sd"], rel=1e-9)
    assert gain.interval == pytest.approx(tuple(case["t_ci95"]), rel=1e-9)
    assert gain.t_p == pytest.approx(case["t_p"], rel=1e-9)
    assert gain.sign_flip_p == gain.p == pytest.approx(case["sign_flip"]["two_sided"], rel=1e-9)
    assert gain.wilcoxon_p == pytest.approx(case["wilcoxon_exact_two_sided"], rel=1e-9)
    assert gain.bootstrap is not None
    assert gain.bootstrap.label == "descriptive"
    if case["exhaustive_bootstrap"]:
        ends = (gain.bootstrap.low, gain.bootstrap.high)
        assert ends == pytest.approx(tuple(case["exhaustive_bootstrap"]["percentile_linear"]), rel=1e-9)


def test_gains_divide_by_what_was_asked() -> None:
    single, joint = {"a": {0: 4.0, 1: 2.0}}, {"a": {0: 2.0, 1: 4.0}}
    for denominator, expected in (("single", (50.0, -100.0)), ("joint", (100.0, -50.0)), ("absolute", (2.0, -2.0))):
        report = transfer_report(single, joint, lower_is_better=True, denominator=denominator)  # type: ignore[arg-type]
        assert report["a"].gains == expected
        assert report.is_relative == (denominator != "absolute")
        assert report.margin == (0.01 if denominator == "absolute" else 1.0)


def test_direction_per_task() -> None:
    single = {"error": {0: 1.0, 1: 1.0}, "accuracy": {0: 0.5, 1: 0.5}}
    joint = {"error": {0: 0.9, 1: 0.9}, "accuracy": {0: 0.6, 1: 0.6}}
    report = transfer_report(single, joint, lower_is_better={"error": True, "accuracy": False})
    assert report["error"].mean == pytest.approx(10.0)
    assert report["accuracy"].mean == pytest.approx(20.0)
    assert report.delta_m == pytest.approx(15.0)
    assert (report["accuracy"].single_mean, report["accuracy"].joint_mean) == pytest.approx((0.5, 0.6))


def test_delta_m_is_that_of_the_mean_scores() -> None:
    single, joint = {"a": {0: 1.0, 1: 3.0}, "b": {0: 1.0, 1: 1.0}}, {"a": {0: 1.0, 1: 1.0}, "b": {0: 1.1, 1: 1.1}}
    report = transfer_report(single, joint, lower_is_better=True)
    assert report.delta_m == pytest.approx((50.0 - 10.0) / 2)


def test_mean_gain_is_one_test_of_the_seed_wise_mean() -> None:
    gains = np.random.default_rng(0).normal(1.0, 2.0, size=(3, 7))
    report = report_of(gains)
    assert report.mean_gain is not None
    assert report.mean_gain.gains == pytest.approx(gains.mean(axis=0))
    assert report.mean_gain.p == sign_flip_test(gains.mean(axis=0))
    assert report.mean_gain.interval == pytest.approx(t_interval(gains.mean(axis=0)))


@pytest.mark.parametrize(
    ("correction", "correct"), [("holm", holm), ("benjamini_hochberg", benjamini_hochberg), ("none", np.asarray)]
)
def test_corrections(correction: str, correct: Any) -> None:
    report = report_of(np.random.default_rng(0).normal(2.0, 3.0, size=(4, 8)), correction=correction)
    p = [gain.p for gain in report.tasks]
    np.testing.assert_allclose([gain.corrected_p for gain in report.tasks], correct(p))


# ------------------------------------------------------------------------------------------------ verdicts


@pytest.mark.parametrize(
    ("gains", "verdict", "flag"),
    [
        (EIGHT, "better", None),
        (-EIGHT, "worse", "negative transfer"),
        (EIGHT / 100, "better", None),  # small, but certain
        (0.1 * np.array([1, -1, 2, -2, 1, -1, 0.5, -0.5]), "equivalent", None),
        (10.0 * np.array([1, -1, 2, -2, 1, -1, 0.5, -0.5]), "inconclusive", None),
        (-EIGHT[:5], "inconclusive", "suspected"),
        (EIGHT[:5], "inconclusive", None),
        (np.array([-5.0, -6.0, 0.1, -5.5, -6.5]), "inconclusive", None),  # seeds disagree
        (-EIGHT[:5] / 10, "equivalent", None),  # within the margin: nothing to suspect
        (np.array([-20.0, -0.1, -0.1, -0.1, -0.1, -0.1, -0.1, -0.1]), "inconclusive", None),  # n is enough
    ],
)
def test_verdicts_and_flags(gains: np.ndarray, verdict: str, flag: str | None) -> None:
    gain = report_of(gains).tasks[0]
    assert (gain.verdict, gain.flag) == (verdict, flag)


@pytest.mark.parametrize("n", [2, 3, 5, 8])
@pytest.mark.parametrize("paired", [True, False])
def test_no_difference_at_all_is_equivalent(n: int, paired: bool) -> None:
    gain = report_of(np.zeros(n), paired=paired).tasks[0]
    assert gain.p == gain.corrected_p == 1.0
    assert (gain.verdict, gain.flag) == ("equivalent", None)
    assert f"{n} of {n} gains are exactly 0" in gain.note


@given(gains=gain_tables)
@settings(max_examples=60, deadline=None)
def test_turning_the_signs_swaps_better_and_worse(gains: np.ndarray) -> None:
    swap = {"better": "worse", "worse": "better"}
    ahead, behind = report_of(gains, denominator="absolute"), report_of(-gains, denominator="absolute")
    for one, other in zip(ahead.tasks, behind.tasks, strict=True):
        assert other.verdict == swap.get(one.verdict, one.verdict)
        assert other.corrected_p == pytest.approx(one.corrected_p)
        assert other.mean == pytest.approx(-one.mean, abs=1e-12)
        assert (one.flag == "negative transfer") == (one.verdict == "worse")


@given(gains=gain_tables, data=st.data())
@settings(max_examples=40, deadline=None)
def test_order_of_seeds_and_tasks_does_not_matter(gains: np.ndarray, data: st.DataObject) -> None:
    single, joint = scores_of(gains)
    seeds = data.draw(st.permutations(range(gains.shape[1])))
    names = data.draw(st.permutations(list(single)))
    shuffled = tuple({name: {seed: side[name][seed] for seed in seeds} for name in names} for side in (single, joint))
    report = transfer_report(single, joint, lower_is_better=True)
    other = transfer_report(*shuffled, lower_is_better=True)
    for name in names:
        assert repr(other[name]) == repr(report[name])  # repr: NaN equals itself
    assert other.delta_m == pytest.approx(report.delta_m)


@given(gains=gain_tables, unit=st.floats(1e-3, 1e3))
@settings(max_examples=40, deadline=None)
def test_the_unit_of_the_scores_does_not_matter(gains: np.ndarray, unit: float) -> None:
    report = report_of(gains)
    scaled = transfer_report(*scores_of(gains, level=unit), lower_is_better=True)
    for one, other in zip(report.tasks, scaled.tasks, strict=True):
        assert other.gains == pytest.approx(one.gains, abs=1e-9)


@given(gains=gain_tables)
@settings(max_examples=40, deadline=None)
def test_laws_of_a_verdict(gains: np.ndarray) -> None:
    report = report_of(gains)
    for gain in report.tasks:
        low, high = gain.interval
        if gain.verdict in ("better", "worse"):
            assert gain.corrected_p <= report.alpha
            assert low > 0 or high < 0
        if gain.verdict == "equivalent":
            assert -report.margin <= low <= high <= report.margin
        if gain.n < report.seeds_needed:
            assert gain.verdict not in ("better", "worse")
            assert "not testable" in gain.note
    text = report.text()
    assert all(gain.task in text for gain in report.tasks)
    assert "nan" not in text


@pytest.mark.parametrize("paired", [True, False])
def test_false_alarms_stay_below_alpha(paired: bool) -> None:
    """Null simulation: both sides the same, skewed noise; share of reports with any task flagged worse."""
    random, runs, alpha = np.random.default_rng(7), 300, 0.1
    alarms = 0
    for _ in range(runs):
        single, joint = (
            {f"task {k}": dict(enumerate(1.0 + 0.2 * random.exponential(size=7))) for k in range(2)} for _ in range(2)
        )
        report = transfer_report(single, joint, lower_is_better=True, alpha=alpha, paired=paired)
        alarms += any(gain.flag == "negative transfer" for gain in report.tasks)
    assert alarms / runs <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs)


# ------------------------------------------------------------------------------------------------ few seeds


@pytest.mark.parametrize(
    ("n_tasks", "n_seeds", "correction", "needed"),
    [(1, 5, "holm", 6), (5, 5, "holm", 8), (5, 7, "holm", 8), (5, 5, "benjamini_hochberg", 6), (5, 5, "none", 6)],
)
def test_too_few_seeds_say_how_many_it_takes(n_tasks: int, n_seeds: int, correction: str, needed: int) -> None:
    report = report_of(np.tile(np.linspace(5.0, 6.0, n_seeds), (n_tasks, 1)), correction=correction)
    assert report.seeds_needed == needed
    for gain in report.tasks:
        assert gain.note == f"not testable with {n_seeds} seeds: use {needed}"
        assert gain.verdict == "inconclusive"
    assert f"Not testable with {n_seeds} seeds: use {needed}." in report.text()
    assert "no difference" not in report.text()
    assert any(f"takes {needed} seeds" in note for note in report.notes) == (n_tasks > 1)


def test_enough_seeds_have_no_such_note() -> None:
    report = report_of(np.tile(EIGHT, (5, 1)))
    assert [gain.note for gain in report.tasks] == [""] * 5
    assert {gain.verdict for gain in report.tasks} == {"better"}
    assert report.notes == ()


def test_a_task_with_one_seed_has_no_test_and_says_so() -> None:
    single, joint = scores_of(np.tile(-EIGHT, (2, 1)))
    single["task 1"], joint["task 1"] = {0: 1.0}, {0: 2.0}
    report = transfer_report(single, joint, lower_is_better=True)
    lonely = report["task 1"]
    assert lonely.n == 1
    assert lonely.mean == -100.0
    assert math.isnan(lonely.p)
    assert math.isnan(lonely.corrected_p)
    assert math.isnan(lonely.interval[0])
    assert (lonely.verdict, lonely.flag) == ("inconclusive", None)
    assert lonely.note == "one seed: no interval and no test; use 7 seeds"
    # the other task is tested as if alone
    assert report["task 0"].corrected_p == report["task 0"].p
    assert report["task 0"].flag == "negative transfer"
    assert report.mean_gain is not None
    assert report.mean_gain.n == 1
    assert any("uses the 1 of 8 seeds" in note for note in report.notes)
    assert "nan" not in report.text()


def test_tasks_without_a_common_seed_have_no_mean_gain() -> None:
    single = {"a": {0: 1.0, 1: 1.0}, "b": {2: 1.0, 3: 1.0}}
    report = transfer_report(single, single, lower_is_better=True)
    assert report.mean_gain is None
    assert any("no seed in common" in note for note in report.notes)


def test_the_mean_gain_says_when_it_cannot_be_tested() -> None:
    report = report_of(np.tile(EIGHT[:5], (2, 1)))
    assert "The mean gain is not testable with 5 seeds: use 6." in report.notes


def test_a_small_but_certain_gain_is_called_small() -> None:
    assert report_of(EIGHT / 100).tasks[0].note == "the gain is real but smaller than the margin"


# ------------------------------------------------------------------------------------------------ broken runs


@pytest.mark.parametrize("broken", [math.nan, math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_a_failed_run_raises_by_name_or_is_left_out_and_counted(broken: float, side: int) -> None:
    tables = scores_of(np.tile(EIGHT, (2, 1)))
    tables[side]["task 1"][3] = broken
    with pytest.raises(DataError, match=r"task 'task 1': the (single|joint) score of seed 3 is (nan|inf).*drop_pair"):
        transfer_report(*tables, lower_is_better=True)
    report = transfer_report(*tables, lower_is_better=True, nan_policy="drop_pair")
    assert report["task 1"].n == 7
    assert report["task 1"].seeds == (0, 1, 2, 4, 5, 6, 7)
    assert report["task 1"].note == "1 seed left out: the score is not finite"
    assert report["task 0"].n == 8


def test_a_task_whose_runs_all_failed_stays_in_the_report() -> None:
    single, joint = scores_of(np.tile(EIGHT, (2, 1)))
    joint["task 1"] = dict.fromkeys(joint["task 1"], math.nan)
    report = transfer_report(single, joint, lower_is_better=True, nan_policy="drop_pair")
    assert report["task 1"].n == 0
    assert report["task 1"].verdict == "inconclusive"
    assert "no seed with both runs" in report["task 1"].note
    assert math.isnan(report.delta_m)
    assert any("'task 1'" in note for note in report.notes)
    assert "unknown" in report.text()


# ------------------------------------------------------------------------------------------------ unpaired


def test_independent_runs_are_compared_by_groups() -> None:
    single = {"a": {seed: 1.0 + 0.01 * seed for seed in range(5)}}
    joint = {"a": {seed: 0.8 + 0.01 * seed for seed in range(10, 15)}}
    report = transfer_report(single, joint, lower_is_better=True, paired=False)
    gain = report["a"]
    assert gain.p == permutation_test(list(joint["a"].values()), list(single["a"].values())) == pytest.approx(2 / 252)
    assert gain.verdict == "better"
    assert gain.mean == pytest.approx(report.delta_m)
    assert gain.interval[0] > 0
    assert math.isnan(gain.sign_flip_p)
    assert gain.bootstrap is None
    assert "independent runs" in report.text()
    with pytest.raises(DataError, match=r"task 'a'.*paired=False"):
        transfer_report(single, joint, lower_is_better=True)


def test_independent_runs_have_a_floor_of_their_own() -> None:
    single, joint = {"a": {0: 1.0, 1: 1.1, 2: 1.2}}, {"a": {3: 2.0, 4: 2.1, 5: 2.2}}
    gain = transfer_report(single, joint, lower_is_better=True, paired=False)["a"]
    assert (gain.verdict, gain.flag) == ("inconclusive", "suspected")
    assert gain.note == "not testable with 3 seeds: use 4"
    higher = transfer_report(joint, single, lower_is_better=False, paired=False)["a"]
    assert higher.flag == "suspected"


def test_mean_gain_of_independent_runs() -> None:
    random = np.random.default_rng(0)
    single = {name: dict(enumerate(1.0 + 0.01 * random.random(5))) for name in "ab"}
    joint = {name: {seed + 10: 0.9 + 0.01 * random.random() for seed in range(5)} for name in "ab"}
    report = transfer_report(single, joint, lower_is_better=True, paired=False)
    assert report.mean_gain is not None
    assert report.mean_gain.p == pytest.approx(2 / 252)
    assert report.mean_gain.mean == pytest.approx(report.delta_m)


# ------------------------------------------------------------------------------------------------ refusals


def test_a_relative_gain_over_zero_is_refused_by_name() -> None:
    single, joint = {"가격": {0: 0.0, 1: 1.0}}, {"가격": {0: 1.0, 1: 1.0}}
    with pytest.raises(ValueError, match=r"'가격'.*denominator='absolute'"):
        transfer_report(single, joint, lower_is_better=True)
    assert transfer_report(single, joint, lower_is_better=True, denominator="absolute")["가격"].gains == (-1.0, 0.0)


def test_delta_m_across_zero_is_left_out_with_a_reason() -> None:
    report = transfer_report({"a": {0: 0.1, 1: 0.2}}, {"a": {0: -0.1, 1: -0.2}}, lower_is_better=False)
    assert math.isnan(report.delta_m)
    assert "Delta_m is undefined: task 'a'" in report.notes[0]
    assert "Delta_m =" not in report.text()


def test_different_tasks_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(TaskError, match=r"'price' has no joint scores. Did you mean 'prise'"):
        transfer_report({"price": {0: 1.0}}, {"prise": {0: 1.0}}, lower_is_better=True)
    with pytest.raises(TaskError, match="'b' has no single scores"):
        transfer_report({"a": {0: 1.0}}, {"a": {0: 1.0}, "b": {0: 1.0}}, lower_is_better=True)
    with pytest.raises(TaskError, match="no tasks"):
        transfer_report({}, {}, lower_is_better=True)
    with pytest.raises(TaskError, match="'a'"):
        transfer_report({"a": {0: 1.0}}, {"a": {0: 1.0}}, lower_is_better={"b": True})
    with pytest.raises(DataError, match="'a': found no joint scores"):
        transfer_report({"a": {0: 1.0}}, {"a": {}}, lower_is_better=True)
    with pytest.raises(TaskError, match="Did you mean 'task 0'"):
        report_of(EIGHT)["task O"]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("alpha", 0.0),
        ("alpha", 5),
        ("margin", -0.1),
        ("margin", math.nan),
        ("correction", "bonferoni"),
        ("denominator", "singel"),
        ("baseline", "untuned"),
        ("nan_policy", "ignore"),
    ],
)
def test_settings_out_of_range_are_named(argument: str, value: Any) -> None:
    with pytest.raises(DataError, match=argument):
        report_of(EIGHT, **{argument: value})


# ------------------------------------------------------------------------------------------------ words


def test_the_report_in_words() -> None:
    gains = np.stack([EIGHT, -EIGHT, 0.1 * np.array([1, -1, 2, -2, 1, -1, 0.5, -0.5])])
    text = report_of(gains, baseline="same_size").text()
    assert text.splitlines()[0] == (
        "Learning 3 tasks together, compared with one network of the same size per task; 8 seeds, paired."
    )
    assert "a positive gain means that learning together is better" in text
    assert "- task 0: better together. Gain +5.7" in text
    assert "(95% interval +5.03 to +6.42, SD 0.83, n = 8), p = 0.00781, corrected 0.0234" in text
    assert "- task 1: worse together (negative transfer). Gain -5.7" in text
    assert "- task 2: equivalent: the difference is within the margin." in text
    assert "every seed: +5, +6, +7, +5.5, +6.5, +4.5, +5.2, +6.1" in text
    assert "Delta_m = +0.00% (positive: together is better)." in text
    assert "corrected by Holm's method; gains within 1% of 0 count as equivalent." in text


def test_many_seeds_name_the_random_test() -> None:
    gain = report_of(np.random.default_rng(0).normal(3.0, 1.0, size=21)).tasks[0]
    assert gain.test == "sign-flip test (100,000 random patterns)"
    assert gain.verdict == "better"
    assert gain.bootstrap is not None
    assert gain.bootstrap.label == "bootstrap"


def test_a_given_generator_makes_random_parts_repeatable() -> None:
    gains = np.random.default_rng(0).normal(0.3, 1.0, size=21)
    first, second = (report_of(gains, generator=np.random.default_rng(1)).tasks[0] for _ in range(2))
    assert first == second
    assert first.p != report_of(gains).tasks[0].p
