"""The results of a comparison: tidy tables, readable without taskloom, and the answers that follow from them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from taskloom.errors import DataError, StudyError, nearest
from taskloom.metrics import TransferReport, transfer_report
from taskloom.study.answer import answer_text
from taskloom.study.best import Best
from taskloom.study.diagnostics import UNMEASURED, conflict_shares, rates_of
from taskloom.study.files import read_json, write_json

__all__ = ["SCHEMAS", "Results"]

SCHEMAS: Mapping[str, Mapping[str, type[pl.DataType]]] = {
    "scores": {
        "candidate": pl.String,
        "task": pl.String,
        "metric": pl.String,
        "seed": pl.Int64,
        "split": pl.String,
        "value": pl.Float64,
        "lower_is_better": pl.Boolean,
    },
    "runs": {
        "candidate": pl.String,
        "seed": pl.Int64,
        "task": pl.String,
        "trial": pl.Int64,
        "settings": pl.String,
        "validation_score": pl.Float64,
        "selection_score": pl.Float64,
        "parameters": pl.Int64,
        "train_seconds": pl.Float64,
        "predict_microseconds": pl.Float64,
        "epochs": pl.Int64,
        "best_epoch": pl.Int64,
        "steps": pl.Int64,
    },
    "curves": {
        "candidate": pl.String,
        "seed": pl.Int64,
        "task": pl.String,
        "epoch": pl.Int64,
        "train_loss": pl.Float64,
        "validation_loss": pl.Float64,
    },
    "conflicts": {
        "candidate": pl.String,
        "seed": pl.Int64,
        "epoch": pl.Int64,
        "task_a": pl.String,
        "task_b": pl.String,
        "cosine": pl.Float64,
        "conflict_share": pl.Float64,
    },
    "weights": {
        "candidate": pl.String,
        "seed": pl.Int64,
        "epoch": pl.Int64,
        "task": pl.String,
        "weight": pl.Float64,
    },
    "labelled": {"task": pl.String, "seed": pl.Int64, "part": pl.String, "rows": pl.Int64},
}
"""Columns of every table of :class:`Results`."""


@dataclass(frozen=True, eq=False)
class Results:
    """Scores of every candidate, task, metric, seed and split, with everything a report needs.

    All tables are long ("tidy"); their columns are in :data:`SCHEMAS`. Curves count epochs from 0.

    Args:
        settings: what was compared and how (JSON-able).
        environment: versions and machine.
        scores: one row per candidate, task, metric, seed and split, of the chosen setting.
        runs: one row per trained predictor that was chosen.
        curves: losses per epoch of the chosen networks.
        conflicts: cosines between task gradients over training.
        weights: weights of the task gradients over training.
        labelled: labelled rows per task, seed and part.

    Example:
        >>> import taskloom as tl, numpy as np
        >>> random = np.random.default_rng(0)
        >>> x = random.normal(size=(120, 3))
        >>> data = tl.MultiTaskData.from_arrays(
        ...     x, {"a": x[:, 0] - x[:, 2], "b": x[:, 0] + x[:, 1]},
        ...     tasks=[tl.Task(name="a", kind=tl.Regression()), tl.Task(name="b", kind=tl.Regression())])
        >>> results = tl.compare(data, candidates=["hard_sharing"], seeds=2, budget=1, progress=False)
        >>> sorted(results.scores["candidate"].unique())
        ['hard_sharing', 'single_task']
    """

    version: ClassVar[int] = 1

    settings: dict[str, Any]
    environment: dict[str, Any]
    scores: pl.DataFrame
    runs: pl.DataFrame
    curves: pl.DataFrame
    conflicts: pl.DataFrame
    weights: pl.DataFrame
    labelled: pl.DataFrame

    def __post_init__(self) -> None:
        for name, schema in SCHEMAS.items():
            missing = [column for column in schema if column not in getattr(self, name).columns]
            if missing:
                raise DataError(f"the table {name!r} lacks the columns {missing}; expected {list(schema)}")

    @classmethod
    def from_rows(
        cls, rows: Mapping[str, Sequence[tuple[Any, ...]]], *, settings: dict[str, Any], environment: dict[str, Any]
    ) -> Results:
        """Results from rows of plain values, table by table, in the order of the columns of :data:`SCHEMAS`."""
        tables = {name: pl.DataFrame(rows[name], schema=dict(schema), orient="row") for name, schema in SCHEMAS.items()}
        return cls(settings=settings, environment=environment, **tables)

    # -- what was compared --------------------------------------------------------------------------------------

    @property
    def candidates(self) -> tuple[str, ...]:
        """Names of the candidates, in the order of the comparison."""
        return tuple(candidate["name"] for candidate in self.settings["candidates"])

    @property
    def reference(self) -> str:
        """The candidate that gains are measured against."""
        return str(self.settings["reference"])

    def describe(self, candidate: str) -> Mapping[str, Any]:
        """Name, title, family, summary and source of a candidate.

        Raises:
            StudyError: no such candidate.
        """
        for entry in self.settings["candidates"]:
            if entry["name"] == candidate:
                found: Mapping[str, Any] = entry
                return found
        raise StudyError(f"unknown candidate {candidate!r}.{nearest(candidate, self.candidates)}")

    @cached_property
    def _counting(self) -> tuple[Mapping[str, Any], ...]:
        """Tasks that count for the score."""
        return tuple(task for task in self.settings["tasks"] if not task["auxiliary"])

    def main_scores(self, candidate: str, *, split: str = "test") -> dict[str, dict[int, float]]:
        """Main metric of every counting task: task -> seed -> value."""
        self.describe(candidate)
        scores: dict[str, dict[int, float]] = {}
        for task in self._counting:
            rows = self.scores.filter(
                (pl.col("candidate") == candidate)
                & (pl.col("task") == task["name"])
                & (pl.col("metric") == task["metric"])
                & (pl.col("split") == split)
            )
            scores[task["name"]] = dict(zip(rows["seed"].to_list(), rows["value"].to_list(), strict=True))
        return scores

    def mean_scores(self, candidate: str) -> dict[str, float]:
        """Main metric of every counting task on test rows, mean over the seeds where it is finite."""
        known = {
            task: [value for value in by_seed.values() if math.isfinite(value)]
            for task, by_seed in self.main_scores(candidate).items()
        }
        return {task: sum(values) / len(values) if values else math.nan for task, values in known.items()}

    # -- answers ------------------------------------------------------------------------------------------------

    def gains(self, candidate: str) -> TransferReport:
        """Gains of a candidate over the tuned single-task networks, task by task, paired by seed.

        Positive = the candidate is better, in percent of the single-task score; absolute gains where a single-task
        score is 0.

        Raises:
            StudyError: no such candidate.
        """
        if candidate not in self._gains:
            single, joint = self.main_scores(self.reference), self.main_scores(candidate)
            zero = any(abs(value) < 1e-12 for by_seed in single.values() for value in by_seed.values())
            self._gains[candidate] = transfer_report(
                single,
                joint,
                lower_is_better=self._directions,
                alpha=float(self.settings["alpha"]),
                margin=float(self.settings["margin"]),
                denominator="absolute" if zero else "single",
                nan_policy="drop_pair",
            )
        return self._gains[candidate]

    @cached_property
    def _gains(self) -> dict[str, TransferReport]:
        return {}

    @cached_property
    def _directions(self) -> dict[str, bool]:
        return {
            task["name"]: next(m["lower_is_better"] for m in task["metrics"] if m["name"] == task["metric"])
            for task in self._counting
        }

    def delta_m(self, candidate: str) -> float:
        """Delta_m of a candidate against the tuned single-task networks, in percent; positive = better than apart."""
        return self.gains(candidate).delta_m

    def validation_score(self, candidate: str) -> float:
        """Mean over seeds of the best validation score that one setting reached for all tasks; lower is better.

        A candidate that chooses a setting per task has, by choosing more often, lower scores per task than one that
        chooses once. Candidates are therefore compared by the best single setting (column ``selection_score``).
        """
        runs = self.runs.filter(pl.col("candidate") == candidate)
        by_seed = runs.group_by("seed").agg(pl.col("selection_score").first())
        mean = by_seed["selection_score"].mean()
        return float(mean) if isinstance(mean, (int, float)) else math.inf

    def best(self, family: str | None = None) -> Best:
        """The candidate with the best validation score; test rows have no say in it.

        Args:
            family: only candidates of this family (``"joint"``, ``"single"``, ...); ``"together"`` means joint or
                pooled. Default: all.

        Raises:
            StudyError: no candidate of that family.
        """
        families = {"together": ("joint", "pooled"), None: None}.get(family, (family,))
        entries = [entry for entry in self.settings["candidates"] if families is None or entry["family"] in families]
        if not entries:
            raise StudyError(f"there is no candidate of the family {family!r}; the comparison has {self.candidates}")
        entry = min(entries, key=lambda one: self.validation_score(one["name"]))
        runs = self.runs.filter(pl.col("candidate") == entry["name"])
        chosen: dict[int, dict[str, Any]] = {}
        for row in runs.iter_rows(named=True):
            chosen.setdefault(row["seed"], {})[row["task"]] = json.loads(row["settings"])
        return Best(entry["name"], entry["title"], self.validation_score(entry["name"]), chosen)

    def answer(self) -> str:
        """The answer in two sentences of plain words: do these tasks gain from being learned together?"""
        if all(entry["family"] not in ("joint", "pooled") for entry in self.settings["candidates"]):
            return "Nothing was learned together. The comparison has only single-task candidates."
        together, overall = self.best("together"), self.best()
        return answer_text(
            self.gains(together.candidate),
            title=together.title,
            overall=overall.title,
            overall_is_together=overall.candidate == together.candidate,
            overall_is_reference=overall.candidate == self.reference,
        )

    def verdicts(self) -> pl.DataFrame:
        """One row per candidate (without the reference) and task: gain, interval, p values, verdict."""
        rows = [
            {
                "candidate": name,
                "task": gain.task,
                "n": gain.n,
                "mean_gain": gain.mean,
                "low": gain.interval[0],
                "high": gain.interval[1],
                "p": gain.p,
                "corrected_p": gain.corrected_p,
                "verdict": gain.verdict,
                "flag": gain.flag,
                "note": gain.note,
            }
            for name in self.candidates
            if name != self.reference
            for gain in self.gains(name).tasks
        ]
        real, text = pl.Float64, pl.String
        schema = {"candidate": text, "task": text, "n": pl.Int64, "mean_gain": real, "low": real, "high": real}
        schema |= {"p": real, "corrected_p": real, "verdict": text, "flag": text, "note": text}
        return pl.DataFrame(rows, schema=schema)

    def table(self) -> pl.DataFrame:
        """One row per candidate, best Delta_m first: scores per task (see :meth:`mean_scores`), size and cost.

        The column of a task has its name; ``" (task)"`` is added where another column is called so.
        ``parameters``, ``train_seconds`` and ``predict_microseconds`` (per row, all tasks) are means over seeds of the
        sums over a candidate's predictors; ``step_milliseconds`` is what one optimiser step takes at the default width,
        measured side by side, NaN where one network does not learn all tasks at once.
        """
        costs = ("parameters", "train_seconds", "predict_microseconds")
        sums = self.runs.group_by("candidate", "seed").agg(*(pl.col(name).sum() for name in costs))
        means = {row["candidate"]: row for row in sums.group_by("candidate").mean().iter_rows(named=True)}
        rows = []
        for entry in self.settings["candidates"]:
            name = entry["name"]
            row: dict[str, Any] = {key: entry[key] for key in ("title", "family")}
            row = {"candidate": name, **row, "delta_m": 0.0 if name == self.reference else self.delta_m(name)}
            row["validation_score"] = self.validation_score(name)
            fixed = {*row, *costs, "step_milliseconds"}
            row.update({task + " (task)" * (task in fixed): mean for task, mean in self.mean_scores(name).items()})
            found = means.get(name, {})
            row.update({cost: math.nan if found.get(cost) is None else float(found[cost]) for cost in costs})
            row["step_milliseconds"] = float(self.settings.get("step_milliseconds", {}).get(name, math.nan))
            rows.append(row)
        rows.sort(key=lambda one: -one["delta_m"] if math.isfinite(one["delta_m"]) else math.inf)
        return pl.DataFrame(rows, infer_schema_length=None)

    def diagnostics(self, candidate: str) -> pl.DataFrame:
        """Why a task may gain or lose: best epoch, cost of the shared checkpoint, rates, share of conflicting steps.

        Returns:
            task, best_epoch (mean over seeds, from 1), checkpoint_regret (in units of the loss), rate_mismatch,
            conflict_share (mean over the pairs of the task); null where it was not measured.

        Raises:
            StudyError: no such candidate.
        """
        self.describe(candidate)
        of_candidate = pl.col("candidate") == candidate
        runs = self.runs.filter(of_candidate)
        is_one_network = set(runs["task"].unique()) == {""}
        shared = (
            dict(zip(runs["seed"].to_list(), runs["best_epoch"].to_list(), strict=True)) if is_one_network else None
        )
        rates = rates_of(self.curves.filter(of_candidate).sort("epoch").iter_rows(named=True), shared)
        shares = conflict_shares(self.conflicts.filter(of_candidate).iter_rows(named=True))
        rows = [
            {"task": task["name"], **rates.get(task["name"], UNMEASURED), "conflict_share": shares.get(task["name"])}
            for task in self.settings["tasks"]
        ]
        schema = {"task": pl.String, "best_epoch": pl.Float64, "checkpoint_regret": pl.Float64}
        schema |= {"rate_mismatch": pl.Boolean, "conflict_share": pl.Float64}
        return pl.DataFrame(rows, schema=schema)

    def to_frame(self) -> pl.DataFrame:
        """The tidy table of scores: one row per candidate, task, metric, seed and split."""
        return self.scores

    def report(self, path: str | Path = "report.html") -> Path:
        """Write the report, one HTML file that opens offline.

        Raises:
            ExportError: the file cannot be written.
        """
        from importlib import import_module

        # the report lies one floor above and reads results; it is loaded by name, when asked for
        written: Path = import_module("taskloom.report").write_report(self, Path(path))
        return written

    # -- files --------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write every table as Parquet and CSV, and settings and environment as JSON."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "settings.json", {"version": self.version, **self.settings})
        write_json(folder / "environment.json", self.environment)
        for name in SCHEMAS:
            table: pl.DataFrame = getattr(self, name)
            table.write_parquet(folder / f"{name}.parquet")
            table.write_csv(folder / f"{name}.csv")

    @classmethod
    def load(cls, folder: str | Path) -> Results:
        """Read what :meth:`save` has written; also the folder of a whole run.

        Raises:
            StudyError: the folder holds no results, or those of another version.
        """
        folder = Path(folder)
        if not (folder / "settings.json").exists() and (folder / "results" / "settings.json").exists():
            folder = folder / "results"
        settings = read_json(folder / "settings.json")
        version = settings.pop("version", None)
        if version != cls.version:
            raise StudyError(
                f"the results in {folder} have version {version}, this taskloom reads version {cls.version}; "
                "run the comparison again"
            )
        tables = {name: _read_table(folder / f"{name}.parquet") for name in SCHEMAS}
        return cls(settings=settings, environment=read_json(folder / "environment.json"), **tables)


def _read_table(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StudyError(f"{path} is missing or damaged ({error}); run the comparison again") from error
