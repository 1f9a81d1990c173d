"""The LightningModule of every training: losses, one scalar from the balancer, and nothing of any method."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from taskloom.balance.base import Balancer
from taskloom.data.batch import Batch
from taskloom.engine.combine import balance
from taskloom.engine.measure import measure
from taskloom.fit.training import Objective, OptimiserSettings
from taskloom.losses import task_losses
from taskloom.nn.model import MultiTaskModel
from taskloom.task import Task

__all__ = ["MultiTaskModule"]


class MultiTaskModule(pl.LightningModule):
    """A multi-task network and a balancer under automatic optimisation.

    Args:
        model: the network.
        balancer: the chain that makes one scalar of the task losses.
        tasks: the tasks, in model order.
        objective: the validation score.
        optimiser: settings of AdamW.

    Example:
        >>> import taskloom as tl
        >>> from taskloom.fit.training import Objective, OptimiserSettings
        >>> tasks = (tl.Task(name="a", kind=tl.Regression()),)
        >>> module = MultiTaskModule(
        ...     tl.HardSharing(tl.nn.MLP(3, hidden=(4,)), tasks), tl.equal(), tasks=tasks,
        ...     objective=Objective(tasks, torch.ones(1), torch.ones(1).bool()), optimiser=OptimiserSettings())
        >>> batch = Batch(torch.zeros(2, 3), {"a": torch.zeros(2)}, {"a": torch.ones(2).bool()})
        >>> module.training_step(batch, 0).shape
        torch.Size([])
    """

    def __init__(
        self,
        model: MultiTaskModel,
        balancer: Balancer,
        *,
        tasks: tuple[Task, ...],
        objective: Objective,
        optimiser: OptimiserSettings,
    ) -> None:
        super().__init__()
        self.model = model
        self.balancer = balancer
        self.tasks = tasks
        self.objective = objective
        self.optimiser = optimiser
        self.diverged = False
        self.measures_next_step = False
        self.last_losses: Tensor | None = None
        self.last_active: Tensor | None = None
        self.last_weights: Tensor | None = None
        self.last_gramian: Tensor | None = None
        # the weights that the chain decided on, for the history; scales alone leave one row per task
        balancer.register_forward_hook(lambda chain, given, flow: self._keep_weights(flow.mix))
        self.last_validation_losses = torch.zeros(len(tasks))
        self._validation_outputs: list[tuple[dict[str, Tensor], Batch]] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Losses of the present tasks -> the balancer's scalar, plus the model's penalties with weight 1.

        Once losses or gradients are not finite, nothing more is learned: the epoch gets the score NaN, which ends the
        training at its best epoch so far.
        """
        if self.diverged:
            return None
        losses, active = task_losses(self.tasks, self.model(batch.inputs), targets=batch.targets, mask=batch.mask)
        here = active.tolist()
        present = {
            task.name: loss for task, loss, is_here in zip(self.tasks, losses.unbind(), here, strict=True) if is_here
        }
        skipped = self.balancer.n_skipped
        scalar = balance(present, self.balancer, shared=self.model, on_nonfinite="skip")
        self.diverged = self.balancer.n_skipped > skipped
        if self.diverged:
            return None
        if self.measures_next_step:
            self.last_gramian = self._gramian(present)
        self.last_losses, self.last_active = losses.detach(), active
        return scalar + self.model.penalty()

    def _keep_weights(self, mix: Tensor) -> None:
        self.last_weights = mix.detach().sum(0)

    def _gramian(self, losses: dict[str, Tensor]) -> Tensor:
        """Gramian of the present tasks in the order of all tasks; zero for the absent ones."""
        measured = measure(losses, shared=list(self.model.shared_parameters())).gramian
        places = torch.tensor([position for position, task in enumerate(self.tasks) if task.name in losses])
        gramian = measured.new_zeros(len(self.tasks), len(self.tasks))
        gramian[places[:, None], places] = measured
        return gramian

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect the outputs of a batch; the losses are taken over the whole part at once."""
        self._validation_outputs.append((self.model(batch.inputs), batch))

    def on_validation_epoch_end(self) -> None:
        """Log the validation loss of every task and the score that early stopping watches."""
        losses = self._validation_losses()
        score = self.objective.score(losses, ~losses.isnan())
        if self.diverged:
            losses, score = torch.full_like(losses, torch.nan), torch.full_like(score, torch.nan)
        self.last_validation_losses = losses
        self.log("validation/score", score, sync_dist=True)

    def _validation_losses(self) -> Tensor:
        """Validation losses (K,) of the outputs that were collected, which are dropped."""
        names = [task.name for task in self.tasks]
        collected, self._validation_outputs = self._validation_outputs, []
        outputs = {n: torch.cat([o[n] for o, _ in collected if n in o]) for n in names}
        targets = {n: torch.cat([b.targets[n] for _, b in collected if n in b.targets]) for n in names}
        mask = {n: torch.cat([b.mask[n] for _, b in collected if n in b.mask]) for n in names}
        return self.objective.losses(outputs, targets, mask)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over the model, with the balancer's own groups beside it."""
        groups: list[dict[str, Any]] = [
            {
                "params": [parameter for parameter in self.model.parameters() if parameter.requires_grad],
                "lr": self.optimiser.learning_rate,
                "weight_decay": self.optimiser.weight_decay,
            },
            *self.balancer.parameter_groups(),
        ]
        # the fused kernel does its own unscaling, which the Trainer cannot combine with clipping under mixed precision
        plain = self.trainer.precision in ("32-true", "64-true")
        return torch.optim.AdamW([group for group in groups if group["params"]], fused=plain)
