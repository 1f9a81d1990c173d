"""``tl.fit``: every form of data, balancers, options, continuing after an interruption, and errors."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import nn

import taskloom as tl
from taskloom.data.batch import Batch
from taskloom.engine import LastStageEngine, SketchedEngine
from taskloom.errors import DataError, EngineError, TaskError
from taskloom.fit.checkpoint import load
from taskloom.fit.trainer import TrainerOptions
from taskloom.fit.training import OptimiserSettings, Schedule
from taskloom.nn import MLP, HardSharing

SHORT = Schedule(max_epochs=3, batch_size=16)
TASKS = (
    tl.Task(name="a", kind=tl.Regression()),
    tl.Task(name="b c", kind=tl.Binary()),
    tl.Task(name="d/e", kind=tl.Multiclass(3)),
)


def table(n: int = 90) -> tl.MultiTaskData:
    random = np.random.default_rng(0)
    x = random.normal(size=(n, 4))
    y = {
        "a": np.where(random.random(n) < 0.2, np.nan, x[:, 0] + x[:, 1]),
        "b c": np.where(random.random(n) < 0.2, -1, (x[:, 1] + x[:, 2] > 0).astype(np.int64)),
        "d/e": (x[:, 2] > 0).astype(np.int64) + (x[:, 3] > 0),
    }
    return tl.MultiTaskData.from_arrays(x, y, tasks=TASKS)


def several_tables(n: int = 60) -> tl.MultiTaskData:
    random = np.random.default_rng(1)
    sets = {}
    for k, name in enumerate(["한국", "s/1"]):
        x = random.normal(size=(n - 20 * k, 4))
        sets[name] = (x, x[:, 0] * (k + 1) + x[:, 1] ** 2)
    return tl.MultiTaskData.from_tasks(sets, tl.Regression())


def encoder(**settings) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 5))


def equal_results(one, other) -> bool:
    histories = zip(vars(one.history).items(), vars(other.history).items(), strict=True)
    return all(torch.equal(value, other.state[name]) for name, value in one.state.items()) and all(
        np.array_equal(a, b, equal_nan=a.dtype.kind == "f") if isinstance(a, np.ndarray) else a == b
        for (_, a), (_, b) in histories
    )


# -- data ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("balancer", [None, tl.pcgrad, tl.uncertainty], ids=["default", "pcgrad", "uncertainty"])
@pytest.mark.parametrize("make", [table, several_tables])
def test_a_table_and_any_encoder(make, balancer):
    data, module = make(), encoder()
    before = [parameter.clone() for parameter in module.parameters()]
    result = tl.fit(module, data, balancer=balancer and balancer(), schedule=SHORT)
    names = tuple(task.name for task in data.tasks)
    assert result.history.tasks == result.model.tasks == names
    assert result.history.epochs == 3
    assert result.history.train_loss.shape == (3, len(names))
    assert np.isfinite(result.history.validation_loss).all()
    assert 0 <= result.best_epoch < 3
    assert np.isfinite(result.validation_score)
    assert result.preparation is not None
    assert all(torch.equal(one, two) for one, two in zip(before, module.parameters(), strict=True))
    assert not result.model.training
    assert result.model(torch.zeros(2, 4))[names[0]].shape[0] == 2
    if balancer is tl.uncertainty:
        assert not np.allclose(result.history.weights[0], result.history.weights[-1])
    elif balancer is None:
        assert np.allclose(result.history.weights, 1.0)


def test_it_learns():
    result = tl.fit(
        encoder(),
        table(400),
        optimiser=OptimiserSettings(learning_rate=1e-2),
        schedule=Schedule(max_epochs=25, batch_size=32),
    )
    assert result.validation_score < 0.5
    assert result.history.score[0] > result.validation_score


def test_equal_seeds_give_equal_results_and_others_do_not():
    results = [tl.fit(encoder(), table(), schedule=SHORT, balancer=tl.pcgrad(), seed=seed) for seed in (0, 0, 1)]
    assert equal_results(results[0], results[1])
    assert not equal_results(results[0], results[2])


def test_prepared_tensors_in_the_type_of_the_network(multi_label):
    model = HardSharing(MLP(6, hidden=(4,)), multi_label.tasks)
    result = tl.fit(model, multi_label, schedule=SHORT)
    assert result.preparation is None
    assert {value.dtype for value in result.state.values()} == {torch.float32}
    double = tl.fit(model.double(), multi_label, schedule=SHORT)
    assert {value.dtype for value in double.state.values()} == {torch.float64}
    assert np.allclose(result.history.train_loss, double.history.train_loss, rtol=1e-3)


def test_the_main_task_decides_the_score():
    data = table()
    result = tl.fit(encoder(), data, schedule=SHORT, main="b c")
    every = tl.fit(encoder(), data, schedule=SHORT)
    assert np.array_equal(result.history.validation_loss, every.history.validation_loss)
    ratio = result.history.score / result.history.validation_loss[:, 1]
    assert np.allclose(ratio, ratio[0])
    assert not np.allclose(result.history.score, every.history.score)


# -- data loaders -------------------------------------------------------------------------------------------------


def batches(form: str) -> list:
    """Five batches of one problem in several forms; a third of the labels of "a" is missing."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(5, 12, 4, generator=random)
    y = {"a": x[..., 0], "b c": (x[..., 1] > 0).long(), "d/e": (x[..., 2] > 0).long() + (x[..., 3] > 0).long()}
    known = {"a": torch.rand(5, 12, generator=random) > 0.3, "b c": torch.rand(5, 12, generator=random) > 0.3}
    known["d/e"] = torch.ones(5, 12, dtype=torch.bool)
    found = []
    for i in range(5):
        targets, mask = {name: v[i] for name, v in y.items()}, {name: v[i] for name, v in known.items()}
        if form == "marked":
            codes = {name: targets[name].where(mask[name], torch.tensor(-1)) for name in ("b c", "d/e")}
            found.append((x[i], {"a": targets["a"].where(mask["a"], torch.tensor(torch.nan)), **codes}))
        elif form == "masks":
            found.append((x[i], targets, mask))
        else:
            found.append(Batch(x[i], targets, mask))
    return found


