"""Check balancers and estimators against a file of independently computed values.

    python -m taskloom.testing.oracles FILE [--quiet] [--data FOLDER]

A file that ends in ``.npz`` holds arrays for the classical estimators: see ``_oracles_classical.py``. Any other file is
JSON for the balancers, with these lists (all numbers float64):

``inputs``
    Jacobians: ``id``, ``J`` (K rows of length P), ``losses`` (K).
``cases``
    ``id``, ``method``, ``params``, ``input``, ``results`` (each with a ``reference`` name and fields), ``expected``
    (the reference to test against), ``compare`` (which fields), ``rtol``, ``atol``. Fields: ``weights`` (K), what
    ``balancer.weights(J @ J.T, losses)`` returns; ``direction`` (P), what ``balancer.direction(J, losses)`` returns;
    ``value``, the scalar objective; ``grad_log_var`` (K), its gradient in the log-variances.
``sequences``, ``sequence_cases``
    the same over steps: ``J`` and ``losses`` have one more axis, and so have the fields. ``log_var`` holds the
    log-variances before the first step and after each.
``feature_cases``
    like cases, with gradients at features of their own: ``feature_grads`` in the ``shape`` (K, B, D), ``features``.
``metric_cases``
    ``methods`` (scores of each), ``baseline``, ``higher_is_better``, ``task_of_metric``, and the expected values as
    fields of the case.

A field agrees when ``||x - reference|| <= atol + rtol ||reference||``. Every case is a pass, a fail, or unsupported (a
method, a parameter or a field that this version does not have). The exit status is 0 exactly when no supported case
fails; 2 when the file cannot be read.

A sequence is run by ``balancer.step(jacobian, losses, others=..., after=...)``, one call per step: it decides, then
observes what the step did. To support a method, write a function from its parameters to a balancer and put it in the
table of its family (``_oracles_*.py``).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from taskloom.balance.base import Balancer
from taskloom.errors import DataError, TaskloomError
from taskloom.testing import _oracles_first, _oracles_gradients, _oracles_losses, _oracles_solved
from taskloom.testing._oracles_base import Outcome, Parameters, Unsupported, tensor
from taskloom.testing._oracles_features import METRICS, run_features, run_metrics

__all__ = ["BUILDERS", "Outcome", "Unsupported", "check_file", "main"]

_FAMILIES = (_oracles_first, _oracles_gradients, _oracles_losses, _oracles_solved)


BUILDERS: dict[str, Callable[[Parameters, int], Balancer]] = {
    name: builder for family in _FAMILIES for name, builder in family.BUILDERS.items()
}
FIELDS: dict[str, Callable[[Balancer, Tensor, Tensor], dict[str, Tensor]]] = {
    name: fields for family in _FAMILIES for name, fields in family.FIELDS.items()
}
SEQUENCES: dict[str, Callable[[Parameters, Parameters], dict[str, Tensor]]] = {
    name: run for family in _FAMILIES for name, run in family.SEQUENCES.items()
}


# -- one case ---------------------------------------------------------------------------------------------------


def _run_case(case: Parameters, given: Parameters) -> dict[str, Tensor]:
    jacobian, losses = tensor(given["J"]), tensor(given["losses"])
    method = case["method"]
    if method not in BUILDERS:
        raise Unsupported(f"method {method!r}")
    names = [f"task {position}" for position in range(len(losses))]
    found: dict[str, Tensor] = {}
    for field in case["compare"]:
        balancer = BUILDERS[method](case["params"], len(losses))  # a new one: cases start without history
        balancer.bind(names)
        balancer.double().reset()
        if field == "weights":
            found[field] = balancer.weights(jacobian @ jacobian.T, losses)
        elif field == "direction":
            found[field] = balancer.direction(jacobian, losses)
        elif method in FIELDS:
            found.update(FIELDS[method](balancer, jacobian, losses))
        if field not in found:
            raise Unsupported(f"field {field!r}")
    return found


def _run_sequence(case: Parameters, sequence: Parameters) -> dict[str, Tensor]:
    if case["method"] not in SEQUENCES:
        raise Unsupported(f"method {case['method']!r}")
    found = SEQUENCES[case["method"]](case["params"], sequence)
    missing = [field for field in case["compare"] if field not in found]
    if missing:
        raise Unsupported(f"fields {missing}")
    return found


def _run_features(case: Parameters, given: Parameters) -> dict[str, Tensor]:
    return run_features(case, BUILDERS)


def _run_metrics(case: Parameters, given: Parameters) -> dict[str, Tensor]:
    return run_metrics(case)


def _as_case(case: Parameters) -> Parameters:
    """A metric case in the form of the others: its expected values are fields of the case itself."""
    known = [field for field in METRICS if field in case]
    given = {"reference": "given", **{field: case[field] for field in known}}
    return {"atol": 0.0, **case, "results": [given], "expected": "given", "compare": known}


def _judge(case: Parameters, found: Mapping[str, Tensor]) -> str:
    """What differs from the expected result; empty if nothing does."""
    expected = next((result for result in case["results"] if result["reference"] == case["expected"]), None)
    if expected is None:
        raise Unsupported(f"no result of the reference {case['expected']!r}")
    if "error" in expected:
        bad = [field for field, value in found.items() if not bool(torch.isfinite(value).all())]
        return f"not finite: {bad}" if bad else ""
    for field in case["compare"]:
        reference, value = tensor(expected[field]), found[field].to(torch.float64)
        if reference.shape != value.shape:
            return f"{field} has shape {tuple(value.shape)}, expected {tuple(reference.shape)}"
        # Sequences are compared step by step, so that a late step cannot hide behind a large early one.
        steps = zip(value, reference, strict=True) if reference.ndim > 1 else [(value, reference)]
        for number, (own, other) in enumerate(steps):
            error = float(torch.linalg.vector_norm(own - other))
            allowed = case["atol"] + case["rtol"] * float(torch.linalg.vector_norm(other))
            if not error <= allowed:  # also true for NaN
                where = f" at step {number}" if reference.ndim > 1 else ""
                return f"{field}{where} is off by {error:.3g}, allowed {allowed:.3g}"
    return ""


def _outcomes(
    cases: Iterable[Parameters],
    inputs: Mapping[str, Parameters],
    key: str,
    run: Callable[[Parameters, Parameters], Mapping[str, Tensor]],
) -> Iterator[Outcome]:
    for case in cases:
        try:
            reason = _judge(case, run(case, inputs[case[key]]))
            yield Outcome(case["id"], "fail" if reason else "pass", reason)
        except Unsupported as why:
            yield Outcome(case["id"], "unsupported", str(why))
        except TaskloomError as error:
            yield Outcome(case["id"], "fail", f"{type(error).__name__}: {error}")


def check_file(path: Path | str, *, data: Path | str | None = None) -> list[Outcome]:
    """Run every case of a file.

    Args:
        path: the file; ``.npz`` for classical estimators, else JSON for balancers.
        data: folder of data sets that some cases of classical estimators speak of.

    Returns:
        one outcome per case, in the order of the file.

    Raises:
        DataError: the file cannot be read or lacks a part.

    Example:
        >>> import json, tempfile
        >>> case = {"id": "equal", "method": "equal", "params": {"reduction": "mean"}, "input": "one",
        ...         "results": [{"reference": "hand", "weights": [0.5, 0.5]}], "expected": "hand",
        ...         "compare": ["weights"], "rtol": 1e-12, "atol": 1e-12}
        >>> one = {"id": "one", "J": [[1.0], [2.0]], "losses": [1.0, 1.0]}
        >>> with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        ...     json.dump({"inputs": [one], "cases": [case]}, file)
        ...     file.flush()
        ...     print(check_file(file.name)[0])
        pass        equal
    """
    if Path(path).suffix == ".npz":
        from taskloom.testing._oracles_classical import check_arrays

        return check_arrays(Path(path), data=None if data is None else Path(data))
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        inputs = {one["id"]: one for one in content.get("inputs", [])}
        sequences = {one["id"]: one for one in content.get("sequences", [])}
        outcomes = list(_outcomes(content.get("cases", []), inputs, "input", _run_case))
        outcomes += _outcomes(content.get("sequence_cases", []), sequences, "sequence", _run_sequence)
        features = {case["id"]: case for case in content.get("feature_cases", [])}
        outcomes += _outcomes(features.values(), features, "id", _run_features)
        metrics = [_as_case(case) for case in content.get("metric_cases", [])]
        outcomes += _outcomes(metrics, {case["id"]: case for case in metrics}, "id", _run_metrics)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        if isinstance(error, TaskloomError):
            raise
        raise DataError(
            f"{path}: found no readable file of oracle values ({type(error).__name__}: {error}); expected JSON with "
            "the lists inputs, cases, sequences and sequence_cases"
        ) from error
    return outcomes


def _data_beside(file: Path) -> Path | None:
    folder = file.resolve().parent.parent / "data"
    return folder if folder.is_dir() else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: print every outcome and the counts; 0 when no supported case fails, 2 for an unreadable file."""
    parser = argparse.ArgumentParser(
        prog="python -m taskloom.testing.oracles",
        description="Check balancers (JSON) or classical estimators (.npz) against a file of known values.",
    )
    parser.add_argument("file", help="file of cases (layout: see the module documentation)")
    parser.add_argument(
        "--data",
        default=os.environ.get("TASKLOOM_DATA"),
        help="folder of data sets that cases speak of (default: the environment variable TASKLOOM_DATA, else a folder "
        "data beside the folder of the file)",
    )
    parser.add_argument("--quiet", action="store_true", help="print only failures and the counts")
    options = parser.parse_args(arguments)
    try:
        outcomes = check_file(options.file, data=options.data or _data_beside(Path(options.file)))
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    counts = dict.fromkeys(("pass", "fail", "unsupported"), 0)
    for outcome in outcomes:
        counts[outcome.status] += 1
        if outcome.status == "fail" or not options.quiet:
            sys.stdout.write(f"{outcome}\n")
    sys.stdout.write(f"{counts['pass']} passed, {counts['fail']} failed, {counts['unsupported']} unsupported\n")
    return 1 if counts["fail"] else 0


if __name__ == "__main__":
    sys.exit(main())
