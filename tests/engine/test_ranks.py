"""Two processes under DistributedDataParallel give the gradients of one process on all rows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.engine.conftest import TwoHeads
from torch import Tensor, nn

from taskloom.balance.mix.pcgrad import pcgrad
from taskloom.balance.reduce.sum import equal
from taskloom.engine.combine import balance

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")


class _Losses(nn.Module):
    """The forward pass that DistributedDataParallel wraps."""

    def __init__(self, network: TwoHeads) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor, tasks: tuple[str, ...]) -> dict[str, Tensor]:
        return self.network.losses(inputs, tasks)


def _inputs() -> Tensor:
    return torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _balancers() -> dict[str, Any]:
    return {"pcgrad": pcgrad(seed=1), "equal mean": equal("mean")}


def _present(rank: int, has_absent: bool) -> tuple[str, ...]:
    return ("a", "c") if rank == 1 and has_absent else ("a", "b", "c")


def _train(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = {}
    for name, balancer in _balancers().items():
        for has_absent in (False, True):
            network = TwoHeads()
            network.unused.requires_grad_(False)
            wrapped = nn.parallel.DistributedDataParallel(_Losses(network), find_unused_parameters=has_absent)
            balancer.bind(network.tasks)
            balancer.reset()
            losses = wrapped(_inputs().chunk(2)[rank], _present(rank, has_absent))
            balance(losses, balancer, shared=network).backward()
            found[name, has_absent] = network.gradients()
    torch.save(found, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)]), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([sys.executable, "-m", "tests.engine.test_ranks", str(rank), str(tmp_path)], env=environment)
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for name, balancer in _balancers().items():
        for has_absent in (False, True):
            network = TwoHeads()
            balancer.bind(network.tasks)
            balancer.reset()
            halves = [network.losses(half, _present(rank, has_absent)) for rank, half in enumerate(_inputs().chunk(2))]
            # What two ranks minimise: the average over ranks, an absent task counting 0.
            losses = {
                task: torch.stack([half[task] for half in halves if task in half]).sum() / 2 for task in network.tasks
            }
            balance(losses, balancer, shared=network).backward()
            for parameter, gradient in network.gradients().items():
                if gradient is not None:
                    for found in (first, second):
                        torch.testing.assert_close(
                            found[name, has_absent][parameter],
                            gradient,
                            rtol=1e-6,
                            atol=1e-8,
                            msg=f"{name} {parameter}",
                        )


if __name__ == "__main__":
    _train(int(sys.argv[1]), sys.argv[2])
