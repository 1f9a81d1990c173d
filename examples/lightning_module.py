"""
Balancing in a LightningModule
==============================

``training_step`` returns the scalar that ``tl.balance`` makes. Automatic optimisation stays on, so precision, gradient
accumulation, clipping, checkpoints and several devices work as for any other module. The balancer is a submodule: it
moves to the device and is saved in checkpoints with the model.
"""

import logging

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import taskloom as tl
from taskloom.balance import Balancer

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)

# %%
# One picture-free stand-in for perception: a number and a class from the same inputs.

torch.manual_seed(0)
inputs = torch.randn(256, 6)
depth = torch.sin(inputs[:, 0]) + inputs[:, 1]
surface = (inputs[:, 0] > inputs[:, 2]).long()
data = TensorDataset(inputs, depth, surface)
tasks = [tl.Task(name="depth", kind=tl.Regression()), tl.Task(name="surface", kind=tl.Multiclass(2))]

# %%
# The module. Two lines differ from a module with one loss: the one that calls ``tl.balance``, and the one that gives
# the optimiser the balancer's own parameters, if it has any.


class TwoTasks(lightning.LightningModule):
    """A shared encoder, two heads and a balancer."""

    def __init__(self, balancer: Balancer) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
        self.depth, self.surface = nn.Linear(16, 1), nn.Linear(16, 2)
        self.balancer = balancer
        self.balancer.bind(tasks)

    def losses(self, batch: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Loss of each task."""
        x, depth, surface = batch
        features = self.encoder(x)
        return {
            "depth": nn.functional.mse_loss(self.depth(features).squeeze(1), depth),
            "surface": nn.functional.cross_entropy(self.surface(features), surface),
        }

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """The scalar to differentiate."""
        losses = self.losses(batch)
        self.log_dict({f"train/{task}": loss.detach() for task, loss in losses.items()})
        return tl.balance(losses, self.balancer, shared=self.encoder)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One group for the network, one for the balancer."""
        network = [*self.encoder.parameters(), *self.depth.parameters(), *self.surface.parameters()]
        return torch.optim.Adam([{"params": network}, *self.balancer.parameter_groups()], lr=3e-3)


# %%
# Training, with two batches accumulated per step and clipped gradients. Uncertainty weighting learns from the losses
# alone and has parameters of its own; CAGrad needs the gradients of the tasks. The module is the same.


def train(balancer: Balancer) -> dict[str, list[float]]:
    """Train a new module; returns the losses on all rows before and after."""
    lightning.seed_everything(1, verbose=False)
    module = TwoTasks(balancer)
    before = module.losses([inputs, depth, surface])
    trainer = lightning.Trainer(
        max_epochs=20,
        accelerator="cpu",
        accumulate_grad_batches=2,
        gradient_clip_val=10.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(data, batch_size=16, shuffle=True))
    after = module.losses([inputs, depth, surface])
    return {task: [before[task].item(), after[task].item()] for task in before}


results = {name: train(balancer) for name, balancer in {"uncertainty": tl.uncertainty(), "cagrad": tl.cagrad()}.items()}
for name, losses in results.items():
    print(name, {task: f"{start:.2f} -> {end:.3f}" for task, (start, end) in losses.items()})

# %%
# ``tl.fit`` is this module with early stopping, scores, and prediction in the units of the data; use a module of your
# own when you need something that it does not do.
