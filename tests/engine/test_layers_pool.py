"""Memory of the layer engine: blocks that are used again, and an allocator that keeps what it is given."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from taskloom.engine.layers.pool import Pool

CPU = torch.device("cpu")

IN_HEAP = """
import torch
from taskloom.engine.layers.pool import Pool

Pool()  # without it, the answer is no
address = torch.empty(5_000_000).data_ptr()  # 19 MiB
(heap,) = (line.split()[0].split("-") for line in open("/proc/self/maps") if line.rstrip().endswith("[heap]"))
print(int(heap[0], 16) <= address < int(heap[1], 16))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about the allocator of glibc")
def test_large_blocks_come_from_memory_that_is_kept() -> None:
    """Outside the heap they would be mapped and given back one by one, page by page."""
    found = subprocess.run([sys.executable, "-c", IN_HEAP], capture_output=True, check=True, text=True)
    assert found.stdout.strip() == "True"


def test_scratch_is_shared_by_name_and_grows() -> None:
    lease = Pool().lease()
    first = lease.scratch("a", (2, 3), torch.float32, CPU)
    assert lease.scratch("a", (3,), torch.float32, CPU).data_ptr() == first.data_ptr()
    assert lease.scratch("b", (2, 3), torch.float32, CPU).data_ptr() != first.data_ptr()
    assert lease.scratch("a", (2, 3), torch.float64, CPU).data_ptr() != first.data_ptr()
    assert lease.scratch("a", (5, 3), torch.float32, CPU).shape == (5, 3)


def test_blocks_come_back_with_the_lease() -> None:
    pool = Pool()
    lease, other = pool.lease(), pool.lease()
    block = lease.take((4,), torch.float32, CPU)
    assert other.take((4,), torch.float32, CPU).data_ptr() != block.data_ptr()
    address = block.data_ptr()
    del lease, block
    assert pool.lease().take((2, 2), torch.float32, CPU).data_ptr() == address