@pytest.mark.parametrize("form", ["marked", "masks"])
def test_loaders_of_every_form_say_the_same(form):
    def run(loader):
        return tl.fit(encoder(), (loader, loader[:2]), tasks=TASKS, schedule=SHORT)

    expected, found = run(batches("Batch")), run(batches(form))
    assert equal_results(expected, found)
    assert found.steps == 15


def test_a_torch_loader_and_mappings_of_inputs():
    data = torch.utils.data.TensorDataset(torch.randn(40, 4), torch.randn(40))

    def collate(rows):
        x, y = (torch.stack(column) for column in zip(*rows, strict=True))
        return {"a": x, "b": x + 1}, {"a": y, "b": -y}

    tasks = [tl.Task(name=name, kind=tl.Regression()) for name in "ab"]
    loader = torch.utils.data.DataLoader(data, batch_size=8, collate_fn=collate)
    result = tl.fit(HardSharing(MLP(4), tasks), (loader, loader), schedule=SHORT)
    assert result.history.tasks == ("a", "b")
    assert result.steps == 15


def test_a_batch_without_a_task():
    given = batches("masks")
    alone = [(x, {"a": y["a"]}, {"a": m["a"]}) for x, y, m in given[:2]]
    for balancer in (tl.pcgrad(), tl.uncertainty()):
        result = tl.fit(encoder(), (alone + given[2:], given), tasks=TASKS, balancer=balancer, schedule=SHORT)
        assert np.isfinite(result.history.train_loss).all()
    for loader in (alone + given[2:], given[2:] + alone):
        result = tl.fit(encoder(), (loader, given), tasks=TASKS, balancer=tl.equal("mean"), schedule=SHORT)
        assert np.allclose(result.history.weights, [(3 / 3 + 2 * 1) / 5, 1 / 3, 1 / 3])


@pytest.mark.parametrize("bad", [torch.zeros(3), (torch.zeros(3, 4), torch.zeros(3)), (1, {}, {}, {})])
def test_loaders_of_another_form_are_refused(bad):
    with pytest.raises(DataError, match=r"a loader yielded .*expected a Batch"):
        tl.fit(encoder(), ([bad], batches("masks")), tasks=TASKS)


