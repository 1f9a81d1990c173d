"""
GradNorm when one task is a hundred times larger
================================================

The regression problem of the GradNorm paper (Chen et al., 2018): tasks that differ mostly in the scale of their
targets. With equal weights the largest task takes the network for itself. GradNorm watches the length of every task's
gradient on the last shared layer, and trains the weights so that all tasks advance alike.
"""

from itertools import pairwise

import torch
from torch import nn

import taskloom as tl
from taskloom.balance import Balancer

# %%
# Task k has the targets ``scale_k tanh((B + E_k) x)``: a matrix B that all share and a deviation of its own. Entries
# have variance 10 and 3.5.

SCALES = {"small": 1.0, "large": 100.0}


def make_data(n_rows: int, n_test: int, seed: int = 0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Inputs and the targets of every task; the last ``n_test`` rows are for tests."""
    random = torch.Generator().manual_seed(seed)
    common = 10**0.5 * torch.randn(250, 100, generator=random)
    own = {name: 3.5**0.5 * torch.randn(250, 100, generator=random) for name in SCALES}
    inputs = torch.randn(n_rows + n_test, 250, generator=random)
    return inputs, {name: scale * torch.tanh(inputs @ (common + own[name])) for name, scale in SCALES.items()}


def make_model() -> nn.ModuleDict:
    """Four shared layers and one linear head per task."""
    torch.manual_seed(0)
    widths = [250, 100, 100, 100, 100]
    layers = [nn.Sequential(nn.Linear(*pair), nn.ReLU()) for pair in pairwise(widths)]
    return nn.ModuleDict({"trunk": nn.Sequential(*layers), **{name: nn.Linear(100, 100) for name in SCALES}})


# %%
# ``last_layer`` says where GradNorm looks. Its weights are parameters: the optimiser gets them as a group of their own.
# The score is the sum over tasks of test loss over test loss at the start: 2 at first, and less is better.


def train(
    balancer: Balancer, n_steps: int = 400, every: int = 100, n_rows: int = 10_000, n_test: int = 1_000
) -> tuple[list[float], list[list[float]]]:
    """Train a new model; returns the score at check points, and the weights in every step."""
    inputs, targets = make_data(n_rows, n_test)
    model = make_model()
    balancer.bind(list(SCALES))
    optimiser = torch.optim.Adam([{"params": model.parameters()}, *balancer.parameter_groups()], lr=1e-3)

    def losses_of(rows: torch.Tensor | slice) -> dict[str, torch.Tensor]:
        features = model["trunk"](inputs[rows])
        return {name: (model[name](features) - target[rows]).square().mean() for name, target in targets.items()}

    def test_losses() -> torch.Tensor:
        with torch.no_grad():
            return torch.stack(list(losses_of(slice(n_rows, None)).values()))

    first, scores, weights = test_losses(), [], []
    for step in range(1, n_steps + 1):
        losses = losses_of(torch.randint(n_rows, (200,)))
        loss = tl.balance(losses, balancer, shared=model["trunk"], last_layer=model["trunk"][-1])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        weights.append([one for group in balancer.parameter_groups() for one in group["params"][0].tolist()])
        if step % every == 0:
            scores.append((test_losses() / first).sum().item())
    return scores, weights


# %%
# Equal weights make the small task worse than it was before training. GradNorm finds within a hundred steps that the
# large task deserves a hundredth of the weight or so; its weights oscillate, since they are trained on signs.

results = {name: train(balancer) for name, balancer in {"equal": tl.equal(), "gradnorm": tl.gradnorm(0.12)}.items()}
for name, (scores, _) in results.items():
    print(f"{name:9} score at check points:", *(f"{score:.2f}" for score in scores))
weights = torch.tensor(results["gradnorm"][1][-100:]).mean(0)
print(
    "gradnorm  mean weights of the last 100 steps:",
    *(f"{name} {w:.2f}" for name, w in zip(SCALES, weights, strict=True)),
)
