"""What happened during training: learning curves, gradient conflicts, loss weights, rates and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskloom.report.figures import MANY_TASKS
from taskloom.report.markup import Html, element
from taskloom.report.reading import DiagnosticRow, Reading
from taskloom.report.sections._parts import choice, controls, figure, fold, plot, section
from taskloom.report.tables import Cell, Column, table
from taskloom.report.words import count, number

__all__ = ["conflicts", "curves", "diagnostics", "weights"]


def curves(reading: Reading, numbers: Mapping[str, Any]) -> Html | None:
    """Learning curves of a chosen candidate, a panel per task."""
    present = numbers["curves"]
    if not present:
        return None
    return section(
        "curves",
        "Learning curves",
        element(
            "p",
            {},
            "Loss on the training and the validation rows after each epoch. A validation curve that rises while the ",
            "training ",
            "curve falls is overfitting; tasks that reach their lowest point at different epochs want different ",
            "training times.",
        ),
        controls(
            choice("curves-candidate", "Candidate", _candidates(reading, present), _first(reading, present)),
            choice("curves-task", "Tasks", _task_views(reading)),
        ),
        figure(
            "plot-curves",
            "Training and validation loss over epochs, one panel per task.",
            "Dashed: training; solid: validation, both means over seeds; thin lines: validation of single seeds; ",
            "diamond: lowest mean validation loss.",
        ),
    )


def conflicts(reading: Reading, numbers: Mapping[str, Any]) -> Html | None:
    """Cosines between the tasks' gradients over training."""
    present = numbers["conflicts"]
    if not present:
        return section(
            "conflicts",
            "Do the gradients agree?",
            element(
                "p",
                {"class": "lead"},
                "Gradient cosines were not measured in this comparison, so there is nothing to show.",
            ),
        )
    chosen = _first(reading, present)
    many = len(reading.tasks) > MANY_TASKS
    matrix = 3 <= len(reading.tasks) <= MANY_TASKS
    return section(
        "conflicts",
        "Do the gradients agree?",
        element(
            "p",
            {},
            "The cosine between two tasks' gradients of the shared part: near +1 they pull the same way, near 0 they ",
            "ignore ",
            "each other, below 0 a step that helps one hurts the other. Conflict explains a loss; it does not prove ",
            "one.",
        ),
        controls(
            choice("conflicts-candidate", "Candidate", _candidates(reading, present), chosen),
            choice("conflicts-view", "Show", [("pairs", "Pairs over training"), ("matrix", "All tasks at one epoch")])
            if matrix
            else None,
            element(
                "label",
                {"id": "conflicts-epoch-label", "hidden": True},
                element(
                    "span",
                    {},
                    "Epoch ",
                    element("output", {"id": "conflicts-epoch-shown", "for": "conflicts-epoch"}, ""),
                ),
                element("input", {"id": "conflicts-epoch", "type": "range", "min": 0, "max": 0, "value": 0}),
            )
            if matrix
            else None,
        ),
        plot("plot-conflicts-spread", "Spread of the cosines of all pairs over training.") if many else None,
        figure(
            "plot-conflicts",
            "Cosine between the gradients of each pair of tasks over training; the table below has the means.",
            "Mean over seeds. Orange: conflict; blue: agreement.",
            f" Of all pairs, those with the lowest and the highest mean cosine are drawn ({MANY_TASKS} at most)."
            if many
            else None,
        ),
        fold("The cosines as a table", _conflict_table(reading, present[chosen])),
    )


def weights(reading: Reading, numbers: Mapping[str, Any]) -> Html | None:
    """Loss weights over time, for the candidates that move them."""
    present = numbers["weights"]
    if not present:
        return section(
            "weights",
            "Loss weights over time",
            element(
                "p", {"class": "lead"}, "No candidate moved its loss weights: all tasks weighed the same throughout."
            ),
        )
    return section(
        "weights",
        "Loss weights over time",
        element(
            "p",
            {},
            "How much each task's loss counted at each epoch, for the candidates that choose weights themselves.",
        ),
        controls(choice("weights-candidate", "Candidate", _candidates(reading, present), _first(reading, present))),
        figure("plot-weights", "Weight of each task's loss over epochs.", "Mean over seeds."),
    )


def diagnostics(reading: Reading) -> Html | None:
    """Rate mismatch, checkpoint regret and conflict share per task."""
    present = {name: rows for name, rows in reading.diagnostics.items() if rows}
    if not present:
        return None
    chosen = _first(reading, present)
    columns = (
        Column("Task"),
        Column("Best epoch", numeric=True, note="lowest validation loss"),
        Column("Checkpoint regret", numeric=True, note="loss above the task's lowest"),
        Column("Rate mismatch", note="best epoch far from others"),
        Column("Steps in conflict", numeric=True, note="negative cosine"),
    )
    return section(
        "diagnostics",
        "Learning speed and the choice of checkpoint",
        element(
            "p",
            {},
            "Tasks learn at different speeds, but a shared network is kept at one epoch. The checkpoint regret is ",
            "what a task ",
            "loses by that: its validation loss at the common epoch minus its lowest. A large regret can be the ",
            "whole of an ",
            "apparent negative transfer.",
        ),
        controls(choice("diagnostics-candidate", "Candidate", _candidates(reading, present), chosen)),
        table(
            "table-diagnostics",
            "Learning speed and checkpoint per task",
            columns=columns,
            rows=[_diagnostic_row(row) for row in present[chosen]],
        ),
    )


def _diagnostic_row(row: DiagnosticRow) -> list[Cell]:
    mismatch = row.rate_mismatch
    if isinstance(mismatch, bool):
        shown = Cell("yes" if mismatch else "no", float(mismatch))
    else:
        shown = Cell(number(mismatch), mismatch)
    share = row.conflict_share
    return [
        Cell.text(row.task),
        Cell(count(row.best_epoch), row.best_epoch),
        Cell(number(row.checkpoint_regret), row.checkpoint_regret),
        shown,
        Cell("–" if share is None else f"{100 * share:.0f} %", share),
    ]


def _conflict_table(reading: Reading, numbers: Mapping[str, Any]) -> Html:
    names = [task.name for task in reading.tasks]
    columns = (
        Column("Pair"),
        Column("Mean cosine", numeric=True),
        Column("Steps in conflict", numeric=True, note="negative cosine"),
    )
    rows = []
    for (first, second), cosine, share in zip(numbers["pairs"], numbers["mean"], numbers["share"]):
        pair = f"{names[first]} × {names[second]}"
        rows.append(
            [
                Cell.text(pair),
                Cell("–" if cosine is None else f"{cosine:+.2f}".replace("-", "−"), cosine),
                Cell("–" if share is None else f"{100 * share:.0f} %", share),
            ]
        )
    return table("table-conflicts", "Gradient cosines per pair of tasks", columns=columns, rows=rows)


def _task_views(reading: Reading) -> list[tuple[str, str]]:
    names = [(str(position), task.name) for position, task in enumerate(reading.tasks)]
    if len(names) == 1:
        return names
    if len(names) <= 9:
        return [("all", "All tasks"), *names]
    return [("lowest", "Six with the lowest gain"), ("highest", "Six with the highest gain"), *names]


def _candidates(reading: Reading, present: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(row.name, row.title) for row in reading.candidates if row.name in present]


def _first(reading: Reading, present: Mapping[str, Any]) -> str:
    return reading.focus if reading.focus in present else _candidates(reading, present)[0][0]
