"""Data sets of `classical_on_data.py` as tables with a training and a test part, read from TASKLOOM_DATA."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from _classical_methods import Table
from _data_sets import DATA
from scipy.io import arff, loadmat
from sklearn.model_selection import KFold

from taskloom.task_column import stack_tasks

__all__ = ["MULAN", "digits", "mulan", "newsgroups", "school", "survey"]

MULAN = {"andro": 6, "edm": 2, "enb": 2, "slump": 3, "atp1d": 6, "atp7d": 6, "oes97": 16, "oes10": 16}
Parts = tuple[Table, Table]


def _scaled(train: Table, test: Table) -> Parts:
    """Columns scaled by the training rows; the task column is left as it is."""
    first = int(train.has_column)
    mean, scale = train.x[:, first:].mean(axis=0), train.x[:, first:].std(axis=0)
    scale[scale < 1e-12] = 1.0

    def one(table: Table) -> Table:
        x = table.x.copy()
        x[:, first:] = (x[:, first:] - mean) / scale
        return Table(x, table.y, table.has_column)

    return one(train), one(test)


def school(percent: int, split: int) -> Parts:
    """Marks of 139 schools; so many per cent of each school's pupils are for training.

    The rows are drawn as in the stored splits of the School data: with the seed ``1000 percent + split``, school by
    school.
    """
    stored = loadmat(DATA / "school" / "school.mat", mat_dtype=True)
    tables = [table[:, :27] for table in stored["X"].ravel()]  # the last column is constant
    x, y = stack_tasks(tables, [marks.ravel() for marks in stored["Y"].ravel()])
    random = np.random.default_rng(1000 * percent + split)
    is_training, begin = np.zeros(len(y), dtype=bool), 0
    for table in tables:
        size = len(table)
        is_training[begin + random.permutation(size)[: int(np.ceil(size * percent / 100))]] = True
        begin += size
    whole = Table(x, y, has_column=True)
    return _scaled(whole.rows(is_training), whole.rows(~is_training))


def survey() -> Parts:
    """190 persons rate 20 computers; 16 profiles are for training, as the design file says."""
    stored = loadmat(DATA / "computer_survey" / "conjointAnalysisComputerBuyers.mat")
    x, y = stored["designMarix"].astype(float), stored["likeBuy"].T.astype(float)
    varies = x.std(axis=0) > 0
    whole = Table(x[:, varies], y, has_column=False)
    return whole.rows(np.arange(16)), whole.rows(np.arange(16, 20))


def mulan(name: str) -> Iterator[Parts]:
    """Targets of the same rows; ten folds."""
    file = DATA / "mulan_multitarget" / f"{name}.arff"
    rows, _ = arff.loadarff(_text(file))
    values = np.array([list(row) for row in rows], dtype=float)
    whole = Table(values[:, : -MULAN[name]], values[:, -MULAN[name] :], has_column=False)
    for train, test in KFold(10, shuffle=True, random_state=0).split(values):
        yield _scaled(whole.rows(train), whole.rows(test))


def _text(file: Path) -> Path:
    """The file itself, or a stream of what it packs."""
    packed = file.with_name(file.name + ".gz")
    return file if file.exists() else gzip.open(packed, "rt")  # type: ignore[return-value]


def newsgroups(folder: str, split: int) -> Parts:
    """Two tasks of two classes, words as inputs; a tenth of the texts of each task is for training."""
    files = sorted((DATA / "newsgroups_malsar" / folder).glob("*.mat"))
    stored = [loadmat(file) for file in files]
    texts = [np.log1p(one["fea"].toarray()) for one in stored]  # counts, stored sparse
    labels = [(one["gnd"].ravel() == one["gnd"].max()).astype(float) for one in stored]
    x, y = stack_tasks([text / np.maximum(np.linalg.norm(text, axis=1), 1e-12)[:, None] for text in texts], labels)
    random = np.random.default_rng(split)
    is_training = np.zeros(len(y), dtype=bool)
    for task in np.unique(x[:, 0]):
        rows = np.flatnonzero(x[:, 0] == task)
        is_training[random.permutation(rows)[: len(rows) // 10]] = True
    x[:, 1:] *= 10.0  # lengths of ten, near those of standardised words
    whole = Table(x, y, has_column=True)
    return whole.rows(is_training), whole.rows(~is_training)


def digits(name: str) -> tuple[Table, Table, Table]:
    """Ten tasks, each digit against the others; training, validation and test rows of split 1."""
    stored = loadmat(DATA / "kang2011_digits" / f"split1_{name}_1000train.mat")
    parts = []
    for part in ("train", "valid", "test"):
        labels = stored[f"digit_{part}y"].ravel().astype(int)
        parts.append(Table(stored[f"digit_{part}x"], np.eye(10)[labels - labels.min()], has_column=False))
    (train, test), (_, valid) = _scaled(parts[0], parts[2]), _scaled(parts[0], parts[1])
    return train, valid, test
