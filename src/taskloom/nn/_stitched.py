"""What cross-stitch, sluice and NDDR networks have in common: an encoder per task, and units that mix features."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._alike import check_alike
from taskloom.nn._batching import joined_rows
from taskloom.nn._grow import grown
from taskloom.nn._param_groups import two_groups
from taskloom.nn._readout import Readout
from taskloom.nn._stages import Stages, build_stages, stage_widths
from taskloom.nn._stitched_groups import reached, wiring_of
from taskloom.nn._stitched_grow import add_network, drop_task
from taskloom.nn._stitched_path import path_of
from taskloom.nn.heads.default import build_head, build_heads
from taskloom.nn.mixing import Mixing
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.nn.parallel import Parallel
from taskloom.nn.phase import Phase
from taskloom.task import Task

__all__ = ["StitchedNetworks"]


class StitchedNetworks(MultiTaskModel):
    """K encoders in stages, mixed by units behind some stages; features of a task may be read off several stages.

    A subclass calls :meth:`connect` at the end of its constructor. Once a task was removed there are more networks than
    tasks, since the others go on reading the removed one's.

    Args:
        stages: see :func:`taskloom.nn._stages.build_stages`.
        tasks: the tasks.
        channels: number of channels behind each stage; None: found by ``example``, or by the layers.
        dimension: axis of the channels.
        same_start: give all encoders the weights of the first.
        unit_lr_factor: learning rate of the mixing weights over that of the networks.
        single_task_epochs: epochs in which the encoders are first trained apart.
        heads: task name -> head.
        example: sample input of the encoder.
    """

    def __init__(
        self,
        stages: Stages,
        tasks: Sequence[Task],
        *,
        channels: Sequence[int] | None,
        dimension: int,
        same_start: bool,
        unit_lr_factor: float,
        single_task_epochs: int,
        heads: Mapping[str, nn.Module] | None,
        example: Any,
    ) -> None:
        super().__init__(tasks)
        if single_task_epochs < 0:
            raise TaskError(f"single_task_epochs must be 0 or more, found {single_task_epochs}")
        self.stages = build_stages(stages, len(self.tasks), same_start=same_start)
        if not unit_lr_factor > 0:
            raise TaskError(f"unit_lr_factor must be positive, found {unit_lr_factor!r}")
        self.dimension = dimension
        self.unit_lr_factor = unit_lr_factor
        self.single_task_epochs = single_task_epochs
        self.widths = stage_widths(self._network(0), channels=channels, example=example, dimension=dimension)
        self.heads = build_heads(self.task_objects, self._encoder(), heads=heads, example=example)
        self.networks = tuple(range(len(self.tasks)))  # index of each task's: they part when a task is removed
        self.is_stitched = True
        self._resting: list[nn.Parameter] = []  # no loss reaches them before the units are put back

    def connect(
        self,
        after: Sequence[int],
        *,
        unit: Callable[[int], Mixing],
        readout: Callable[[], Readout] | None = None,
    ) -> None:
        """Put units behind stages, and readouts before the heads.

        Args:
            after: indices of the stages.
            unit: index of a stage -> its unit.
            readout: builds the readout of one task.

        Raises:
            TaskError: stages that do not exist, are given twice, or none.
        """
        n_stages = len(self.stages)
        wrong = [place for place in after if not 0 <= place < n_stages]
        if wrong:
            raise TaskError(f"after={list(after)}: the encoder has no stage {wrong[0]}; it has 0 to {n_stages - 1}")
        if len(set(after)) < len(after):
            raise TaskError(f"after={list(after)} names a stage twice")
        if not after:
            raise TaskError(
                f"{type(self).__name__} needs a unit behind at least one stage, and the encoder has {n_stages}; give "
                "after=[0], or cut the encoder into more stages"
            )
        self.places = tuple(sorted(after))
        self.units = nn.ModuleList([unit(place) for place in self.places])
        self.readouts = nn.ModuleList([] if readout is None else [readout() for _ in self.tasks])

    def width(self, place: int) -> int:
        """Number of channels behind a stage; raises TaskError where it is not known."""
        width = self.widths[place]
        if width is None:
            raise TaskError(
                f"the number of channels behind stage {place} is not known; give channels=[...], one number per stage, "
                "or example= (a sample input of the encoder)"
            )
        return width

    # ---------------------------------------------------------------- forward

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        return self._behind(*self._through_units(inputs, indices), indices)

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        if all(part is parts[0] for part in parts[1:]):
            return self.represent(parts[0], indices)
        found = self._rows_through_units(parts, indices)
        if found is None:
            found = [self._through_units(part, [index]) for part, index in zip(parts, indices, strict=True)]
        states = [state for own, _ in found for state in own]
        layers = [[layer for own in column for layer in own] for column in zip(*(seen for _, seen in found))]
        return self._behind(states, layers, indices)

    def _rows_through_units(
        self, parts: Sequence[Any], indices: Sequence[int]
    ) -> list[tuple[list[Any], list[list[Any]]]] | None:
        """All rows in one pass, then each task's own of them; None where rows must not be put together."""
        together = joined_rows(self, parts) if self.is_stitched else None
        if together is None:
            return None
        states, layers = self._through_units(together, indices)
        starts = torch.tensor([0, *(part.shape[0] for part in parts)]).cumsum(0).tolist()
        if any(state.shape[0] != starts[-1] for state in states):
            return None
        blocks = [slice(low, high) for low, high in itertools.pairwise(starts)]
        return [
            ([states[task][rows]], [[column[task][rows]] for column in layers]) for task, rows in enumerate(blocks)
        ]  # fmt: skip

    def _through_units(self, inputs: Any, indices: Sequence[int]) -> tuple[list[Any], list[list[Any]]]:
        """What these tasks have behind the last unit, and behind every stage up to it."""
        if not self.is_stitched:
            return [inputs] * len(indices), []
        units, last = self._units(), self.places[-1]
        states: Any = [inputs] * self._n_networks()
        layers = []
        for place, stage in enumerate(self._stages()[: last + 1]):
            unit = units.get(place)
            states = self._staged(stage, states, unit=unit, place=place)
            if unit is not None:
                states = unit(states, indices if place == last else None)
            if place == last:
                states = _apart(states)
            if len(self.readouts):
                layers.append(states if place == last else [states[self.networks[index]] for index in indices])
        return states, layers

    def _staged(self, stage: Parallel, states: Any, *, unit: Mixing | None, place: int) -> Any:
        """A stage of all networks; in one tensor, where its unit has use for that and it is no detour."""
        if unit is not None and unit.takes_stacked():
            together = stage.stack_chains(states)
            if together is not None:
                return together
        outputs = stage.run(_apart(states))
        if unit is not None:
            check_alike(outputs, architecture=type(self).__name__, stage=place, name=self._name)
        return outputs

    def _behind(self, states: list[Any], layers: list[list[Any]], indices: Sequence[int]) -> list[Any]:
        """Features: the stages behind the last unit, each task's for itself, and the readouts."""
        layers, first = list(layers), self.places[-1] + 1 if self.is_stitched else 0
        for place, stage in enumerate(self._stages()[first:], start=first):
            states = stage.run(states, members=[self._member(place, index) for index in indices])
            layers.append(states)
        if not self.is_stitched or not len(self.readouts):
            return states
        return [
            readout([layers[place][position] for place in readout.places])
            for position, readout in enumerate(self._readouts(indices))
        ]

    # ---------------------------------------------------------------- the parts

    def _stages(self) -> list[Parallel]:
        return [stage for stage in self.stages if isinstance(stage, Parallel)]

    def _units(self) -> dict[int, Mixing]:
        return {place: unit for place, unit in zip(self.places, self.units) if isinstance(unit, Mixing)}

    def _readouts(self, indices: Sequence[int]) -> list[Readout]:
        found = [self.readouts[index] for index in indices] if len(self.readouts) else []
        return [readout for readout in found if isinstance(readout, Readout)]

    def _n_networks(self) -> int:
        """Networks up to the last unit: one for each task, and those of removed tasks that others still read."""
        return len(self._stages()[0])

    def _member(self, place: int, index: int) -> int:
        """Which module of a stage is that of a task: up to the last unit there is one for every network."""
        return index if place > self.places[-1] else self.networks[index]

    def _network(self, index: int) -> list[nn.Module]:
        return [stage[index] for stage in self._stages()]

    def _encoder(self) -> nn.Module:
        """Encoder of the last task, with its width where that is known."""
        encoder = nn.Sequential(*(stage[-1] for stage in self._stages()))
        if self.widths[-1] is not None:
            encoder.out_features = self.widths[-1]  # type: ignore[assignment]
        return encoder

    def _name(self, network: int) -> str:
        names = [repr(task) for task, own in zip(self.tasks, self.networks, strict=True) if own == network]
        return names[0] if names else f"network {network} (of a removed task)"

    # ---------------------------------------------------------------- groups of parameters

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """The stages up to the last unit, and the units; what lies behind has one task."""
        alone = len(self.networks) == 1
        for part, tasks, early in reached(self):
            if tasks.bit_count() > 1 or (alone and early):
                yield from trainable(part)

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The stages of the task behind the last unit, its row of that unit where rows are apart, and its head."""
        own, alone = 1 << self.position(task), len(self.networks) == 1
        for part, tasks, early in reached(self):
            if tasks == own and not (alone and early):
                yield from trainable(part)

    def mixing_parameters(self) -> Iterator[nn.Parameter]:
        """The weights of the units and, where there are several stages to read, those of the stages."""
        return trainable(*(block for unit in self._units().values() for block, _ in unit.blocks()))

    def param_groups(
        self, lr: float, *, weight_decay: float = 0.0, unit_lr_factor: float | None = None
    ) -> list[dict[str, Any]]:
        """Groups for an optimiser: mixing weights learn faster, and those that sum to one are not decayed.

        Args:
            lr: learning rate of the networks.
            weight_decay: of all but the mixing weights (and of those too where the paper says so); default 0.
            unit_lr_factor: that of the mixing weights over it; default as the model was built. The papers use 100 to
                1000 with plain gradient steps.

        Returns:
            two groups, with the trainable parameters.

        Example:
            >>> import torch
            >>> from taskloom.nn import MLP, CrossStitch
            >>> from taskloom.task import Regression
            >>> tasks = [Task(name=name, kind=Regression()) for name in "ab"]
            >>> groups = CrossStitch(MLP(4, (8, 8)), tasks).param_groups(1e-3, weight_decay=1e-2, unit_lr_factor=100)
            >>> optimiser = torch.optim.SGD(groups)
            >>> [(group["lr"], group["weight_decay"]) for group in groups]
            [(0.001, 0.01), (0.1, 0.0)]
        """
        factor = self.unit_lr_factor if unit_lr_factor is None else unit_lr_factor
        return two_groups(
            self,
            self.mixing_parameters(),
            usual={"lr": lr, "weight_decay": weight_decay},
            own={"lr": lr * factor, "weight_decay": weight_decay if self.decays_units else 0.0},
        )

    decays_units = False
    """Whether weight decay is meant for the mixing weights too."""

    # ---------------------------------------------------------------- phases

    def phases(self) -> Iterator[Phase]:
        """First each network for its own task, if asked for, then all of them stitched."""
        if self.single_task_epochs == 0:
            yield from super().phases()
            return
        yield Phase(
            name="single task",
            epochs=self.single_task_epochs,
            train=("task",),
            penalties="none",
            on_enter=self.unstitch,
            on_exit=self.stitch,
        )
        yield Phase(name="stitched")

    def unstitch(self) -> None:
        """Take the units and readouts out, in place, so that each task has its network for itself."""
        if not self.is_stitched:
            return
        self.is_stitched = False
        without_task = set(range(self._n_networks())).difference(self.networks)
        joint = self._stages()[: self.places[-1] + 1]
        idle = [stage[network] for stage in joint for network in without_task]
        self._resting = list(trainable(*self.units, *self.readouts, *idle))
        for parameter in self._resting:
            parameter.requires_grad_(False)

    def stitch(self) -> None:
        """Put the units and readouts back, in place, as they were."""
        self.is_stitched = True
        for parameter in self._resting:
            parameter.requires_grad_(True)
        self._resting = []

    def get_extra_state(self) -> Tensor:
        """Whether the units are in; part of the state."""
        return torch.tensor(self.is_stitched)

    def set_extra_state(self, state: Tensor) -> None:
        """Put the units in or out."""
        (self.stitch if bool(state) else self.unstitch)()

    # ---------------------------------------------------------------- export, new tasks

    def path(self, task: str) -> nn.Module:
        return self._path(task, tolerance=0.0)

    def _path(self, task: str, *, tolerance: float) -> nn.Module:
        index = self.position(task)
        head = self.heads[index]
        if not self.is_stitched:
            own = [stage[self._member(place, index)] for place, stage in enumerate(self._stages())]
            return nn.Sequential(*own, head)
        wiring = wiring_of(self, lambda unit: unit.used(tolerance), taps=lambda readout: readout.used(tolerance))
        readout = None
        if len(self.readouts):
            whole = self._readouts([index])[0]
            kept = [k for k, place in enumerate(whole.places) if wiring.taps[index][place]]
            readout = whole.only(kept)
        return path_of(index, wiring=wiring, stages=self._stages(), units=self._units(), readout=readout, head=head)

    def export(self, task: str | None = None, *, tolerance: float = 0.0) -> nn.Module:
        """A copy for use: the whole model, or the network of one task without what has no weight in it.

        Args:
            task: name of the task; None: the whole model.
            tolerance: mixing weights of at most this size count as none; default 0, which changes no answer.
        """
        if task is None:
            return super().export()
        return copy.deepcopy(self._path(task, tolerance=tolerance)).eval()

    def add_task(
        self, task: Task, *, freeze: Freeze = "none", head: nn.Module | None = None, example: Any = None
    ) -> Self:
        """A new model with one more network, which reads itself alone and is read by no other; units may change that.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes everything that exists, so that the new task may read the old networks but not the
                other way round; ``"shared"`` the networks up to the last unit and the units, likewise.
            head: head of the new task; default by kind.
            example: sample input of the encoder, only needed when no existing head is linear and the layers do not say
                how wide the features are.
        """
        if not self.is_stitched:
            whole = copy.deepcopy(self)
            whole.stitch()
            larger = whole.add_task(task, freeze=freeze, head=head, example=example)
            larger.unstitch()
            return larger
        model = grown(self, task, freeze=freeze, shared=("units",))
        add_network(model, self, freeze=freeze)
        model.heads.append(build_head(task, model._encoder(), others=self.heads, head=head, example=example))
        return model

    def forget(self, index: int) -> None:
        super().forget(index)
        was_stitched = self.is_stitched
        self.stitch()
        drop_task(self, index)
        if not was_stitched:
            self.unstitch()

    def describe(self) -> dict[str, Any]:
        """As every model; ``mixing``: stage -> weights (row = who reads, column = who is read)."""
        mixing = {place: unit.average().tolist() for place, unit in self._units().items()}
        return {**super().describe(), "mixing": mixing}


def _apart(states: Any) -> list[Any]:
    """One state per network, of states in one tensor too."""
    return list(states.unbind(0)) if isinstance(states, Tensor) else list(states)
