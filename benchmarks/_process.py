"""To be imported before PyTorch: one thread in every library, and a profiler that does not announce itself."""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["KINETO_LOG_LEVEL"] = "99"
