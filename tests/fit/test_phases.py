"""Models that are trained in phases: who learns when, for how long, with which penalties and hooks."""

from __future__ import annotations

import copy
import json

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

import taskloom as tl
from taskloom.couplings import PairwiseDistance
from taskloom.errors import TaskError
from taskloom.fit.checkpoint import load
from taskloom.fit.trainer import TrainerOptions
from taskloom.fit.training import Schedule, is_trained_in_phases
from taskloom.nn import MLP, HardSharing, LearningToBranch, PartialSharing, SoftSharing
from taskloom.nn.phase import Phase

SHORT = Schedule(max_epochs=4, batch_size=16)


class Phased(HardSharing):
    """Hard sharing in the phases that a test gives; notes what its hooks see."""

    given: tuple[Phase, ...] = ()

    def __init__(self, tasks, *phases: Phase) -> None:
        torch.manual_seed(0)
        super().__init__(MLP(6, hidden=(5,)), tasks)
        self.given = phases

    def phases(self):
        yield from self.given


def weights(model) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def changed(one, other) -> set[str]:
    return {name.split(".")[0] for name, value in one.items() if not torch.equal(value, other[name])}


def test_only_the_groups_of_a_phase_learn(multi_label):
    states = []

    class Watch(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            states.append(weights(pl_module.model))

        def on_train_end(self, trainer, pl_module):
            states.append(weights(pl_module.model))

    model = Phased(
        multi_label.tasks,
        Phase(name="heads", epochs=2, train=("task",)),
        Phase(name="body", steps=3, train=("shared",)),
        Phase(name="all"),
    )
    for balancer in (tl.equal(), tl.pcgrad()):
        states.clear()
        result = tl.fit(
            model, multi_label, balancer=balancer, schedule=SHORT, trainer=TrainerOptions(callbacks=(Watch(),))
        )
        assert [changed(*pair) for pair in zip(states[::2], states[1::2], strict=True)] == [
            {"heads"},
            {"encoder"},
            {"encoder", "heads"},
        ]
        for before, after in ((states[1], states[2]), (states[3], states[4])):
            assert changed(before, after) == set()  # every phase starts where the last one ended
        assert all(parameter.requires_grad for parameter in result.model.parameters())
        assert result.history.epochs == 2 + 4
        assert result.steps == 2 * 5 + 3 + 4 * 5
        assert 2 <= result.best_epoch < 6


def test_hooks_are_called_in_order(multi_label):
    calls = []
    model = Phased(
        multi_label.tasks,
        Phase(
            name="one",
            steps=7,
            on_enter=lambda: calls.append("enter"),
            on_step=lambda i, n: calls.append((i, n)),
            on_exit=lambda: calls.append("exit"),
        ),
        Phase(name="two", epochs=1, on_step=lambda i, n: calls.append((i, n))),
    )
    result = tl.fit(model, multi_label, schedule=SHORT)
    assert calls == ["enter", *((i, 7) for i in range(7)), "exit", *((i, 5) for i in range(5))]
    assert result.best_epoch == result.history.epochs - 1  # a phase with a length ends with its last weights


def test_on_exit_may_change_the_network(multi_label):
    def halve():
        with torch.no_grad():
            for parameter in model_of_run[0].parameters():
                parameter.zero_()

    model_of_run = []

    class Zeroed(Phased):
        def phases(self):
            model_of_run[:] = [self]
            yield Phase(name="all", epochs=1, on_exit=halve)

    result = tl.fit(Zeroed(multi_label.tasks), multi_label, schedule=SHORT)
    assert all(not value.any() for value in result.state.values())


@pytest.mark.parametrize(("chosen", "pulled"), [("all", True), ("none", False), (("soft_sharing",), True), ((), False)])
def test_penalties_count_where_the_phase_says(multi_label, chosen, pulled):
    class Soft(SoftSharing):
        def phases(self):
            yield Phase(name="only", epochs=3, penalties=chosen)

    torch.manual_seed(0)
    model = Soft(lambda: MLP(6, hidden=(4,)), multi_label.tasks, coupling=PairwiseDistance(100.0))
    result = tl.fit(model, multi_label, schedule=SHORT, optimiser=tl.OptimiserSettings(learning_rate=0.02))
    before, after = (float(one.penalty().detach()) for one in (model, result.model))
    assert (after < 0.5 * before) == pulled


def test_a_phase_may_bring_its_optimiser(multi_label):
    phase = Phase(name="still", epochs=1, optimiser=lambda parameters: torch.optim.SGD(parameters, lr=0.0))
    model = Phased(multi_label.tasks, phase)
    result = tl.fit(model, multi_label, schedule=SHORT)
    assert changed(weights(model), weights(result.model)) == set()


@pytest.mark.parametrize("epoch", [0, 2])
def test_an_interrupted_call_goes_on_in_its_phase(multi_label, tmp_path, epoch):
    class Stop(pl.Callback):
        phase = 0

        def on_train_start(self, trainer, pl_module):
            self.phase += 1

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if (self.phase, trainer.current_epoch, batch_idx) == (2, epoch, 1):
                raise RuntimeError("stop")

    def run(out, *callbacks):
        model = Phased(multi_label.tasks, Phase(name="one", epochs=2, train=("task",)), Phase(name="two"))
        return tl.fit(model, multi_label, schedule=SHORT, out=out, trainer=TrainerOptions(callbacks=callbacks))

    whole = run(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="stop"):
        run(tmp_path / "broken", Stop())
    again = run(tmp_path / "broken")
    assert changed(whole.state, again.state) == set()
    assert np.array_equal(whole.history.score, again.history.score)
    assert whole.steps == again.steps


def test_weights_and_policy_are_learned_on_different_rows(multi_label):
    seen = {"weights": [], "policy": [], "train": []}

    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            seen[pl_module.phase.split].append(batch.inputs.clone())

    phases = [Phase(name=split, epochs=1, split=split) for split in seen]
    tl.fit(
        Phased(multi_label.tasks, *phases),
        multi_label,
        schedule=SHORT,
        trainer=TrainerOptions(callbacks=(Watch(),)),
    )
    rows = {split: {tuple(row.tolist()) for row in torch.cat(parts)} for split, parts in seen.items()}
    assert not rows["weights"] & rows["policy"]
    assert rows["weights"] | rows["policy"] == rows["train"]
    assert 0.15 < len(rows["policy"]) / len(rows["train"]) < 0.3


def test_a_loader_cannot_be_divided(multi_label):
    rows = torch.from_numpy(multi_label.train)
    targets = {task.name: multi_label.targets[rows, k].double() for k, task in enumerate(multi_label.tasks)}
    loader = [(multi_label.inputs[rows], targets)]
    model = Phased(multi_label.tasks, Phase(name="search", epochs=1, split="policy")).to(multi_label.inputs.dtype)
    with pytest.warns(UserWarning, match="'policy' part of the training data"):
        tl.fit(model, (loader, loader), schedule=SHORT)


class ComesApart(PartialSharing):
    """One encoder, which becomes one for each task."""

    def __init__(self, tasks) -> None:
        torch.manual_seed(0)
        super().__init__([lambda: MLP(6, hidden=(5,))], tasks, table=[{task.name: 0 for task in tasks}])

    def phases(self):
        yield Phase(name="together", epochs=1, derives=True)
        yield Phase(name="apart")

    def derive(self):
        return PartialSharing(
            list(self.stages[0]), self.task_objects, table=[{task: task for task in self.tasks}], same_start=True
        )


@pytest.mark.parametrize("make", [tl.equal, tl.pcgrad, lambda: tl.graddrop(seed=1)], ids=["equal", "pcgrad", "rows"])
def test_tasks_may_come_apart_on_the_way(multi_label, make):
    """Where no parameter is shared any more there is nothing to measure or balance, and each task goes on alone."""
    model = ComesApart(multi_label.tasks)
    result = tl.fit(
        model, multi_label, balancer=make(), schedule=Schedule(max_epochs=2, batch_size=16, measure_every=1)
    )
    assert list(result.model.shared_parameters()) == []
    assert result.history.epochs == 3
    assert result.history.measured == (0,)
    apart = tl.fit(model.derive(), multi_label, schedule=Schedule(max_epochs=1, measure_every=1))
    assert apart.history.measured == ()
    with pytest.raises(ValueError, match="nothing to balance"):
        tl.fit(model.derive(), multi_label, balancer=tl.pcgrad(), schedule=Schedule(max_epochs=1))


def test_fresh_weights_are_new_and_follow_the_seed(multi_label):
    def start_of_second(seed, *, fresh):
        states = []

        class Watch(pl.Callback):
            def on_train_start(self, trainer, pl_module):
                states.append(weights(pl_module.model))

        phases = Phase(name="one", epochs=1), Phase(name="two", epochs=1, fresh_weights=fresh)
        options = TrainerOptions(callbacks=(Watch(),))
        tl.fit(Phased(multi_label.tasks, *phases), multi_label, schedule=SHORT, trainer=options, seed=seed)
        return states[1]

    assert changed(start_of_second(0, fresh=True), start_of_second(0, fresh=True)) == set()
    assert changed(start_of_second(0, fresh=True), start_of_second(1, fresh=True)) == {"encoder", "heads"}
    assert changed(start_of_second(0, fresh=True), start_of_second(0, fresh=False)) == {"encoder", "heads"}


def test_fresh_weights_need_a_way_to_draw_them(multi_label):
    model = Phased(multi_label.tasks, Phase(name="again", fresh_weights=True))
    model.encoder.scale = torch.nn.Parameter(torch.ones(()))
    with pytest.raises(TaskError, match=r"encoder\.scale"):
        tl.fit(model, multi_label, schedule=SHORT)


class Deriving(Phased):
    """Learns nothing of a structure, but derives a network in which every task has its own encoder."""

    def derive(self):
        table = [{task: task for task in self.tasks}]
        derived = PartialSharing([self.encoder], self.task_objects, table=table, same_start=True)
        derived.heads.load_state_dict(self.heads.state_dict())
        return derived.to(next(self.parameters()))

    def structure(self):
        return "split"

    def with_structure(self, structure):
        assert [*structure[0].values()] == list(range(len(self.tasks)))
        return self.derive()


def test_a_derived_network_is_stored_and_read(multi_label, tmp_path):
    model = Deriving(multi_label.tasks, Phase(name="search", epochs=1, derives=True), Phase(name="retrain", epochs=1))
    assert model.structure() == "split"
    trained = tl.fit(model, multi_label, schedule=SHORT, out=tmp_path)
    assert trained.skeleton.structure() is not None
    assert json.loads((tmp_path / "fit.json").read_text())["structure"] == trained.skeleton.structure()
    inputs = multi_label.inputs[:5].to(next(trained.model.parameters()).dtype)
    again = load(tmp_path, model).model
    for name, outputs in trained.model(inputs).items():
        assert torch.equal(again(inputs)[name], outputs)


def test_a_phase_hands_on_the_derived_network(multi_label, tmp_path):
    reviewed = []

    def model():
        def review(batches):
            assert not torch.is_grad_enabled()
            reviewed.append(sum(len(batch.inputs) for batch in batches))

        search = Phase(name="search", epochs=1, split="weights", review=review, derives=True)
        return Deriving(multi_label.tasks, search, Phase(name="retrain", epochs=2))

    result = tl.fit(model(), multi_label, schedule=SHORT, out=tmp_path)
    assert isinstance(result.model, PartialSharing)
    assert 0.7 < reviewed[0] / len(multi_label.rows("train")) < 0.9
    assert result.history.epochs == 3
    encoders = result.model.stages[0]
    assert not torch.equal(*(next(encoder.parameters()) for encoder in encoders[:2]))  # they went on alone
    assert result.best_epoch == 2


class Splitting(Phased):
    """Replaces the first layer of its encoder by a copy between its phases."""

    def phases(self):
        yield Phase(name="one", epochs=1, on_exit=self.split)
        yield Phase(name="two", epochs=1, inherits=lambda: self.origins)

    def split(self):
        old = self.encoder[0]
        self.encoder[0] = copy.deepcopy(old)
        self.origins = {parameter: parameter for parameter in self.parameters()}
        self.origins |= dict(zip(self.encoder[0].parameters(), old.parameters(), strict=True))


def test_copies_take_over_the_moments(multi_label):
    moments = []

    class Watch(pl.Callback):
        def note(self, trainer, pl_module):
            state = trainer.optimizers[0].state
            moments.append([state[parameter]["exp_avg"].clone() for parameter in pl_module.model.parameters()])

        def on_train_start(self, trainer, pl_module):
            if trainer.optimizers[0].state:
                self.note(trainer, pl_module)

        on_train_end = note

    options = TrainerOptions(callbacks=(Watch(),))
    tl.fit(Splitting(multi_label.tasks), multi_label, schedule=SHORT, trainer=options)
    end_of_one, start_of_two, _ = moments
    assert all(torch.equal(*pair) for pair in zip(end_of_one, start_of_two, strict=True))
    assert any(moment.any() for moment in start_of_two)


def test_which_models_are_trained_in_phases(multi_label):
    tasks = multi_label.tasks
    assert not is_trained_in_phases(HardSharing(MLP(6), tasks))
    assert not is_trained_in_phases(Phased(tasks, Phase(name="everything")))
    assert is_trained_in_phases(Phased(tasks, Phase(name="short", epochs=1)))
    assert is_trained_in_phases(Phased(tasks, Phase(name="one"), Phase(name="two")))
    assert is_trained_in_phases(Phased(tasks, Phase(name="hook", on_step=print)))


@pytest.mark.parametrize("in_phases", [False, True])
def test_what_a_forward_pass_draws_follows_the_seed_alone(multi_label, in_phases):
    def trained(state: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        encoder = MLP(6, (6,), dropout=0.5)
        stages = [lambda: copy.deepcopy(encoder), lambda: MLP(6, (6,))]
        model = (
            LearningToBranch(stages, multi_label.tasks, search_epochs=1)
            if in_phases
            else HardSharing(encoder, multi_label.tasks)
        )
        torch.manual_seed(state)
        before = torch.get_rng_state()
        result = tl.fit(model, multi_label, schedule=Schedule(max_epochs=2, batch_size=20))
        assert torch.equal(torch.get_rng_state(), before)
        return dict(result.state)

    first, again = trained(1), trained(2)
    assert all(torch.equal(value, again[name]) for name, value in first.items())
