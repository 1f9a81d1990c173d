"""Time, memory and error of a step, and where it was made."""

from __future__ import annotations

import gc
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

__all__ = ["peak_bytes", "relative_error", "seconds_of", "setting_of", "spread"]

Step = Callable[[], object]


def seconds_of(step: Step, device: torch.device) -> float:
    """Seconds of one call: processor time of this process on a CPU, time between two events on a GPU."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        start.record()
        step()
        end.record()
        torch.cuda.synchronize(device)
        return start.elapsed_time(end) / 1e3
    begin = time.process_time()
    step()
    return time.process_time() - begin


def peak_bytes(step: Step, device: torch.device) -> int:
    """Most bytes of tensors that are alive at a time during the second call, beyond those from before the first.

    On a CPU every allocation and release of PyTorch's allocator is recorded, temporary memory inside operations
    included; not seen is what libraries below it (oneDNN, BLAS) and NumPy take for themselves. Both calls are recorded,
    so that memory which the first one keeps for the next counts, while what only a first step needs does not. On a GPU
    it is the peak of the caching allocator.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        step()
        torch.cuda.reset_peak_memory_stats(device)
        step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    gc.collect()  # what was recorded earlier must not be released now
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
        with record_function(_SECOND):
            step()
    assert recorded.profiler is not None
    assert recorded.profiler.kineto_results is not None
    events = recorded.profiler.kineto_results.events()
    begin = next(event.start_ns() for event in events if event.name() == _SECOND)
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    alive = peak = 0
    for moment, change in changes:
        alive += change
        if moment >= begin:
            peak = max(peak, alive)
    return peak


_SECOND = "the second step"


def relative_error(found: Sequence[Tensor | None], exact: Sequence[Tensor]) -> float:
    """||found - exact|| / ||exact|| over all parameters; None stands for zeros."""
    difference = whole = 0.0
    for one, right in zip(found, exact, strict=True):
        whole += float(right.square().sum())
        difference += float((right if one is None else one.detach().to(right) - right).square().sum())
    return math.sqrt(difference / max(whole, 1e-300))


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median and range."""
    known = list(values)
    return {"median": statistics.median(known), "low": min(known), "high": max(known)}


def setting_of(device: torch.device) -> dict[str, Any]:
    """Where this runs."""
    names = ("torch", "numpy", "numba", "torchjd", "cvxpy", "qpsolvers", "quadprog", "clarabel", "ecos")
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }
