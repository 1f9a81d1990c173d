"""All candidates side by side: what each reached, what it cost, what it is."""

from __future__ import annotations

from collections import Counter
from typing import Any

from taskloom.report.markup import Html, element, join
from taskloom.report.reading import CandidateRow, GainRow, Reading
from taskloom.report.sections._parts import figure, fold, section, symbol
from taskloom.report.tables import Cell, Column, table
from taskloom.report.words import VERDICTS, count, duration, gain, interval, number, percent, verdict_words

__all__ = ["candidates"]

_TASK_COLUMNS = 8

_FAMILIES = {"single": "one network per task", "baseline": "baseline", "pooled": "pooled", "joint": "multi-task"}


def candidates(reading: Reading, settings: dict[str, Any]) -> Html:
    """Figure and table of all candidates, and what each of them is."""
    left_out = settings.get("left_out") or {}
    return section(
        "candidates",
        "All candidates",
        element(
            "p",
            {},
            "Δm is the mean gain over the tasks, in percent of the tuned single-task networks. ",
            element("span", {"class": "sign"}, "Positive means multi-task is better."),
            " Every candidate had the same budget for tuning.",
        ),
        figure(
            "plot-candidates",
            "Δm of every candidate with its 95 % interval and every seed's value; the table below has the numbers.",
            "Large mark: Δm; line: 95 % t interval over seeds; small rings: single seeds.",
        )
        if any(row.seeds for row in reading.candidates)
        else None,
        _table(reading),
        element("p", {"class": "quiet"}, _reading_aid(reading)),
        fold("What each candidate is", *_described(reading)),
        fold(
            "Left out, and why",
            element(
                "ul",
                {"class": "notices"},
                *(element("li", {}, element("strong", {}, name), f": {why}") for name, why in left_out.items()),
            ),
        )
        if left_out
        else None,
    )


def _table(reading: Reading) -> Html:
    scored = [task for task in reading.tasks if not task.auxiliary]
    per_task = len(scored) <= _TASK_COLUMNS
    columns = [Column("Candidate"), Column("Δm", numeric=True, note="positive = multi-task better")]
    if per_task:
        columns += [Column(task.name, numeric=True, note=_metric(task.metric, task.lower_is_better)) for task in scored]
    else:
        columns += [Column("Above 0", numeric=True, note="tasks with a mean gain")]
        columns += [Column(f"{verdict.symbol}\u00a0{verdict.word}", numeric=True, note="tasks") for verdict in VERDICTS]
    columns += [
        Column("Validation", numeric=True, note="loss, lower is better"),
        Column("Parameters", numeric=True),
        Column("Training", numeric=True, note="per seed"),
        Column("Step", numeric=True, note="× hard sharing, equal weights"),
        Column("Inference", numeric=True, note="per row"),
    ]
    rows = [_row(candidate, reading, per_task=per_task) for candidate in reading.candidates]
    chosen = next((i for i, row in enumerate(reading.candidates) if row.name == reading.best), None)
    return table(
        "table-candidates", "Candidates", columns=columns, rows=rows, chosen=chosen, sorted_by=(1, "descending")
    )


def _row(candidate: CandidateRow, reading: Reading, *, per_task: bool) -> list[Cell]:
    marks = [_FAMILIES.get(candidate.family, candidate.family)]
    if candidate.name == reading.best:
        marks.insert(0, "★ best")
    if candidate.name == reading.reference:
        marks.append("reference")
    name = join([candidate.title, element("small", {}, " · ".join(marks))])
    reference = candidate.name == reading.reference
    delta = join(
        [
            "0 (reference)" if reference else percent(candidate.delta_m),
            element("small", {}, interval(candidate.low, candidate.high)) if candidate.low is not None else None,
        ]
    )
    cells = [Cell(name, candidate.title.casefold()), Cell(delta, candidate.delta_m)]
    gains = {row.task: row for row in reading.gains.get(candidate.name, ())}
    if per_task:
        for task, score in zip(reading.tasks, candidate.scores):
            if not task.auxiliary:
                cells.append(Cell(join([number(score, 4), _gain_mark(gains.get(task.name), reading)]), score))
    else:
        counted = Counter(row.verdict for row in gains.values())
        above = sum(row.mean is not None and row.mean > 0 for row in gains.values()) if gains else None
        cells.append(Cell(count(above), None if above is None else float(above)))
        for verdict in VERDICTS:
            value = counted.get(verdict.key, 0) if gains else None
            cells.append(Cell(count(value), None if value is None else float(value)))
    inference = None if candidate.predict_microseconds is None else candidate.predict_microseconds * 1e-6
    return [
        *cells,
        Cell(number(candidate.validation_score), candidate.validation_score),
        Cell(count(candidate.parameters), candidate.parameters),
        Cell(duration(candidate.train_seconds), candidate.train_seconds),
        Cell(_step(candidate), candidate.step_milliseconds),
        Cell(duration(inference), candidate.predict_microseconds),
    ]


def _step(candidate: CandidateRow) -> Html | str:
    """Time of an optimiser step at the default width, and how often it contains that of the plain sum of losses."""
    if candidate.step_milliseconds is None:
        return duration(None)
    ratio = candidate.step_ratio
    shown = None if ratio is None else element("small", {}, f"{ratio:.1f}\u00a0×")
    return join([duration(candidate.step_milliseconds * 1e-3), shown])


def _gain_mark(row: GainRow | None, reading: Reading) -> Html | None:
    """Verdict and gain below a score: symbol and number for the eye, the word for the ear."""
    if row is None or row.mean is None:
        return None
    words = verdict_words(row.verdict, row.flag)
    unseen = element("span", {"class": "unseen"}, f"{words.word}, ")
    return element("small", {}, unseen, symbol(words), gain(row.mean, is_relative=reading.is_relative))


def _metric(name: str, lower_is_better: bool) -> str:
    return f"{name}, {'lower' if lower_is_better else 'higher'} is better"


def _reading_aid(reading: Reading) -> str:
    scored = sum(not task.auxiliary for task in reading.tasks)
    scores = (
        "Scores are means over seeds on the test rows; below each stand the verdict's symbol and the gain. "
        if scored <= _TASK_COLUMNS
        else "The symbols' columns count the tasks with each verdict. "
    )
    return (
        f"{scores}Validation is the loss on the validation rows as a share of the best constant's; it chose the "
        "settings and the best candidate, so that the test rows had no say. Training is the time for all networks of "
        "one seed, step that of one optimiser step at the default width, measured in turns with the other candidates, "
        "inference the time to predict all tasks of one row. Choose a column's heading to sort by it."
    )


def _described(reading: Reading) -> list[Html]:
    pairs = []
    for row in reading.candidates:
        source = element("span", {"class": "quiet"}, f" {row.source}") if row.source else None
        pairs.append(join([element("dt", {}, row.title), element("dd", {}, row.summary, source)]))
    return [element("dl", {}, *pairs)]
