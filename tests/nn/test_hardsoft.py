from __future__ import annotations

from collections.abc import Sequence

import torch

from taskloom.couplings import CentreDistance, PairwiseDistance
from taskloom.nn import MLP, HardSharing, HardSoftMix
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws


class TestHardSoftMix(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> HardSoftMix:
        return HardSoftMix(
            MLP(self.n_features, (5,)), tasks, encoder=lambda: MLP(5, (4,)), coupling=CentreDistance(0.1)
        )

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        copies = len(tasks) + (len(tasks) > 1)
        return 7 * 5 + copies * 6 * 4 + sum(5 * task.kind.n_outputs for task in tasks)


class TestHardSoftMixWithoutCentre(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> HardSoftMix:
        return HardSoftMix(
            MLP(self.n_features, (5,)), tasks, encoder=lambda: MLP(5, (4,)), coupling=PairwiseDistance(0.1)
        )


def test_equal_encoders_are_hard_sharing() -> None:
    torch.manual_seed(0)
    tasks = [Task(name=name, kind=Regression()) for name in "ab"]
    mix = HardSoftMix(MLP(3, (4,)), tasks, encoder=lambda: MLP(4, (5,)), same_start=True).eval()
    hard = HardSharing(MLP(3, (4, 5)), tasks, heads={task: mix.heads[k] for k, task in enumerate("ab")}).eval()
    hard.encoder[0].load_state_dict(mix.trunk[0].state_dict())
    hard.encoder[1].load_state_dict(mix.encoders[0][0].state_dict())
    inputs = torch.randn(6, 3)
    assert all(torch.equal(mix(inputs)[task], hard(inputs)[task]) for task in "ab")
    assert float(mix.penalty().detach()) == 0.0


def test_the_common_copy_learns_through_the_penalty_alone() -> None:
    tasks = [Task(name=name, kind=Regression()) for name in "ab"]
    model = HardSoftMix(MLP(3, (4,)), tasks, encoder=lambda: MLP(4, (5,)), coupling=CentreDistance(1.0))
    centre = list(model.coupling_parameters())
    assert len(centre) == 2
    with torch.no_grad():
        centre[0].add_(1.0)
    gradient = torch.autograd.grad(model.penalty(), centre[0])[0]
    torch.testing.assert_close(gradient, torch.full_like(gradient, 4.0))  # 2 sum_t (centre - theta_t) = 2 * K * 1
