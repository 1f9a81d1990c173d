"""
Two losses that defeat their sum
================================

The toy problem of the papers on CAGrad, Nash-MTL and FAMO: two losses of two numbers, with deep cracks above and a
valley below, at whose bottom neither loss gets better without the other getting worse. Gradient descent on the sum of
the losses can stay in a crack for very long; methods that look at both gradients get out.

Here you hold the gradients yourself: ``balancer.direction(jacobian, losses)`` makes one direction of them.
"""

import torch

import taskloom as tl
from taskloom.balance import Balancer
from taskloom.data.problems import TwoTaskToy

toy = TwoTaskToy()
starts = {"easy": (-8.5, -5.0), "behind a crack": (-8.5, 7.5)}

# %%
# The loop. The papers make 35,000 to 100,000 steps of 0.001; these are fewer and longer.


def descend(balancer: Balancer, start: tuple[float, float], n_steps: int = 1500) -> torch.Tensor:
    """Point that Adam ends at."""
    point = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimiser = torch.optim.Adam([point], lr=0.01)
    for _ in range(n_steps):
        point.grad = balancer.direction(toy.jacobian(point), toy.losses(point).detach())
        optimiser.step()
    return point.detach()


# %%
# From the easy start every method reaches the valley, each at another place: the sum goes on along it to its minimum
# (0, -8.36). From behind the crack Nash-MTL, which gives both tasks the same say however long their gradients are,
# gets there first; the others are still on their way.

methods = {"sum": tl.equal, "pcgrad": tl.pcgrad, "nash": tl.nash_mtl}
ends = {(name, start): descend(make(), starts[start]) for name, make in methods.items() for start in starts}
for (name, start), end in ends.items():
    first, second = toy.losses(end).tolist()
    arrived = "in the valley" if toy.in_valley(end) else "not there yet"
    print(f"{name:7} {start:15} x = ({end[0]:5.2f}, {end[1]:5.2f})  losses {first:7.2f} {second:7.2f}  {arrived}")
