from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taskloom.errors import DataError
from taskloom.linear import MultiTaskLasso1
from taskloom.testing.oracles import check_file, main

COUPLINGS = Path(__file__).parents[1] / "linear" / "couplings.npz"


def write(path: Path, *, meta: Any, **arrays: Any) -> Path:
    with np.load(COUPLINGS) as content:
        data = {name: content[name] for name in content.files if name.startswith("data/ragged")}
    np.savez(path, **data, **arrays, **({} if meta is None else {"meta_json": np.array(json.dumps(meta))}))
    return path


def entry(key: str, **params: Any) -> dict[str, Any]:
    return {"key": key, "params": params}


KEY = "ragged/sample/noic/mean_reg/g5"
MEAN = entry(KEY, alpha=0.1, coupling=5.0)


def reference() -> dict[str, Any]:
    with np.load(COUPLINGS) as content:
        return {name: content[name] for name in content.files if name.startswith(f"{KEY}/")}


def test_right_values_pass_and_wrong_ones_fail(tmp_path: Path) -> None:
    right = reference()
    assert [one.status for one in check_file(write(tmp_path / "right.npz", meta=[MEAN], **right))] == ["pass"]
    for name, error in ((f"{KEY}/obj", 1e-7), (f"{KEY}/A", 1e-4), (f"{KEY}/Q", 1e-4)):
        wrong = {**right, name: right[name] * (1 + error)}
        (outcome,) = check_file(write(tmp_path / "wrong.npz", meta=[MEAN], **wrong))
        assert outcome.status == "fail"
        assert f"{name.rsplit('/')[-1]} is off by" in outcome.reason
    (outcome,) = check_file(write(tmp_path / "shape.npz", meta=[MEAN], **{**right, f"{KEY}/A": right[f"{KEY}/A"].T}))
    assert "A has shape (8, 4), expected (4, 8)" in outcome.reason


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    meta = [entry("ragged/sample/noic/magic/a1", alpha=1.0), entry(KEY, alpha=0.1)]
    arrays = {"ragged/sample/noic/magic/a1/obj": 1.0, **reference(), "ragged/sample/noic/magic/lambda_max": 2.0}
    outcomes = check_file(write(tmp_path / "file.npz", meta=meta, **arrays))
    assert [one.status for one in outcomes] == ["unsupported"] * 3
    assert "method 'magic'" in outcomes[0].reason
    assert "no parameter 'coupling'" in outcomes[1].reason
    assert outcomes[2].case == "ragged/sample/noic/magic/lambda_max"


def test_the_entries_may_be_beside_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "file.npz", meta=None, **reference())
    with pytest.raises(DataError, match=r"\.json file of the same name"):
        check_file(path)
    path.with_suffix(".json").write_text(json.dumps([MEAN]))
    assert [one.status for one in check_file(path)] == ["pass"]


def test_a_refused_parameter_is_a_failure(tmp_path: Path) -> None:
    (outcome,) = check_file(write(tmp_path / "file.npz", meta=[entry(KEY, alpha=-1.0, coupling=5.0)], **reference()))
    assert outcome.status == "fail"
    assert "alpha=-1.0" in outcome.reason


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "file.npz", meta=[MEAN], **reference())
    assert main([str(path)]) == 0
    assert "1 passed, 0 failed, 0 unsupported" in capsys.readouterr().out
    wrong = {**reference(), f"{KEY}/obj": 0.0}
    assert main([str(write(path, meta=[MEAN], **wrong)), "--quiet"]) == 1
    path.write_text("no arrays")
    assert main([str(path)]) == 2
    assert "found no readable file of arrays" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["noic", "ic"])
def test_coefficients_that_are_open_are_compared_by_what_the_data_determine(tmp_path: Path, place: str) -> None:
    """Equal columns may share a coefficient of an absolute value in any way."""
    rng = np.random.default_rng(71)
    X = rng.normal(size=(20, 3)) + 1.0
    table = X[:, [0, 1, 2, 0]]
    y = X @ [2.0, 0.0, -1.0] + 3.0
    data = {"data/p/X": table, "data/p/y": y, "data/p/task": np.repeat([0, 1], 10)}
    key = f"p/sample/{place}/lasso/a0.1"

    def status(A: np.ndarray, b: np.ndarray, obj: float) -> str:
        path = tmp_path / "file.npz"
        fields = {f"{key}/A": A, f"{key}/b": b, f"{key}/obj": obj}
        np.savez(path, **data, **fields, meta_json=np.array(json.dumps([entry(key, alpha=0.1)])))
        (outcome,) = check_file(path)
        return outcome.status

    one = MultiTaskLasso1(0.1, task_feature=0, fit_intercept=place == "ic", tol=1e-13, max_iter=100_000)
    one.fit(np.column_stack([data["data/p/task"], table]), y)
    A = one.coef_.T.copy()
    A[0], A[3] = 0.25 * (A[0] + A[3]), 0.75 * (A[0] + A[3])
    assert status(A, one.intercept_, one.objective_) == "pass"
    assert status(A, one.intercept_ + 1e-3, one.objective_) == "fail"
    A[0] += 1e-3
    assert status(A, one.intercept_, one.objective_) == "fail"


def test_powers_belong_to_the_entries_beside_them(tmp_path: Path) -> None:
    key, powers = "ragged/sample/noic/l1lq_rowq", np.array([1.0, 2.0] * 4)
    path = tmp_path / "file.npz"
    arrays = {f"{key}/a0.1/obj": 0.0, f"{key}/q": powers}
    (outcome,) = check_file(write(path, meta=[entry(f"{key}/a0.1", alpha=0.1)], **arrays))
    assert outcome.case == f"{key}/a0.1"
    assert "obj is off by" in outcome.reason


def test_data_sets_may_be_beside_the_folder_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TASKLOOM_DATA", raising=False)
    (tmp_path / "oracles").mkdir()
    path = write(
        tmp_path / "oracles" / "file.npz", meta=[entry("school/trace/1", rho1=1.0)], **{"school/trace/1/obj": 1.0}
    )
    main([str(path)])
    assert "no folder of data sets" in capsys.readouterr().out
    (tmp_path / "data").mkdir()
    main([str(path)])
    assert "school.mat is not there" in capsys.readouterr().out
