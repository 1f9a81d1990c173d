"""With and without numba: the same numbers, and compiled functions that stay within their file."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from taskloom.solvers import _compiled

FOLDER = Path(_compiled.__file__).parent

PROGRAM = """
import json
import numpy as np
from taskloom.solvers._compiled import IS_COMPILED
from taskloom.solvers.conflict_averse import conflict_averse
from taskloom.solvers.dual_cone import dual_cone
from taskloom.solvers.fair import fair
from taskloom.solvers.minimum_norm import minimum_norm
from taskloom.solvers.nash import nash

found = []
generator = np.random.default_rng(0)
for n, size in [(1, 2), (2, 3), (4, 2), (5, 9), (12, 20)]:
    J = generator.normal(size=(n, size)) + 0.3
    G = J @ J.T
    for w in (minimum_norm(G), nash(G), fair(G, 2.0), fair(G, 0.5), conflict_averse(G, 0.4)):
        found.append((w @ J).tolist())
    found.append((dual_cone(G, np.eye(n)) @ J).ravel().tolist())
print(json.dumps([IS_COMPILED, found]))
"""


def run(**environment: str) -> tuple[bool, list[list[float]]]:
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env={**os.environ, **environment}, timeout=250
    )
    assert finished.returncode == 0, finished.stderr
    is_compiled, found = json.loads(finished.stdout)
    return is_compiled, found


def test_numba_changes_no_result() -> None:
    is_compiled, plain = run(TASKLOOM_NO_NUMBA="1")
    assert not is_compiled
    pytest.importorskip("numba")
    is_compiled, quick = run(TASKLOOM_NO_NUMBA="0")
    assert is_compiled
    for one, other in zip(plain, quick, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-9)


def test_without_a_folder_to_write_to_functions_are_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    class Numba:
        @staticmethod
        def njit(*, cache=False):
            def compile_it(function):
                if cache:
                    raise RuntimeError("cannot cache function: no locator available")
                return ("compiled", function)

            return compile_it

    monkeypatch.setattr(_compiled, "_NUMBA", Numba)
    assert _compiled.compiled(len) == ("compiled", len)
    monkeypatch.setattr(_compiled, "_NUMBA", None)
    assert _compiled.compiled(len) is len


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_compiled_functions_call_none_of_other_files(path: Path) -> None:
    """Numba keeps machine code by the age of one file: code from another one would not be noticed when it changes."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    foreign = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("taskloom")
        for alias in node.names
    }
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and any(
            ast.unparse(one) in ("compiled", "compiled_in_any_order") for one in node.decorator_list
        ):
            used = {inner.id for part in node.body for inner in ast.walk(part) if isinstance(inner, ast.Name)}
            assert not used & foreign, f"{path.name}: {node.name} uses {used & foreign}"
