"""``import taskloom`` and ``taskloom --help`` load nothing heavy. Each test asks a fresh process."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "sklearn",
    "scipy",
    "lightning",
    "pytorch_lightning",
    "plotly",
    "polars",
    "pandas",
    "optuna",
    "torchmetrics",
)
# Nobody waits this long; the real time is in benchmarks/. The bound only catches an accident on a busy machine.
GENEROUS_SECONDS = 2.0

LOADED = f"import sys; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"


def loaded_after(statement: str) -> list[str]:
    finished = subprocess.run(
        [sys.executable, "-c", f"{statement}\n{LOADED}"], capture_output=True, text=True, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()[-1].split()


@pytest.mark.parametrize(
    "statement",
    [
        "import taskloom",
        "import taskloom as tl; dir(tl); tl.__all__; tl.__version__",
        "import taskloom as tl; tl.Task(name='a', kind=tl.Regression())",
        "import taskloom.balance, taskloom.data, taskloom.engine, taskloom.fit, taskloom.losses, taskloom.metrics",
        "import taskloom.couplings, taskloom.nn, taskloom.report, taskloom.study",
        "import taskloom.cluster, taskloom.gp, taskloom.instance, taskloom.kernel, taskloom.linear",
        "import taskloom.regularised, taskloom.task_column",
    ],
)
def test_importing_loads_nothing_heavy(statement: str) -> None:
    assert loaded_after(statement) == []


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"], ["fit", "--help"], ["methods", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    statement = (
        f"import sys; sys.argv = ['taskloom', *{arguments!r}]\n"
        "from taskloom.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    )
    assert loaded_after(statement) == []


def test_importing_is_quick() -> None:
    statement = "import time; start = time.perf_counter(); import taskloom; print(time.perf_counter() - start)"
    seconds = [
        float(subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(seconds) < GENEROUS_SECONDS
