from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from taskloom.errors import DataError
from taskloom.gp import ICMGaussianProcess
from taskloom.instance import TaskReweighting
from taskloom.kernel import MultiTaskKernelRidge, MultiTaskSVR
from taskloom.task_column import labelled_r2

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(20, 3))
TRUE = X @ GENERATOR.normal(size=(3, 2)) + 0.1 * GENERATOR.normal(size=(20, 2))
GUESSED = TRUE + 0.3 * GENERATOR.normal(size=(20, 2))
WEIGHTS = GENERATOR.uniform(0.5, 2, size=20)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_without_gaps_it_is_that_of_scikit_learn(weights: np.ndarray | None) -> None:
    assert labelled_r2(TRUE, GUESSED, sample_weight=weights) == r2_score(TRUE, GUESSED, sample_weight=weights)
    one = labelled_r2(TRUE[:, 0], GUESSED[:, 0], sample_weight=weights)
    assert one == r2_score(TRUE[:, 0], GUESSED[:, 0], sample_weight=weights)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_missing_labels_are_left_out(weights: np.ndarray | None) -> None:
    holes = TRUE.copy()
    holes[3:9, 1] = np.nan
    seen = ~np.isnan(holes[:, 1])
    expected = [
        r2_score(TRUE[:, 0], GUESSED[:, 0], sample_weight=weights),
        r2_score(TRUE[seen, 1], GUESSED[seen, 1], sample_weight=None if weights is None else weights[seen]),
    ]
    assert labelled_r2(holes, GUESSED, sample_weight=weights) == pytest.approx(np.mean(expected))
    holes[:, 1] = np.nan
    assert labelled_r2(holes, GUESSED, sample_weight=weights) == pytest.approx(expected[0])
    with pytest.raises(DataError, match="every label of y is missing"):
        labelled_r2(np.full((2, 2), np.nan), np.zeros((2, 2)))


@pytest.mark.filterwarnings("ignore:the weights of:UserWarning")
@pytest.mark.parametrize(
    "model",
    [MultiTaskKernelRidge(), MultiTaskSVR(), ICMGaussianProcess(), TaskReweighting(Ridge())],
    ids=lambda model: type(model).__name__,
)
def test_estimators_score_tables_with_gaps(model: object) -> None:
    holes = TRUE.copy()
    holes[::3, 0] = np.nan
    fitted = model.fit(X, holes)  # type: ignore[attr-defined]
    assert fitted.score(X, holes) == labelled_r2(holes, fitted.predict(X))
