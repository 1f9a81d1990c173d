"""
Balancing under Accelerate
==========================

``accelerator.backward`` takes the scalar that ``tl.balance`` makes. Gradient accumulation is Accelerate's own: it
divides the scalar, and the gradients of all tasks with it.
"""

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import taskloom as tl
from taskloom.balance import Balancer, every

# %%
# Two tasks, the second with labels for half of the rows only. A batch without a label of a task does not have this
# task: it is left out of the losses, and the balancer sees fewer tasks.

torch.manual_seed(0)
inputs = torch.randn(256, 6)
first = torch.sin(inputs[:, 0]) + inputs[:, 1]
second = torch.where(torch.arange(256) % 2 == 0, torch.cos(inputs[:, 0]) - inputs[:, 1], torch.nan)
data = TensorDataset(inputs, first, second)
names = ["first", "second"]
tasks = [tl.Task(name=name, kind=tl.Regression()) for name in names]


class Network(nn.Module):
    """A shared encoder with one head per task."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(16, 1) for _ in names)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """One output per task."""
        features = self.encoder(x)
        return [head(features).squeeze(1) for head in self.heads]


def losses_of(network: nn.Module, x: torch.Tensor, *targets: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean squared error over the labelled rows of each task that has any."""
    found = {}
    for name, output, target in zip(names, network(x), targets, strict=True):
        labelled = ~target.isnan()
        if labelled.any():
            found[name] = (output[labelled] - target[labelled]).square().mean()
    return found


# %%
# The loop. The first balancer needs only losses and has parameters of its own, which the optimiser trains. The second
# needs gradients: ``every(4, ...)`` looks at them in every fourth step and keeps the weights in between, which saves
# most of the cost.


def train(balancer: Balancer, epochs: int = 20) -> dict[str, list[float]]:
    """Train a new network; returns the losses on all rows before and after."""
    torch.manual_seed(1)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    balancer.bind(tasks)
    network = Network()
    optimiser = torch.optim.Adam([{"params": network.parameters()}, *balancer.parameter_groups()], lr=3e-3)
    loader = DataLoader(data, batch_size=16, shuffle=True)
    network, optimiser, loader = accelerator.prepare(network, optimiser, loader)
    shared = accelerator.unwrap_model(network).encoder
    history = [losses_of(network, inputs, first, second)]
    for _ in range(epochs):
        for batch in loader:
            with accelerator.accumulate(network):
                loss = tl.balance(losses_of(network, *batch), balancer, shared=shared)
                accelerator.backward(loss)
                optimiser.step()
                optimiser.zero_grad()
    history.append(losses_of(network, inputs, first, second))
    return {name: [losses[name].item() for losses in history] for name in names}


balancers = {"uncertainty": tl.uncertainty(), "cagrad every 4th step": every(4, tl.cagrad())}
results = {name: train(balancer) for name, balancer in balancers.items()}
for name, losses in results.items():
    print(name, {task: f"{before:.2f} -> {after:.3f}" for task, (before, after) in losses.items()})
