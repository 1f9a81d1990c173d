"""Two processes that stay alive and run functions of test modules side by side, with one process group for all.

Starting a process costs seconds, most of them for importing torch. The pair is started by the first test that asks for
it, and again after a test whose function raised or hung (the group is then out of step).
"""

from __future__ import annotations

import atexit
import importlib
import os
import pickle
import sys
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SECONDS = 100  # for one function; on a busy machine the first one waits for imports
WORLD = 2


def _serve(rank: int, folder: str, connection: Connection) -> None:
    import torch

    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD, timeout=timedelta(seconds=SECONDS)
    )
    connection.send_bytes(pickle.dumps(("ready", None)))
    while True:
        module, name, arguments = pickle.loads(connection.recv_bytes())
        try:
            answer = ("done", getattr(importlib.import_module(module), name)(rank, *arguments))
        except BaseException:
            answer = ("failed", traceback.format_exc())
        connection.send_bytes(pickle.dumps(answer))  # by value: no tensor stays shared between processes


class Pair:
    """Two processes with one process group."""

    def __init__(self) -> None:
        import torch.multiprocessing

        context = torch.multiprocessing.get_context("spawn")
        self.folder = tempfile.TemporaryDirectory(prefix="taskloom-ranks-")
        path, environment = list(sys.path), dict(os.environ)
        sys.path[:0] = [str(ROOT / "src"), str(ROOT)]  # where the processes find this file
        os.environ["OMP_NUM_THREADS"] = "1"
        if sys.platform == "linux":
            os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # not what the name of the machine resolves to
        self.connections, self.processes = [], []
        try:
            for rank in range(WORLD):
                here, there = context.Pipe()
                process = context.Process(target=_serve, args=(rank, self.folder.name, there), daemon=True)
                process.start()
                self.connections.append(here)
                self.processes.append(process)
        finally:
            sys.path[:] = path
            os.environ.clear()
            os.environ.update(environment)
        self._answers(2 * SECONDS)

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What ``function(rank, *arguments)`` returns on each rank."""
        for connection in self.connections:
            connection.send_bytes(pickle.dumps((function.__module__, function.__name__, arguments)))
        return self._answers(SECONDS)

    def _answers(self, seconds: float) -> list[Any]:
        found: dict[int, Any] = {}
        while len(found) < WORLD:
            ready = wait([one for rank, one in enumerate(self.connections) if rank not in found], timeout=seconds)
            if not ready:
                raise AssertionError(f"no answer within {seconds} s from the ranks {set(range(WORLD)) - set(found)}")
            for connection in ready:
                rank = self.connections.index(connection)
                state, found[rank] = pickle.loads(connection.recv_bytes())
                if state == "failed":
                    raise AssertionError(f"rank {rank}:\n{found[rank]}")
        return [found[rank] for rank in range(WORLD)]

    def stop(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.kill()
            process.join()
        self.folder.cleanup()


_pair: list[Pair] = []


def on_two_ranks(function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What ``function(rank, *arguments)`` of a test module returns on each of two ranks."""
    if not _pair:
        _pair.append(Pair())
    try:
        return _pair[0].run(function, *arguments)
    except BaseException:
        stop()
        raise


@atexit.register
def stop() -> None:
    """End the pair, if there is one."""
    while _pair:
        _pair.pop().stop()
