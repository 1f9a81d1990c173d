"""Accuracy as scikit-learn has it, and what is said where labels are missing."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from taskloom.errors import DataError
from taskloom.task_column import labelled_accuracy

TRUE = np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
FOUND = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])


def test_rows_that_are_right_in_all_tasks() -> None:
    assert labelled_accuracy(TRUE, FOUND) == accuracy_score(TRUE, FOUND) == pytest.approx(2 / 3)
    assert labelled_accuracy(TRUE, FOUND, sample_weight=[1.0, 2.0, 1.0]) == pytest.approx(0.5)
    assert labelled_accuracy(["a", "b"], ["a", "a"]) == 0.5


def test_missing_labels() -> None:
    with pytest.raises(DataError, match=r"missing labels.*use task_scores"):
        labelled_accuracy(np.where(TRUE == 0, np.nan, TRUE), FOUND)
