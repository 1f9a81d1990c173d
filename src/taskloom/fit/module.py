"""The LightningModule of every training: losses, one scalar from the balancer, and nothing of any method."""

from __future__ import annotations

import inspect
import math
from contextlib import AbstractContextManager, nullcontext
from itertools import compress
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from taskloom._rng import stream_seed
from taskloom.balance.base import Balancer
from taskloom.data.batch import Batch
from taskloom.engine.base import GradientEngine, ranks
from taskloom.engine.combine import balance, weighted_sum
from taskloom.engine.measure import measure
from taskloom.errors import DataError
from taskloom.fit._adamw import LeanAdamW
from taskloom.fit._moments import inherit_moments
from taskloom.fit._observe import SecondLook
from taskloom.fit.training import Objective, OptimiserSettings
from taskloom.losses import by_position, task_losses
from taskloom.nn.fork import gates
from taskloom.nn.model import MultiTaskModel
from taskloom.nn.phase import Phase
from taskloom.task import Task, slugs

__all__ = ["MultiTaskModule"]

_NOTHING: AbstractContextManager[Any] = nullcontext()


class MultiTaskModule(pl.LightningModule):
    """A multi-task network and a balancer under automatic optimisation.

    Args:
        model: the network.
        balancer: the chain that makes one scalar of the task losses.
        tasks: the tasks, in model order.
        objective: the validation score.
        optimiser: settings of AdamW.
        engine: how task gradients are measured; default as :func:`taskloom.balance` chooses.

    Attributes:
        phase: what is trained now.
        draws_seed: seed of what forward passes draw, such as dropout; every epoch has a stream of its own.

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
        engine: GradientEngine | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.balancer = balancer
        self.tasks = tasks
        self.objective = objective
        self.optimiser = optimiser
        self.engine = engine
        self.diverged = False
        self._slugs = slugs([task.name for task in tasks])
        self._logs = False
        self._marks_features = balancer.looks_at_features
        self._weighs_losses = not balancer.needs_gramian and balancer.head_gradient == "weighted"
        self._second_look = SecondLook(model, tasks) if balancer.observes else None
        self.phase = Phase(name="train")
        self.may_come_apart = False  # a model that is trained in phases may end with nothing shared
        self._meets = True  # whether gradients of several tasks meet in parameters that learn in this phase
        self.draws_seed = 0
        self._optimisers: dict[object, torch.optim.Optimizer] = {}
        self.measures_next_step = False
        self.last_step: tuple[Tensor, Tensor, Tensor] | None = None  # losses, weights, which are present; (K,) each
        self.last_gramian: Tensor | None = None
        # what the chain decided, for the history; scales alone leave one row per task
        self._mix = torch.zeros(1, len(tasks))
        self._constant_weights: Tensor | None = None
        balancer.register_forward_hook(lambda chain, given, flow: self.__dict__.update(_mix=flow.mix))
        self.last_validation_losses = torch.zeros(len(tasks))
        self._validation_outputs: list[tuple[dict[str, Tensor], Batch]] = []

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the running hook here some fifty times a step; nn.Module looks long at every value
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def become(self, model: MultiTaskModel) -> None:
        """Go on with another network for the same tasks."""
        self.model = model
        self._optimisers.clear()
        self._second_look = SecondLook(model, self.tasks) if self.balancer.observes else None

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave batches on the CPU as they are; looking through them for tensors takes as long as a small layer."""
        return batch if device.type == "cpu" else super().transfer_batch_to_device(batch, device, dataloader_idx)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Losses of the present tasks -> the balancer's scalar, plus the model's penalties with weight 1.

        Once losses or gradients are not finite, nothing more is learned: the epoch gets the score NaN, which ends the
        training at its best epoch so far.
        """
        if self.diverged:
            return None
        asked = self.phase.tasks
        if asked is not None:
            batch = batch.only(asked)
        if self._second_look is not None:
            self._second_look.remember(batch, self.device)
        with self._forks():
            outputs = self.model(batch.inputs, asked)
        outputs, targets, mask = by_position(outputs, batch.targets, mask=batch.mask)
        losses, active = task_losses(self.tasks, outputs, targets=targets, mask=mask)
        complete = batch.mask is None and len(batch.targets) == len(self.tasks)
        here = [True] * len(self.tasks) if complete else active.tolist()
        if not any(here):  # no label of the tasks of this phase
            return None
        scalar = self._scalar(losses, here)
        if scalar is None:
            self.diverged = True
            return None
        if self.measures_next_step:
            self.last_gramian = self._gramian(self._present(losses, here)) if self._meets else None
        self.__dict__["last_step"] = (losses.detach(), self._weights_of_all(active, all(here)), active)
        if self._logs:
            self._log_step()
        for name, penalty in self.model.penalties().items():
            if self.phase.penalties == "all" or (self.phase.penalties != "none" and name in self.phase.penalties):
                scalar = scalar + penalty
        return scalar

    def _forks(self) -> AbstractContextManager[Any]:
        """Where a balancer looks at features, the forward pass marks them."""
        return gates(self.model) if self._marks_features else _NOTHING

    def optimizer_step(self, *arguments: Any, **settings: Any) -> None:
        """Step; then, for balancers that compare the losses before and after it, look at the same batch again."""
        super().optimizer_step(*arguments, **settings)
        if self._second_look is not None and not self.diverged:
            precision = self.trainer.precision_plugin.train_step_context()
            self.balancer.observe(self._second_look.losses(precision))

    def on_train_epoch_start(self) -> None:
        """What forward passes draw (dropout, sampled structures) follows from the seed and the epoch."""
        torch.manual_seed(stream_seed(self.draws_seed, "forward", self.current_epoch, self.global_rank))

    def on_train_epoch_end(self) -> None:
        """Tell the balancer that an epoch is over."""
        self.balancer.end_epoch()

    def on_fit_start(self) -> None:
        """Note whether anybody wants the losses of single steps: logging costs more than a small network."""
        self._logs = bool(self.trainer.loggers)

    def _log_step(self) -> None:
        assert self.last_step is not None
        for name, loss, weight, is_here in zip(self._slugs, *self.last_step, strict=True):
            if is_here:
                self.log_dict({f"train/{name}/loss": loss, f"train/{name}/weight": weight})

    def _present(self, losses: Tensor, here: list[bool]) -> dict[str, Tensor]:
        return dict(compress(zip(self.model.tasks, losses.unbind(), strict=True), here))

    def _scalar(self, losses: Tensor, here: list[bool]) -> Tensor | None:
        """What the balancer makes of the losses; None where losses or gradients are not finite."""
        if self._weighs_losses and all(here) and ranks() == 1:
            scalar = self._weighted(losses)
        elif not self._meets and ("shared" not in self.phase.train or self.may_come_apart):
            # task gradients meet nowhere: each part learns from its own
            scalar = losses.sum()
        else:
            skipped = self.balancer.n_skipped
            scaler = getattr(self.trainer.precision_plugin, "scaler", None)
            scalar = balance(
                self._present(losses, here),
                self.balancer,
                shared=self.model,
                engine=self.engine,
                on_nonfinite="skip",
                scaler=scaler,
            )
            return scalar if self.balancer.n_skipped == skipped else None
        return scalar if math.isfinite(scalar.item()) else None

    def _weighted(self, losses: Tensor) -> Tensor:
        """The scalar of a chain that looks at losses alone; constant weights are asked for once."""
        if self._constant_weights is not None:
            self.balancer.n_steps += 1
            return torch.dot(self._constant_weights, losses)
        scalar = weighted_sum(losses, self.balancer)
        if self.balancer.is_constant:
            self._constant_weights = self._mix.detach().sum(0).to(losses.dtype)
        return scalar

    def _weights_of_all(self, active: Tensor, all_here: bool) -> Tensor:
        """The weights that the chain decided on in this step, (K,); 0 for absent tasks."""
        if all_here and self._constant_weights is not None:
            return self._constant_weights
        weights = self._mix.detach().sum(0)
        if len(weights) == len(active):
            return weights
        return weights.new_zeros(len(active)).masked_scatter(active, weights)

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
        """Log the validation loss of every task and the score that early stopping watches.

        Raises:
            DataError: no task that counts has a validation label.
        """
        losses, active = self._validation_losses()
        if not bool((self.objective.scored.to(active) & active).any()):
            raise DataError(
                "no task that counts for the score has a labelled row in the validation part; early stopping needs some"
            )
        score = self.objective.score(losses, active)
        if self.diverged:
            losses, score = torch.full_like(losses, torch.nan), torch.full_like(score, torch.nan)
        self.last_validation_losses = losses
        self.log("validation/score", score, sync_dist=True)
        if self._logs:
            for name, loss in zip(self._slugs, losses, strict=True):
                self.log(f"validation/{name}/loss", loss, sync_dist=True)

    def _validation_losses(self) -> tuple[Tensor, Tensor]:
        """Validation losses and which tasks have labels, (K,), from the collected outputs, which are dropped."""
        names = [task.name for task in self.tasks]
        collected, self._validation_outputs = self._validation_outputs, []
        outputs = {n: torch.cat([o[n] for o, _ in collected if n in o]) for n in names}
        targets = {n: torch.cat([b.targets[n] for _, b in collected if n in b.targets]) for n in names}
        mask = {n: torch.cat([b.known(n) for _, b in collected if n in b.targets]) for n in names}
        present = torch.stack([mask[n].any() for n in names])
        return self.objective.losses(*by_position(outputs, targets, mask=mask)), present

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Forget the gradients; the optimiser's own method does the same at the cost of a small layer."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over the groups of the model that learn in this phase, with the balancer's own beside them.

        A phase that comes again finds the moments that it left.
        """
        learning = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self._meets = "shared" in self.phase.train and any(True for _ in self.model.shared_parameters())
        key = (self.phase.optimiser, tuple(map(id, learning)))
        if key not in self._optimisers or self.phase.inherits is not None:
            made = self._new_optimiser(learning)
            if self.phase.inherits is not None:
                inherit_moments(made, self._optimisers.values(), self.phase.inherits())
            self._optimisers[key] = made
        return self._optimisers[key]

    def _new_optimiser(self, learning: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        own = self.balancer.parameter_groups()
        if self.phase.optimiser is not None:
            made: torch.optim.Optimizer = self.phase.optimiser(learning)
            for group in own:
                made.add_param_group(group)
            return made
        settings = self.optimiser
        groups = self.model.param_groups(settings.learning_rate, weight_decay=settings.weight_decay)
        groups = [group for group in (*groups, *own) if group["params"]]
        # the fused kernel does its own unscaling, which the Trainer cannot combine with clipping under mixed precision
        plain = self.trainer.precision in ("32-true", "64-true")
        return LeanAdamW(groups) if plain else torch.optim.AdamW(groups, fused=False)


# Lightning looks at this signature in every step; a stored one is found at once
MultiTaskModule.training_step.__dict__["__signature__"] = inspect.signature(MultiTaskModule.training_step)