def test_errors_of_loaders():
    good = batches("masks")
    with pytest.raises(TaskError, match="pass tasks="):
        tl.fit(encoder(), (good, good))
    with pytest.raises(TaskError, match=r"targets of \['x'\]"):
        tl.fit(encoder(), ([(torch.zeros(3, 4), {"x": torch.zeros(3)})], good), tasks=TASKS)
    with pytest.raises(DataError, match="no batch"):
        tl.fit(encoder(), ([], good), tasks=TASKS)
    without = [(x, {name: y[name] for name in ("a", "b c")}) for x, y, _ in good]
    with pytest.raises(DataError, match="task 'd/e' has no labelled row"):
        tl.fit(encoder(), (without, good), tasks=TASKS)
    with pytest.raises(DataError, match="pair"):
        tl.fit(encoder(), good, tasks=TASKS)


# -- errors -------------------------------------------------------------------------------------------------------


def test_wrong_tasks_and_names(multi_label):
    model = HardSharing(MLP(4), [tl.Task(name="other", kind=tl.Regression())])
    with pytest.raises(TaskError, match=r"the model has the tasks \['other'\]"):
        tl.fit(model, table())
    with pytest.raises(TaskError, match="main: unknown task 'b'"):
        tl.fit(encoder(), table(), main="b")
    with pytest.raises(TaskError, match="tasks="):
        tl.fit(encoder(), table(), tasks=TASKS[:1])


def test_no_validation_label_is_an_error(multi_label):
    with pytest.raises(DataError, match="validation part"):
        tl.fit(MLP(6), replace(multi_label, validation=np.zeros(0, dtype=np.int64)))
    given = batches("masks")
    unlabelled = [(x, y, {name: torch.zeros_like(m) for name, m in mask.items()}) for x, y, mask in given]
    with pytest.raises(DataError, match="validation part"):
        tl.fit(encoder(), (given, unlabelled), tasks=TASKS)


def test_a_training_that_diverges_at_once_says_so(multi_label):
    with pytest.raises(EngineError, match=r"not finite.*learning rate"):
        tl.fit(MLP(6), multi_label, optimiser=OptimiserSettings(learning_rate=1e30), schedule=SHORT)


@pytest.mark.parametrize("settings", [{"max_epochs": 0}, {"patience": 0}, {"batch_size": 0}, {"measure_every": -1}])
def test_schedules_are_checked(settings):
    with pytest.raises(DataError, match=next(iter(settings))):
        Schedule(**settings)


