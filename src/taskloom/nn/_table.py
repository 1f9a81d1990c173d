"""Tables that say which tasks share which stage, and their checks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations

from taskloom.errors import TaskError, nearest

__all__ = ["Tree", "check_table", "sharing_table"]

Tree = str | tuple["Tree", ...]


def sharing_table(tree: Tree, *, splits: Sequence[int], n_stages: int) -> list[dict[str, Hashable]]:
    """Make the sharing table of a tree of tasks.

    Args:
        tree: nested tuples of task names; tasks in one tuple stay together longer than tasks in different ones.
        splits: one stage index per level of nesting, increasing: the parts of the outermost tuple use different modules
            from stage ``splits[0]`` on, those of the tuples inside from ``splits[1]`` on, and so on.
        n_stages: number of stages of the encoder.

    Returns:
        per stage a mapping task -> group, for :class:`PartialSharing`.

    Raises:
        TaskError: levels and splits do not match, splits are not increasing, or a task occurs twice.

    Example:
        >>> sharing_table((("a", "b"), "c"), splits=(1, 2), n_stages=3)
        [{'a': (), 'b': (), 'c': ()}, {'a': (0,), 'b': (0,), 'c': (1,)}, {'a': (0, 0), 'b': (0, 1), 'c': (1,)}]
    """
    paths: dict[str, tuple[int, ...]] = {}
    _walk(tree, (), paths)
    depth = max(len(path) for path in paths.values())
    if len(splits) != depth:
        raise TaskError(f"the tree has {depth} levels of nesting, but {len(splits)} splits are given")
    if list(splits) != sorted(set(splits)) or any(split < 0 for split in splits):
        raise TaskError(f"splits must be increasing stage indices from 0 on, found {list(splits)}")
    table: list[dict[str, Hashable]] = []
    for stage in range(n_stages):
        n_levels = sum(split <= stage for split in splits)
        table.append({task: path[:n_levels] for task, path in paths.items()})
    return table


def _walk(tree: Tree, path: tuple[int, ...], paths: dict[str, tuple[int, ...]]) -> None:
    if isinstance(tree, str):
        if tree in paths:
            raise TaskError(f"task {tree!r} occurs twice in the tree")
        paths[tree] = path
        return
    for index, branch in enumerate(tree):
        _walk(branch, (*path, index), paths)


def check_table(table: Sequence[Mapping[str, Hashable]], tasks: Sequence[str], *, n_stages: int, tree: bool) -> None:
    """Check a sharing table.

    Raises:
        TaskError: as many rows as stages are expected, an entry for each task and no other, and with ``tree`` no two
            tasks that share a stage after having been split.
    """
    if len(table) != n_stages:
        raise TaskError(f"the sharing table has {len(table)} rows, but the encoder has {n_stages} stages")
    for row, groups in enumerate(table):
        for task in tasks:
            if task not in groups:
                raise TaskError(f"sharing table row {row} has no entry for task {task!r}")
        for task in groups:
            if task not in tasks:
                raise TaskError(f"sharing table row {row} has the unknown task {task!r}.{nearest(task, tasks)}")
    if not tree:
        return
    for row in range(1, n_stages):
        before: dict[Hashable, dict[Hashable, str]] = {}
        for task in tasks:  # all tasks of one group must come from one group
            origins = before.setdefault(table[row][task], {})
            origins.setdefault(table[row - 1][task], task)
        for origins in before.values():
            for first, second in combinations(list(origins.values())[:2], 2):
                raise TaskError(
                    f"tasks {first!r} and {second!r} are split after stage {row - 1} but share stage {row}; "
                    "pass tree=False to allow it"
                )
