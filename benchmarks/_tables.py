"""What balancing.py prints: a line per cell, the table for the README, and where this library is behind."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["markdown", "one_line", "shortfalls"]

Block = dict[str, Any]
Cell = dict[str, Any]

WAYS = {"taskloom": "taskloom", "torchjd": "TorchJD", "k_passes": "K passes"}
SLOWER = 1.05  # than the quickest peer: what is listed


def one_line(block: Block, cell: Cell) -> str:
    """A cell as text."""
    ratios = "  ".join(f"{label} {_ratio(cell, way):>7}" for way, label in WAYS.items())
    errors = "  ".join(f"{cell['error'][way]:.0e}" if way in cell["error"] else "-" for way in (*WAYS, "float32"))
    name = f"{block['workload']:<12}{block['tasks']:>3}  {cell['method']:<12}"
    return f"{name}{cell['equal_ms']['median']:8.1f} ms  {ratios}  errors {errors}  turns {cell['turns']}"


def _ratio(cell: Cell, way: str) -> str:
    return f"{cell['ratio'][way]['median']:.2f}" if way in cell["ratio"] else "-"


def markdown(blocks: Sequence[Block]) -> str:
    """One row per workload and K: medians over methods (range), peak memory, the worst method over the quicker peer."""
    ways = " | ".join(WAYS.values())
    lines = [f"| workload | K | equal, ms | {ways} | peak MiB: equal, {', '.join(WAYS.values())} | worst method |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for block in blocks:
        cells = block["cells"]
        milliseconds = statistics.median(cell["equal_ms"]["median"] for cell in cells)
        ratios = [_over_methods(cells, way) for way in WAYS]
        peaks = ", ".join(_mebibytes(block["peak_bytes"][way]) for way in ("equal", *WAYS))
        worst = max(cells, key=lambda cell: cell["to_quickest_peer"]["median"])
        named = f"{worst['method']}, {worst['to_quickest_peer']['median']:.2f}"
        columns = [block["workload"], str(block["tasks"]), f"{milliseconds:.1f}", *ratios, peaks, named]
        lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines)


def _over_methods(cells: Iterable[Cell], way: str) -> str:
    values = [cell["ratio"][way]["median"] for cell in cells if way in cell["ratio"]]
    if not values:
        return "-"
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def _mebibytes(count: int | None) -> str:
    return "-" if count is None else f"{count / 2**20:.0f}"


def shortfalls(blocks: Sequence[Block]) -> str:
    """Cells in which this library takes more time than a peer, or more memory than K gradients laid end to end."""
    lines = []
    for block in blocks:
        name, peak = f"{block['workload']}, K = {block['tasks']}", block["peak_bytes"]
        slower = [cell for cell in block["cells"] if cell["to_quickest_peer"]["median"] > SLOWER]
        for cell in sorted(slower, key=lambda cell: -cell["to_quickest_peer"]["median"]):
            one = cell["to_quickest_peer"]
            lines.append(
                f"slower: {name}, {cell['method']}: {one['median']:.2f} ({one['low']:.2f}-{one['high']:.2f}) times "
                f"{WAYS[cell['quickest_peer']]}"
            )
        if peak["taskloom"] > peak["k_passes"]:
            lines.append(f"memory: {name}: {peak['taskloom'] / peak['k_passes']:.3f} times K passes")
    return "\n".join(lines) or "nowhere slower than a peer by more than 5 %, nowhere more memory than K passes"
