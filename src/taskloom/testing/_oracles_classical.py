"""Check classical estimators against a file of arrays.

The file is ``.npz`` with float64 arrays:

``data/<name>/X``, ``/y``, ``/task`` (long format) or ``/X``, ``/Y`` (all tasks share the rows, NaN: not labelled)
``<name>/<sample or task>/<ic or noic>/<method>[/...]`` and below it
    ``/obj`` the minimum, ``/A`` (d, T) the coefficients, ``/b`` the intercepts, ``/lambda_max``, and arrays of methods
``school/<method>/...``
    the same for the School data, which are read from ``school/school.mat`` below the folder of data sets
``meta_json``
    a list of ``{"key": ..., "params": {...}}`` as text; a file of the same name that ends in ``.json`` serves as well

A value x agrees when ``||x - reference|| <= tolerance * ||reference||``, with a small absolute part for coefficients.
Where a penalty leaves coefficients open, what the data determine of them has to agree.
To support a method, write a function from a case to values and put it in the table of its family
(``_oracles_classical_*.py``).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from taskloom.errors import DataError, TaskloomError
from taskloom.testing import (
    _oracles_classical_couplings,
    _oracles_classical_kernels,
    _oracles_classical_parts,
    _oracles_classical_rows,
)
from taskloom.testing._oracles_base import Outcome, Parameters, Unsupported
from taskloom.testing._oracles_classical_base import Array, Case, Method, determined

__all__ = ["METHODS", "check_arrays"]

_FAMILIES = (
    _oracles_classical_couplings,
    _oracles_classical_kernels,
    _oracles_classical_parts,
    _oracles_classical_rows,
)
METHODS: Mapping[str, Method] = {name: method for family in _FAMILIES for name, method in family.METHODS.items()}

TOLERANCES: Mapping[str, float] = {"obj": 1e-8, "A": 1e-5, "b": 1e-5, "lambda_max": 1e-8}
OTHERWISE = 1e-6
SMALLEST = 1e-6  # norms below it count as this: coefficients may all be 0
NOT_RUN = ("data/", "school/splits/", "meta_json")
PARAMETERS = ("/l1lq_rowq/q",)  # arrays that belong to the entries beside them


def check_arrays(path: Path, *, data: Path | None = None) -> list[Outcome]:
    """Run every entry of a file.

    Args:
        path: the file.
        data: folder of data sets.

    Returns:
        one outcome per entry, in the order of the file.

    Raises:
        DataError: the file cannot be read or does not say what its entries are.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        entries = {entry["key"]: entry["params"] for entry in _meta(path, arrays)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: found no readable file of arrays ({type(error).__name__}: {error}); expected .npz with "
            "meta_json, or a .json file of the same name beside it"
        ) from error
    return [_outcome(case) for case in _cases(arrays, entries, data)]


def _meta(path: Path, arrays: Mapping[str, Array]) -> list[Parameters]:
    if "meta_json" in arrays:
        return list(json.loads(str(arrays["meta_json"])))
    return list(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))


def _cases(arrays: Mapping[str, Array], entries: Mapping[str, Parameters], data: Path | None) -> Iterator[Case]:
    """Entries with their arrays; arrays of no entry are cases of their own, by the name before the last slash."""
    expected: dict[str, dict[str, Array]] = {key: {} for key in entries}
    for name, array in arrays.items():
        if name.startswith(NOT_RUN) or name.endswith(PARAMETERS):
            continue
        parts = name.split("/")
        heads = ("/".join(parts[:length]) for length in range(len(parts) - 1, 0, -1))
        key = next((head for head in heads if head in entries), name)
        expected.setdefault(key, {})[name.removeprefix(key).strip("/") or parts[-1]] = array
    for key, fields in expected.items():
        yield Case(key, entries.get(key, {}), fields, arrays, entries, data)


def _outcome(case: Case) -> Outcome:
    try:
        if case.method not in METHODS:
            raise Unsupported(f"method {case.method!r}")
        method = METHODS[case.method]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = method.run(case)
        reasons = list(_differences(case, {name: np.asarray(value) for name, value in found.items()}, method))
        return Outcome(case.key, "fail" if reasons else "pass", "; ".join(reasons))
    except Unsupported as why:
        return Outcome(case.key, "unsupported", str(why))
    except (TaskloomError, ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        return Outcome(case.key, "fail", f"{type(error).__name__}: {error}")


def _differences(case: Case, found: Mapping[str, Array], method: Method) -> Iterator[str]:
    own = {name: value for name, value in found.items() if name in case.expected}
    references = {name: case.expected[name].astype(np.float64) for name in own}
    if not own:
        raise Unsupported(f"fields {sorted(case.expected)}")
    reasons = list(_unequal(own, references, method))
    is_open = bool(reasons) and not method.is_unique and all(own[name].shape == references[name].shape for name in own)
    if is_open and "A" in own:
        reasons = list(_unequal(determined(case, own), determined(case, references), method))
    yield from reasons


def _unequal(own: Mapping[str, Array], references: Mapping[str, Array], method: Method) -> Iterator[str]:
    for name, reference in references.items():
        if reference.shape != own[name].shape:
            yield f"{name} has shape {own[name].shape}, expected {reference.shape}"
            continue
        tolerance = method.tolerances.get(name, TOLERANCES.get(name, OTHERWISE))
        error = float(np.linalg.norm(own[name] - reference))
        allowed = tolerance * max(float(np.linalg.norm(reference)), SMALLEST)
        if not error <= allowed:  # also true for NaN
            yield f"{name} is off by {error:.3g}, allowed {allowed:.3g}"
