"""What a task is: a name, a kind (what is predicted), and how it counts.

A :class:`Kind` carries what follows from it - the number of network outputs and how raw outputs become
predictions - so that nothing else in the library has to ask "is this classification?". Losses and metrics are
registered per kind in :mod:`taskloom.losses` and :mod:`taskloom.metrics`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from taskloom.errors import TaskError, nearest

__all__ = ["Binary", "Kind", "Multiclass", "Regression", "Task", "check_tasks", "find_task", "slugs"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a task predicts. Subclass it for a new kind and register a loss and metrics for the subclass.

    Example:
        >>> Regression().n_outputs, Multiclass(5).n_outputs
        (1, 5)
    """

    @property
    def name(self) -> str:
        """Lower-case word used in tables, files and configuration."""
        return type(self).__name__.lower()

    @property
    def n_outputs(self) -> int:
        """Number of outputs that a head of this kind has."""
        return 1

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for a kind without classes."""
        return 0

    def predict(self, outputs: np.ndarray) -> np.ndarray:
        """Turn raw head outputs, shape (n, n_outputs), into predictions (values or probabilities)."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Regression(Kind):
    """A real number per sample. Raw output and prediction are the same.

    Example:
        >>> Regression().predict(np.array([[1.5]]))
        array([1.5])
    """

    def predict(self, outputs: np.ndarray) -> np.ndarray:
        """Value, shape (n,)."""
        return np.asarray(outputs).reshape(len(outputs))


@dataclass(frozen=True, slots=True)
class Binary(Kind):
    """One of two classes per sample; one output, the logit of the second class.

    Args:
        labels: names of the two classes, negative class first; default ``("0", "1")``.

    Example:
        >>> Binary(("no", "yes")).predict(np.array([[0.0]]))
        array([0.5])
    """

    labels: tuple[str, ...] = ("0", "1")

    def __post_init__(self) -> None:
        if len(self.labels) != 2:
            raise TaskError(f"Binary needs two class labels, found {len(self.labels)}; use Multiclass for more")

    @property
    def n_classes(self) -> int:
        return 2

    def predict(self, outputs: np.ndarray) -> np.ndarray:
        """Probability of the second class, shape (n,)."""
        logits = np.asarray(outputs, dtype=np.float64).reshape(len(outputs))
        return np.exp(-np.logaddexp(0.0, -logits))


@dataclass(frozen=True, slots=True)
class Multiclass(Kind):
    """One of C >= 2 classes per sample; C outputs, the logits.

    Args:
        classes: number of classes C.
        labels: names of the classes in the order of their codes 0..C-1; default their codes.

    Example:
        >>> Multiclass(3).predict(np.zeros((1, 3))).round(3)
        array([[0.333, 0.333, 0.333]])
    """

    classes: int
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise TaskError(f"Multiclass needs at least 2 classes, found {self.classes}")
        if not self.labels:
            object.__setattr__(self, "labels", tuple(str(code) for code in range(self.classes)))
        if len(self.labels) != self.classes:
            raise TaskError(f"Multiclass({self.classes}) got {len(self.labels)} labels; give one label per class")

    @property
    def n_outputs(self) -> int:
        return self.classes

    @property
    def n_classes(self) -> int:
        return self.classes

    def predict(self, outputs: np.ndarray) -> np.ndarray:
        """Class probabilities, shape (n, C); rows sum to 1."""
        logits = np.asarray(outputs, dtype=np.float64).reshape(len(outputs), self.classes)
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
        return probabilities


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One thing to learn: what it is called, what it predicts, and how it counts.

    Args:
        name: any non-empty text without line breaks; reports show it as it is, files use its slug.
        kind: what is predicted, for example ``Regression()``, ``Binary()``, ``Multiclass(5)``.
        target: column that holds the target; default: the name.
        loss: loss of this task (an object of :mod:`taskloom.losses`); default by kind.
        metrics: metrics of this task (objects of :mod:`taskloom.metrics`), the first is the main one;
            default by kind.
        loss_weight: positive factor on the loss. Never a sampling weight.
        auxiliary: True if the task only serves the others; it is left out of the final score.

    Raises:
        TaskError: the name is empty or has line breaks, the kind is no Kind, or the weight is not positive.

    Example:
        >>> Task(name="price", kind=Regression()).column
        'price'
    """

    name: str
    kind: Kind
    target: str | None = None
    loss: Any = None
    metrics: tuple[Any, ...] = ()
    loss_weight: float = 1.0
    auxiliary: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise TaskError(f"a task name must be non-empty text, found {self.name!r}; give the task a name")
        if any(character in self.name for character in "\n\r"):
            raise TaskError(f"the task name {self.name!r} has a line break; task names are one line of text")
        if not isinstance(self.kind, Kind):
            raise TaskError(
                f"task {self.name!r}: kind must be a Kind such as Regression() or Multiclass(5), found {self.kind!r}"
            )
        if not self.loss_weight > 0:
            raise TaskError(f"task {self.name!r}: loss_weight must be positive, found {self.loss_weight!r}")

    @property
    def column(self) -> str:
        """Name of the target column."""
        return self.target if self.target is not None else self.name


def check_tasks(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """Check a collection of tasks at a public door and return it as a tuple.

    Raises:
        TaskError: no task, something that is no Task, or a name that occurs twice.

    Example:
        >>> len(check_tasks([Task(name="a", kind=Regression())]))
        1
    """
    checked = tuple(tasks)
    if not checked:
        raise TaskError("tasks must name at least one task")
    for task in checked:
        if not isinstance(task, Task):
            raise TaskError(f"tasks must be Task objects, found {task!r}; write Task(name=..., kind=...)")
    names = [task.name for task in checked]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise TaskError(f"duplicate task names: {duplicates}; give every task its own name")
    return checked


def find_task(tasks: Sequence[Task], name: str) -> Task:
    """Return the task of a name, or raise naming the nearest one.

    Raises:
        TaskError: no task has this name.

    Example:
        >>> find_task([Task(name="price", kind=Regression())], "price").kind
        Regression()
    """
    for task in tasks:
        if task.name == name:
            return task
    raise TaskError(f"unknown task {name!r}.{nearest(name, (task.name for task in tasks))}")


def slugs(names: Sequence[str]) -> tuple[str, ...]:
    """File-safe, distinct short forms of names, in order (letters of any script are kept).

    Example:
        >>> slugs(["price / m2", "price.m2", "가격"])
        ('price-m2', 'price-m2-2', '가격')
    """
    taken: set[str] = set()
    result = []
    for name in names:
        plain = unicodedata.normalize("NFC", name).casefold()
        stem = re.sub(r"[^\w]+", "-", plain).strip("-_")[:60] or "task"
        slug, number = stem, 1
        while slug in taken:
            number += 1
            slug = f"{stem}-{number}"
        taken.add(slug)
        result.append(slug)
    return tuple(result)
