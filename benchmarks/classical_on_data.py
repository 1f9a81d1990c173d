"""Classical estimators on real data: School, the computer survey, Mulan's targets, newsgroups, Kang's digits.

    python benchmarks/classical_on_data.py            # everything; goes on where it was stopped
    python benchmarks/classical_on_data.py school     # one of school, survey, mulan, newsgroups, digits
    python benchmarks/classical_on_data.py --table    # what is there so far

All strengths are chosen inside the training rows, by leaving out one row in closed form or in three folds; the digits
have validation rows of their own. Grids are those of `_classical_methods.py`, the same for all data. Figures are means
over splits with their standard deviation.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from _classical_methods import CLASSIFIERS, REGRESSORS, Method, Table, fitted
from _classical_tables import MULAN, digits, mulan, newsgroups, school, survey
from threadpoolctl import threadpool_limits

FILE = Path(__file__).with_suffix(".json")
PERCENT = (10, 20, 30, 75)
N_SPLITS, N_NEWS_SPLITS = 10, 5
Found = dict[str, dict[str, dict[str, list[float]]]]  # part -> case -> method -> figure of every split


def explained(method: Method, train: Table, test: Table) -> float:
    """Share of the variance of all test targets that is explained, in per cent."""
    errors = _predicted(method, train, test) - test.y
    return float(100 * (1 - np.sum(errors**2) / np.sum((test.y - test.y.mean()) ** 2)))


def root_mean_square(method: Method, train: Table, test: Table) -> float:
    """Root of the mean squared error over all ratings."""
    return float(np.sqrt(np.mean((_predicted(method, train, test) - test.y) ** 2)))


def relative_error(method: Method, train: Table, test: Table) -> float:
    """Root mean squared error over that of the training mean, mean over targets, in per cent."""
    errors = np.mean((_predicted(method, train, test) - test.y) ** 2, axis=0)
    return float(100 * np.mean(np.sqrt(errors / np.mean((train.y.mean(axis=0) - test.y) ** 2, axis=0))))


def accuracy(method: Method, train: Table, test: Table) -> float:
    """Share of texts whose class is right, in per cent."""
    return float(100 * np.mean(fitted(method, train).predict(test.x) == test.y))


def _predicted(method: Method, train: Table, test: Table) -> np.ndarray:
    """Predictions in the units of the targets; these are scaled by the training rows for the fit."""
    mean, scale = train.y.mean(axis=0), train.y.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    model = fitted(method, Table(train.x, (train.y - mean) / scale, train.has_column))
    return mean + scale * model.predict(test.x)


class Record:
    """The figures found so far; written after every one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.found: Found = json.loads(file.read_text()) if file.exists() else {}

    def fill(
        self, part: str, case: str, methods: Sequence[Method], *, place: int, make: Callable[[Method], float | None]
    ) -> None:
        """Add the figure of one split for every method that lacks it."""
        for method in methods:
            figures = self.found.setdefault(part, {}).setdefault(case, {}).setdefault(method.name, [])
            if len(figures) <= place and (figure := make(method)) is not None:
                figures.append(figure)
                self._file.write_text(json.dumps(self.found, indent=1) + "\n")
                print(f"{part:12}{case:14}{place:3}  {method.name:32}{figure:8.2f}", flush=True)


def run_school(record: Record) -> None:
    """Explained variance; the splits of all sizes in turn."""
    for split in range(N_SPLITS):
        for percent in PERCENT:
            train, test = school(percent, split)
            record.fill("school", str(percent), REGRESSORS, place=split, make=_if_suits(explained, train, test))


def run_survey(record: Record) -> None:
    """Error of ratings."""
    record.fill("survey", "16 of 20", REGRESSORS, place=0, make=_if_suits(root_mean_square, *survey()))


def run_mulan(record: Record) -> None:
    """Relative error in ten folds."""
    for name in MULAN:
        for fold, (train, test) in enumerate(mulan(name)):
            record.fill("mulan", name, REGRESSORS, place=fold, make=_if_suits(relative_error, train, test))


def run_newsgroups(record: Record) -> None:
    """Accuracy with a tenth of the texts."""
    for split in range(N_NEWS_SPLITS):
        for folder in ("comp.vs.sci", "rec.vs.talk"):
            parts = newsgroups(folder, split)
            record.fill("newsgroups", folder, CLASSIFIERS, place=split, make=_if_suits(accuracy, *parts))


def run_digits(record: Record) -> None:
    """Error of the digit with the largest output."""
    for name in ("usps", "mnist"):
        train, valid, test = digits(name)

        def error(method: Method, train: Table = train, valid: Table = valid, test: Table = test) -> float:
            outputs = fitted(method, train, held_out=valid).decision_function(test.x)
            return float(100 * np.mean(outputs.argmax(axis=1) != test.y.argmax(axis=1)))

        record.fill("digits", name, CLASSIFIERS, place=0, make=error)


def _if_suits(
    measure: Callable[[Method, Table, Table], float], train: Table, test: Table
) -> Callable[[Method], float | None]:
    return lambda method: measure(method, train, test) if method.suits(train) else None


PARTS = {
    "school": run_school,
    "survey": run_survey,
    "mulan": run_mulan,
    "newsgroups": run_newsgroups,
    "digits": run_digits,
}


def table(found: Found) -> str:
    """A table of each part: a row per method, a column per case."""
    lines = []
    for part, cases in found.items():
        names = list(dict.fromkeys(name for methods in cases.values() for name in methods))
        lines += [f"\n| {part} | " + " | ".join(cases) + " |", "|---" * (len(cases) + 1) + "|"]
        for name in names:
            cells = [_cell(methods.get(name, [])) for methods in cases.values()]
            if any(cell != "-" for cell in cells):
                lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append(f"({max(len(one) for methods in cases.values() for one in methods.values())} splits)")
    return "\n".join(lines)


def _cell(figures: list[float]) -> str:
    if not figures:
        return "-"
    spread = f" ± {np.std(figures, ddof=1):.1f}" if len(figures) > 1 else ""
    return (f"{np.mean(figures):.1f}" if spread else f"{figures[0]:.2f}") + spread


def main() -> None:
    """Run what is asked for, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    parser.add_argument("--json", type=Path, default=FILE)
    given = parser.parse_args()
    record = Record(given.json)
    if not given.table:
        with threadpool_limits(1):
            for part in given.parts:
                PARTS[part](record)
    print(table(record.found))


if __name__ == "__main__":
    main()
