"""
Balancing in a loop of your own
===============================

``tl.balance`` turns the losses of several tasks into one scalar. Everything else in this loop is plain PyTorch: the
call of ``backward``, the optimiser, the order of the batches. Two methods are compared here: uncertainty weighting,
which sees only losses and learns how much each task counts, and CAGrad, which looks at the gradients of the tasks and
helps the task that the mean gradient helps least.
"""

import torch
from torch import nn

import taskloom as tl
from taskloom.balance import Balancer

# %%
# Two tasks on the same inputs. The first grows with the sum of some inputs, the second falls with it, and
# its targets are ten times larger: without weights it drowns the first.

torch.manual_seed(0)
inputs = torch.randn(256, 6)
total, difference = inputs[:, :3].sum(1), inputs[:, 0] - inputs[:, 1]
targets = {"small": torch.tanh(total), "large": 10 * torch.tanh(2 * difference - total)}
tasks = [tl.Task(name=name, kind=tl.Regression()) for name in targets]


def make_model() -> nn.ModuleDict:
    """A shared encoder and one head per task."""
    torch.manual_seed(1)
    encoder = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
    return nn.ModuleDict({"encoder": encoder, **{name: nn.Linear(16, 1) for name in targets}})


def losses_of(model: nn.ModuleDict, rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean squared error of every task on some rows."""
    features = model["encoder"](inputs[rows])
    return {name: (model[name](features).squeeze(1) - target[rows]).square().mean() for name, target in targets.items()}


# %%
# Do the tasks disagree at all? ``tl.measure`` shows the cosines between their gradients and changes nothing.

model = make_model()
print(tl.measure(losses_of(model, torch.arange(256)), shared=model["encoder"]).text())

# %%
# The loop. A balancer is told its tasks once. Some balancers learn something themselves: their parameters go to the
# optimiser in a group of their own, which is empty for the others.


def train(balancer: Balancer, epochs: int = 20) -> dict[str, list[float]]:
    """Train a new model; returns the losses on all rows before and after."""
    model = make_model()
    balancer.bind(tasks)
    optimiser = torch.optim.Adam([{"params": model.parameters()}, *balancer.parameter_groups()], lr=3e-3)
    history = [losses_of(model, torch.arange(256))]
    for _ in range(epochs):
        for rows in torch.randperm(256).split(32):
            loss = tl.balance(losses_of(model, rows), balancer, shared=model["encoder"])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    history.append(losses_of(model, torch.arange(256)))
    return {name: [losses[name].item() for losses in history] for name in targets}


results = {name: train(balancer) for name, balancer in {"uncertainty": tl.uncertainty(), "cagrad": tl.cagrad()}.items()}
for name, losses in results.items():
    print(name, {task: f"{before:.2f} -> {after:.3f}" for task, (before, after) in losses.items()})

# %%
# With gradient accumulation, divide the scalar by the number of batches; with mixed precision, scale it:
# ``scaler.scale(loss).backward()``. Clipping comes after ``backward`` as always. Penalties of a model are added to the
# scalar: ``(loss + model.penalty()).backward()``.
