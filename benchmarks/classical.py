"""How fast the classical estimators are, beside other libraries and with growing problems.

    python benchmarks/classical.py [shared] [ragged] [school] [growth] [--full] [--patience 5]

shared: features selected for all tasks together (l1/l2, squared loss) with one design for all tasks, against
    scikit-learn's MultiTaskLasso, the path function of celer, and skglm, where these are installed.
ragged: the same with samples of their own for each task, against the block-diagonal problem in the group lassos of
    celer and skglm, and against a loop over all rows (what mutar does, restated).
school: paths of 50 strengths on the School data (TASKLOOM_DATA): trace norm, dirty model, clusters, coupled ridge.
growth: exponents of time and peak memory in the number of tasks, of features and of samples.

Everybody goes to a relative duality gap of 1e-6 that one function of this script certifies: each way is given the
loosest of its own tolerances (steps of 0.3) that reaches it. Ways take turns; times are processor times of one thread,
figures medians, ratios medians of the ratios of the turns. Data are in the layout that peers want; building
block-diagonal matrices is not counted. Ways that need more than ``--patience`` seconds run once ("once"), and "> " is
the time after which the gap was not reached.

Needs numba. Prints tables. Every cell goes to classical.json beside this file as soon as it is measured; cells that are
there are not measured again unless versions have changed or ``--again`` asks for it.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable
from pathlib import Path

from _classical.record import Record

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"  # before anything imports numpy

HERE = Path(__file__).parent


def _shared(options: argparse.Namespace, record: Record) -> str:
    from _classical.contests import SHARED, SHARED_IN_FULL, SHARES, shared_contest, shared_table

    sizes = options.sizes or (SHARED_IN_FULL if options.full else SHARED)
    return shared_table(shared_contest(record, sizes=sizes, shares=SHARES, patience=options.patience))


def _ragged(options: argparse.Namespace, record: Record) -> str:
    from _classical.contests import RAGGED, RAGGED_IN_FULL, SHARES, ragged_contest, ragged_table

    sizes = options.sizes or (RAGGED_IN_FULL if options.full else RAGGED)
    return ragged_table(ragged_contest(record, sizes=sizes, shares=SHARES, patience=options.patience))


def _school(options: argparse.Namespace, record: Record) -> str:
    from _classical.school import school_paths, school_table

    return school_table(school_paths(record, patience=10 * options.patience))


def _growth(options: argparse.Namespace, record: Record) -> str:
    from _classical.growth import growth, growth_table

    return growth_table(growth(record, largest=options.largest))


PARTS: dict[str, Callable[[argparse.Namespace, Record], str]] = {
    "shared": _shared,
    "ragged": _ragged,
    "school": _school,
    "growth": _growth,
}


def _size(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split("x"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"which of {', '.join(PARTS)}; default all")
    parser.add_argument("--full", action="store_true", help="all sizes, for hours")
    parser.add_argument("--patience", type=float, default=5.0, help="seconds after which a way takes no turns")
    parser.add_argument("--sizes", nargs="+", type=_size, help="samples x features x tasks, such as 100x200x5")
    parser.add_argument("--largest", type=int, help="sizes above are left out of the growth")
    parser.add_argument("--again", action="store_true", help="measure cells again that are in the file")
    parser.add_argument("--output", type=Path, default=HERE / "classical.json")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"parts {sorted(unknown)} are not known; expected some of {list(PARTS)}")

    from _classical.peers import versions

    setting = {"machine": platform.machine(), "python": platform.python_version(), **versions()}
    print(", ".join(f"{name} {one or 'not found'}" for name, one in setting.items()), flush=True)
    for name in options.parts or PARTS:
        record = Record(options.output, name, setting=setting, again=options.again)
        print(f"\n{name}\n\n{PARTS[name](options, record)}\n", flush=True)


if __name__ == "__main__":
    main()