@pytest.mark.parametrize("settings", [{"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"weight_decay": -1.0}])
def test_optimiser_settings_are_checked(settings):
    with pytest.raises(DataError, match=next(iter(settings))):
        OptimiserSettings(**settings)


# -- folders ------------------------------------------------------------------------------------------------------


class Interrupt(pl.Callback):
    """Raises in the middle of an epoch."""

    def __init__(self, epoch: int, error: type[BaseException]) -> None:
        self.epoch, self.error = epoch, error

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == self.epoch and batch_idx == 1:
            raise self.error("stop")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("balancer", [tl.uncertainty, tl.pcgrad])
def test_an_interrupted_call_goes_on_where_it_was(tmp_path, balancer, error):
    def run(out, *, callbacks=()):
        return tl.fit(
            encoder(),
            table(),
            balancer=balancer(),
            schedule=Schedule(max_epochs=6, batch_size=16, measure_every=2),
            trainer=TrainerOptions(callbacks=callbacks),
            out=out,
        )

    undisturbed = run(tmp_path / "whole")
    with pytest.raises((error, SystemExit)):
        run(tmp_path / "broken", callbacks=(Interrupt(3, error),))
    assert not (tmp_path / "broken" / "fit.json").exists()
    continued = run(tmp_path / "broken")
    assert equal_results(continued, undisturbed)
    assert continued.steps == undisturbed.steps
    assert continued.best_epoch == undisturbed.best_epoch
    assert all(torch.equal(v, undisturbed.balancer_state[n]) for n, v in continued.balancer_state.items())


def test_a_finished_folder_is_not_trained_again(tmp_path):
    first = tl.fit(encoder(), table(), schedule=SHORT, out=tmp_path)
    again = tl.fit(encoder(), table(), schedule=SHORT, out=tmp_path)
    assert equal_results(first, again)
    assert again.steps == first.steps


def test_a_training_that_stopped_early_stays_stopped(tmp_path):
    def run():
        settings = OptimiserSettings(learning_rate=0.3)
        return tl.fit(
            encoder(), table(), schedule=Schedule(max_epochs=30, patience=1), optimiser=settings, out=tmp_path
        )

    first = run()
    assert first.history.epochs < 30
    assert equal_results(first, run())


def test_a_finished_training_can_be_continued_for_longer(tmp_path):
    longer = replace(SHORT, max_epochs=5)
    tl.fit(encoder(), table(), schedule=SHORT, out=tmp_path / "twice")
    continued = tl.fit(encoder(), table(), schedule=longer, out=tmp_path / "twice")
    assert equal_results(continued, tl.fit(encoder(), table(), schedule=longer))


def test_another_training_does_not_go_on_from_this_folder(tmp_path):
    tl.fit(encoder(), table(), schedule=SHORT, out=tmp_path)
    with pytest.raises(EngineError, match="another training"):
        tl.fit(encoder(), table(), schedule=SHORT, out=tmp_path, balancer=tl.pcgrad())


def test_task_gradients_are_measured_by_the_engine_that_is_asked_for(monkeypatch):
    """An engine may know parameters of the network that is given; training works on a copy of both."""
    seen = []
    own = LastStageEngine.rows
    monkeypatch.setattr(LastStageEngine, "rows", lambda self, *given: seen.append(self) or own(self, *given))
    network = encoder()
    engine = LastStageEngine(network[2])
    x, y = torch.randn(64, 4), torch.randn(64)
    loaders = [(x[first : first + 16], {"a": y[first : first + 16]}) for first in range(0, 64, 16)]
    for data, tasks in ((table(), None), ((loaders, loaders), TASKS[:1])):
        seen.clear()
        result = tl.fit(network, data, tasks=tasks, balancer=tl.mgda(), engine=engine, schedule=SHORT)
        assert result.history.epochs == 3
        assert seen
        assert engine not in seen
    other = tl.fit(network, table(), balancer=tl.mgda(), schedule=SHORT)
    found = tl.fit(network, table(), balancer=tl.mgda(), engine=engine, schedule=SHORT)
    assert not equal_results(found, other)
    assert equal_results(found, tl.fit(network, table(), balancer=tl.mgda(), engine=engine, schedule=SHORT))


def test_a_training_with_estimates_goes_on_where_it_was(tmp_path):
    def run(epochs, **where):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 5))
        engine = SketchedEngine(16, tolerance=None, precision=torch.float32)
        schedule = replace(SHORT, max_epochs=epochs, batch_size=32)
        return tl.fit(network, table(), balancer=tl.mgda(), engine=engine, schedule=schedule, **where)

    run(2, out=tmp_path)
    assert equal_results(run(4, out=tmp_path), run(4))
    with pytest.raises(EngineError, match="another training"):
        tl.fit(encoder(), table(), balancer=tl.mgda(), schedule=SHORT, out=tmp_path)


def test_what_was_stored_is_read_back(tmp_path):
    result = tl.fit(
        encoder(), table(), schedule=Schedule(max_epochs=3, measure_every=1), out=tmp_path, balancer=tl.uncertainty()
    )
    assert json.loads((tmp_path / "fit.json").read_text())["version"] == 1
    again = load(tmp_path, result.skeleton)
    assert equal_results(result, again)
    assert len(again.history.gramians) == 3
    assert again.validation_score == result.validation_score
    assert again.balancer_state.keys() == result.balancer_state.keys()
    assert again.preparation.to_dict() == result.preparation.to_dict()
    assert np.nanmax(np.abs(again.history.cosines())) <= 1
    x = torch.randn(3, 4)
    assert all(torch.equal(value, again.model(x)[name]) for name, value in result.model(x).items())


# -- options ------------------------------------------------------------------------------------------------------


def test_clipping_accumulation_and_precision():
    plain = tl.fit(encoder(), table(), schedule=SHORT)
    for options, steps in (
        (TrainerOptions(gradient_clip_val=0.01), plain.steps),
        (TrainerOptions(accumulate_grad_batches=2), 3 * -(-plain.steps // 3 // 2)),
        (TrainerOptions(precision="bf16-mixed"), plain.steps),
        (TrainerOptions(precision="bf16-mixed", gradient_clip_val=1.0), plain.steps),
    ):
        for balancer in (None, tl.pcgrad()):
            result = tl.fit(encoder(), table(), schedule=SHORT, trainer=options, balancer=balancer)
            assert np.isfinite(result.history.score).all()
            assert result.steps == steps
            assert not equal_results(result, plain)
            assert {value.dtype for value in result.state.values()} == {torch.float32}


def test_batch_norm_and_dropout_are_trained_and_restored():
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 5))
    result = tl.fit(module, table(), schedule=SHORT)
    assert int(result.state["encoder.1.num_batches_tracked"]) == result.steps // 3 * (result.best_epoch + 1)


SCRIPT = """
import numpy as np, taskloom as tl
random = np.random.default_rng(0)
x = random.normal(size=(60, 2))
data = tl.MultiTaskData.from_arrays(
    x, {"a": x[:, 0] + x[:, 1], "b": x[:, 0] * x[:, 1]},
    tasks=[tl.Task(name="a", kind=tl.Regression()), tl.Task(name="b", kind=tl.Regression())])
for name, balancer in (("equal", tl.equal()), ("pcgrad", tl.pcgrad())):
    tl.fit(tl.nn.MLP(2), data, balancer=balancer, schedule=tl.Schedule(max_epochs=2), out=name)
"""


def test_nothing_is_printed(tmp_path, repository):
    environment = {**os.environ, "PYTHONPATH": str(repository / "src")}
    command = [sys.executable, "-W", "default", "-c", SCRIPT]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == ""


def test_a_logger_gets_the_losses_of_every_task(tmp_path):
    logger = pl.loggers.CSVLogger(tmp_path, flush_logs_every_n_steps=1)
    options = TrainerOptions(logger=logger)
    result = tl.fit(encoder(), table(), balancer=tl.fixed([1.0, 2.0, 0.5]), schedule=SHORT, trainer=options, seed=1)
    silent = tl.fit(encoder(), table(), balancer=tl.fixed([1.0, 2.0, 0.5]), schedule=SHORT, seed=1)
    assert equal_results(result, silent)
    rows = list(csv.DictReader(next(tmp_path.rglob("metrics.csv")).read_text().splitlines()))
    for name in ("a", "b-c", "d-e"):
        found = [float(row[f"validation/{name}/loss"]) for row in rows if row.get(f"validation/{name}/loss")]
        assert len(found) == result.history.epochs
    last = [float(row["validation/a/loss"]) for row in rows if row.get("validation/a/loss")][-1]
    assert last == pytest.approx(result.history.validation_loss[-1][0], rel=1e-5)


def test_a_logger_sees_steps(tmp_path):
    logger = pl.loggers.CSVLogger(tmp_path, flush_logs_every_n_steps=1)
    schedule = Schedule(max_epochs=60, patience=60, batch_size=16)
    tl.fit(
        encoder(), table(), balancer=tl.fixed([1.0, 2.0, 0.5]), schedule=schedule, trainer=TrainerOptions(logger=logger)
    )
    rows = list(csv.DictReader(next(tmp_path.rglob("metrics.csv")).read_text().splitlines()))
    assert {float(row["train/b-c/weight"]) for row in rows if row.get("train/b-c/weight")} == {2.0}
    losses = [float(row["train/a/loss"]) for row in rows if row.get("train/a/loss")]
    assert losses
    assert losses[-1] < losses[0]


def test_a_method_at_the_features_trains():
    result = tl.fit(encoder(), table(), balancer=tl.mgda_ub(), schedule=SHORT, seed=1)
    other = tl.fit(encoder(), table(), balancer=tl.mgda(), schedule=SHORT, seed=1)
    assert np.isfinite(result.history.score).all()
    np.testing.assert_allclose(result.history.weights.sum(1), 1, atol=1e-5)
    assert not np.allclose(result.history.weights, other.history.weights)
