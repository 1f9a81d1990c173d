"""
Balancing under Lightning Fabric
================================

Fabric takes care of devices and precision and leaves the loop to you. ``fabric.backward`` takes the scalar that
``tl.balance`` makes. Weights that need task gradients are computed from averages over all processes, so that every
process takes the same step.
"""

import logging

import torch
from lightning.fabric import Fabric
from torch import nn

import taskloom as tl
from taskloom.balance import Balancer

for logger in ("lightning.fabric", "lightning.pytorch"):
    logging.getLogger(logger).setLevel(logging.WARNING)

# %%
# Three tasks on the same inputs: two related ones and a third that opposes the first.

torch.manual_seed(0)
inputs = torch.randn(256, 6)
signal = inputs[:, :3].sum(1, keepdim=True)
targets = torch.cat([torch.tanh(signal), signal, torch.relu(-signal)], dim=1)
names = ["first", "second", "third"]
tasks = [tl.Task(name=name, kind=tl.Regression()) for name in names]


class Network(nn.Module):
    """A shared encoder with one head per task."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(16, 1) for _ in names)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs, one column per task."""
        features = self.encoder(x)
        return torch.cat([head(features) for head in self.heads], dim=1)


def losses_of(network: nn.Module, rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean squared error of every task on some rows."""
    errors = (network(inputs[rows]).float() - targets[rows]).square().mean(0)
    return dict(zip(names, errors.unbind(), strict=True))


# %%
# The loop, here in bfloat16 mixed precision. ``shared`` is read from the module that Fabric wraps: the parameters are
# the same objects. The first balancer needs only losses and has parameters of its own, which the optimiser trains. The
# second is a chain that needs gradients: fixed weights first, then CAGrad on the weighted losses.


def train(balancer: Balancer, epochs: int = 20) -> dict[str, list[float]]:
    """Train a new network; returns the losses on all rows before and after."""
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    fabric.seed_everything(1, verbose=False)
    balancer.bind(tasks)
    network = Network()
    optimiser = torch.optim.Adam([{"params": network.parameters()}, *balancer.parameter_groups()], lr=3e-3)
    network, optimiser = fabric.setup(network, optimiser)
    history = [losses_of(network, torch.arange(256))]
    for _ in range(epochs):
        for rows in torch.randperm(256).split(32):
            loss = tl.balance(losses_of(network, rows), balancer, shared=network.module.encoder)
            optimiser.zero_grad()
            fabric.backward(loss)
            fabric.clip_gradients(network, optimiser, max_norm=10.0)
            optimiser.step()
    history.append(losses_of(network, torch.arange(256)))
    return {name: [losses[name].item() for losses in history] for name in names}


weighted_first = tl.chain(tl.fixed({"first": 1.0, "second": 0.5, "third": 1.0}), tl.cagrad())
balancers = {"uncertainty": tl.uncertainty(), "weighted cagrad": weighted_first}
results = {name: train(balancer) for name, balancer in balancers.items()}
for name, losses in results.items():
    print(name, {task: f"{before:.2f} -> {after:.3f}" for task, (before, after) in losses.items()})
