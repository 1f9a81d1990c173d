"""What may import what: floors, siblings, cycles, and who may use which heavy package.

The floors themselves are a contract of import-linter (``[tool.importlinter]`` in pyproject.toml), which ``make lint``
checks; one test here runs it too. The rest reads every source file with ``ast``. Imports under ``TYPE_CHECKING`` do
not run and do not count; imports inside functions do.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "taskloom"

# Files that every file of their package may import, whatever the package.
FOUNDATIONS = {"base", "flow", "model"}

# Packages that hold one method per file. There, no file knows another one: that is what makes adding a method one file.
METHOD_PACKAGES = (
    "balance/scale",
    "balance/mix",
    "balance/reduce",
    "balance/rows",
    "balance/wrap",
    "couplings",
    "linear",
    "kernel",
    "gp",
    "cluster",
    "losses",
    "metrics",
    "nn",
    "nn/encoders",
    "nn/gates",
    "nn/heads",
)

# Files in those packages that put methods together and therefore import them, or that methods are written with.
# Each with the reason.
ASSEMBLERS = {
    "balance/reduce/sum.py": "equal() is the sum or, on request, the mean",
    "losses/defaults.py": "which loss belongs to which kind of task",
    "metrics/defaults.py": "which metrics belong to which kind of task",
    "linear/incomplete_multi_source.py": "its tasks are the patterns of a group lasso",
    "linear/mean_regularized_cv.py": "it chooses the parameters of mean_regularized.py",
    "nn/adaptive.py": "it is partial sharing that grows",
    "nn/branched.py": "the tree that is found is partial sharing",
    "nn/branching.py": "the tree that is found is partial sharing",
    "nn/factorised_networks.py": "independent networks that go on as one of generated weights",
    "nn/omoe.py": "one gate for all tasks is hard sharing of a mixture of experts",
}
PARTS = {
    "kernel/gram.py": "what kernel machines are made of",
    "linear/graph.py": "what couplings of tasks are made of",
    "nn/adapters.py": "what networks are made of",
    "nn/cost.py": "parts say what they cost",
    "nn/cut.py": "what networks are made of",
    "nn/fork.py": "what networks are made of",
    "nn/gates/gate.py": "what networks are made of",
    "nn/mixing.py": "what networks are made of",
    "nn/parallel.py": "what networks are made of",
    "nn/phase.py": "what networks are made of",
    "losses/defaults.py": "task_losses.py looks up the loss of a task that names none",
}

# A heavy package and the only places that may import it (paths below src/taskloom; a folder ends in "/").
OWNERS = {
    "lightning": ("fit/",),
    "pytorch_lightning": (),
    "optuna": ("study/tuner.py",),
    "plotly": ("report/",),
    "polars": ("data/table.py", "data/_read.py", "study/results.py"),
    "pandas": (),
    "sklearn": (
        "data/problems/",
        "task_column/",
        "linear/",
        "kernel/",
        "gp/",
        "instance/",
        "cluster/",
        "study/",
        "demo/",
        "recipes/",
        "testing/",
    ),
    "torchmetrics": ("metrics/",),
    "typer": ("cli/",),
    "accelerate": (),
    "torchjd": ("balance/adapters/",),
    "numba": ("solvers/",),
}

# Places that must load without torch, so that help, reading tables and reading results are quick.
WITHOUT_TORCH_AT_TOP_LEVEL = ("errors.py", "task.py", "_lazy.py", "_rng.py", "_check.py", "solvers/", "cli/", "report/")

FORBIDDEN_FILE_NAMES = {"utils", "util", "common", "misc", "core", "helpers"}
MOST_LINES = 400


@dataclass(frozen=True)
class Import:
    """One import statement: who, what, where, and whether it runs when the file is loaded."""

    file: str  # path below src/taskloom
    module: str  # absolute name of the imported module
    line: int
    at_top_level: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def module_name(file: Path) -> str:
    parts = file.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    return {module_name(file): file for file in sorted(SOURCE.rglob("*.py"))}


def running_statements(body: list[ast.stmt], at_top_level: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, at_top_level
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from running_statements(node.orelse, at_top_level)
        else:
            below = at_top_level and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for field in ("body", "orelse", "finalbody"):
                yield from running_statements(getattr(node, field, []), below)
            for handler in getattr(node, "handlers", []):
                yield from running_statements(handler.body, below)


@cache
def imports() -> tuple[Import, ...]:
    found = []
    for file in modules().values():
        path = file.relative_to(SOURCE).as_posix()
        for node, at_top_level in running_statements(ast.parse(file.read_text()).body, True):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                assert node.level == 0, f"{path}:{node.lineno}: write the import with the full name of the module"
                assert node.module is not None
                deeper = [f"{node.module}.{alias.name}" for alias in node.names]
                names = [name for name in deeper if name in modules()] or [node.module]
            found.extend(Import(path, name, node.lineno, at_top_level) for name in names)
    return tuple(found)


def is_in(path: str, places: tuple[str, ...]) -> bool:
    return any(path.startswith(place) if place.endswith("/") else path == place for place in places)


def test_floors_hold() -> None:
    pytest.importorskip("importlinter")
    finished = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports"))],
        cwd=SOURCE.parents[1],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_methods_do_not_know_each_other() -> None:
    wrong = []
    for statement in imports():
        folder, _, name = statement.file.removesuffix(".py").rpartition("/")
        if folder not in METHOD_PACKAGES or statement.file in ASSEMBLERS or name == "__init__":
            continue
        parent, _, imported = statement.module.rpartition(".")
        if parent != "taskloom." + folder.replace("/", "."):
            continue
        target = modules().get(statement.module)
        is_package = target is not None and target.name == "__init__.py"
        is_part = f"{folder}/{imported}.py" in PARTS
        if imported not in FOUNDATIONS and not imported.startswith("_") and not is_package and not is_part:
            wrong.append(str(statement))
    assert not wrong, "\n".join(["a method imports another method; share through base.py or a file with _:", *wrong])


def test_no_cycles() -> None:
    graph: dict[str, set[str]] = {name: set() for name in modules()}
    for statement in imports():
        if statement.module in graph:
            graph[module_name(SOURCE / statement.file)].add(statement.module)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("modules import each other: " + " -> ".join(error.args[1]))


@pytest.mark.parametrize("package", sorted(OWNERS))
def test_heavy_packages_stay_where_they_belong(package: str) -> None:
    wrong = [
        str(statement)
        for statement in imports()
        if statement.module.partition(".")[0] == package and not is_in(statement.file, OWNERS[package])
    ]
    assert not wrong, "\n".join([f"{package} may be imported only in {OWNERS[package] or 'no file'}:", *wrong])


def test_torch_is_not_loaded_where_it_is_not_needed() -> None:
    wrong = [
        str(statement)
        for statement in imports()
        if statement.at_top_level
        and statement.module.partition(".")[0] == "torch"
        and is_in(statement.file, WITHOUT_TORCH_AT_TOP_LEVEL)
    ]
    assert not wrong, "\n".join(wrong)


def test_package_files_import_nothing_but_lazy_names() -> None:
    """A package ``__init__`` that imported its files would make every import of one file load all of them."""
    wrong = [
        str(statement)
        for statement in imports()
        if statement.file.endswith("__init__.py")
        and statement.at_top_level
        and statement.module not in ("__future__", "taskloom._lazy")
        and not is_in(statement.file, ("cli/", "testing/"))
    ]
    assert not wrong, "\n".join(wrong)


def test_no_private_import_across_packages() -> None:
    """A file with an underscore belongs to its package on a floor (those of floor 0 are for everybody)."""
    wrong = []
    for statement in imports():
        parts = statement.module.split(".")
        hidden = next((index for index, part in enumerate(parts) if part.startswith("_") and index > 1), None)
        if parts[0] == "taskloom" and hidden is not None and not statement.file.startswith(f"{parts[1]}/"):
            wrong.append(str(statement))
    assert not wrong, "\n".join(wrong)


def test_files_are_named_after_what_is_in_them() -> None:
    wrong = [name for name in modules() if name.rpartition(".")[2].strip("_") in FORBIDDEN_FILE_NAMES]
    assert not wrong


def test_files_fit_the_eye() -> None:
    lengths = {name: len(file.read_text().splitlines()) for name, file in modules().items()}
    too_long = {name: length for name, length in lengths.items() if length > MOST_LINES}
    assert not too_long, f"split these files (at most {MOST_LINES} lines): {too_long}"


def test_the_exceptions_are_still_needed() -> None:
    """An entry for a file that is gone would silently allow its successor."""
    listed = [*ASSEMBLERS, *PARTS]
    assert [path for path in listed if not (SOURCE / path).is_file()] == []
