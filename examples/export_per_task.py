"""
One task alone, from a network for several
==========================================

In use one task is often enough. ``model.export(task)`` is a plain module with what that task needs and nothing else:
no other tasks' heads and gates, no policy, no low-rank updates beside a weight - those are merged into it. Four
architectures are trained here, and each of their tasks is exported; the answers must be those of the whole network.
With the extra ``onnx`` installed each is written as a file too, which is run and compared before it is kept.
"""

import importlib.util
import tempfile
from pathlib import Path

import numpy as np
import torch

import taskloom as tl
from taskloom.nn import macs

has_onnx = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))

# %%
# Three tasks on one table: two numbers that have much in common, and a class of its own.

random = np.random.default_rng(0)
x = random.normal(size=(240, 8)).astype(np.float32)
first = np.tanh(x[:, 0] + x[:, 1]) + 0.5 * x[:, 2]
targets = {"first": first, "second": first + 0.3 * x[:, 3], "class": (x[:, 4] * x[:, 5] > 0).astype(int)}
tasks = [
    tl.Task(name="first", kind=tl.Regression()),
    tl.Task(name="second", kind=tl.Regression()),
    tl.Task(name="class", kind=tl.Binary()),
]
data = tl.MultiTaskData.from_arrays(x, targets, tasks=tasks)

torch.manual_seed(0)
models = {
    "cross-stitch": tl.CrossStitch(tl.MLP(8, (16, 16)), tasks),
    "MMoE": tl.MMoE(lambda: tl.MLP(8, (16,)), tasks, n_experts=4),
    "AdaShare": tl.AdaShare(
        [tl.MLP(16, (16,)) for _ in range(4)],
        tasks,
        stem=tl.MLP(8, (16,)),
        warmup_epochs=1,
        search_cycles=12,
        sparsity=0,
    ),
    "LoRA": tl.LoRA(tl.MLP(8, (16, 16)), tasks, rank=2),
}

# %%
# AdaShare goes through phases: ``fit`` returns the derived network, in which every task runs the blocks it has chosen.
# (A few epochs are no training; the answers of the exported networks must be right whatever was learned.)

trained = {
    name: tl.fit(model, data, schedule=tl.Schedule(max_epochs=4, batch_size=32)).model for name, model in models.items()
}

# %%
# What a task alone needs. Cross-stitch networks read one another and MMoE's tasks read all experts, so a task keeps
# most of them; a task of AdaShare keeps its blocks, and one of LoRA a network of the backbone's size.

inputs = torch.randn(50, 8)
largest_difference: dict[str, float] = {}
onnx_difference: dict[str, float] = {}
with tempfile.TemporaryDirectory() as folder:
    for name, model in trained.items():
        expected = model(inputs)
        whole = sum(parameter.numel() for parameter in model.parameters())
        for task in model.tasks:
            alone = model.export(task)
            difference = float((alone(inputs) - expected[task]).detach().abs().max())
            largest_difference[name] = max(largest_difference.get(name, 0.0), difference)
            kept, cost = sum(parameter.numel() for parameter in alone.parameters()), macs(alone, inputs[:1]).macs
            line = f"{name:12} {task:7} {kept:5d} of {whole} parameters, {cost:5d} multiplications"
            if has_onnx:
                path = Path(folder) / f"{name}-{task}.onnx"
                found = tl.export_onnx(model, path, example=inputs, tasks=[task])
                onnx_difference[name] = max(onnx_difference.get(name, 0.0), found[task])
                line += f", file of {path.stat().st_size:6d} bytes"
            print(line)
for name, difference in largest_difference.items():
    print(f"{name:12} largest difference to the whole network: {difference:.1e}")
