"""Task gradients of parameters sharded by FSDP2: two processes give what one process gives on all rows."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import pytest
import torch
from tests.engine.conftest import TwoHeads
from tests.engine.processes import ROOT, on_two_ranks
from tests.engine.test_signals import FromLastLayer, FromThree
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from taskloom.balance._features import at_features
from taskloom.balance.base import RowRule, chain
from taskloom.balance.mix.pcgrad import pcgrad
from taskloom.balance.reduce.sum import equal
from taskloom.balance.scale.fixed import fixed
from taskloom.balance.wrap.every import every
from taskloom.engine.autograd import AutogradEngine
from taskloom.engine.combine import balance
from taskloom.engine.measure import measure
from taskloom.engine.sharded import ShardedEngine
from taskloom.errors import EngineError
from taskloom.fit.trainer import quiet_lightning
from taskloom.nn.fork import gates

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")

TASKS = ("a", "b", "c")
BALANCERS: dict[str, Any] = {
    "pcgrad": lambda: pcgrad(seed=1),
    "fixed, then pcgrad": lambda: chain(fixed([0.5, 2.0, 3.0]), pcgrad(order="ascending")),
    "equal mean": lambda: equal("mean"),
}
WRAPPINGS = ("whole", "layers", "layers kept gathered")


class Losses(nn.Module):
    """The forward pass that is wrapped."""

    def __init__(self, network: TwoHeads) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor, tasks: tuple[str, ...] = TASKS) -> dict[str, Tensor]:
        return self.network.losses(inputs, tasks)


def data(n_rows: int = 8) -> Tensor:
    return torch.randn(n_rows, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def sharded(wrapping: str = "layers", network: TwoHeads | None = None, **options: Any) -> Losses:
    from torch.distributed.fsdp import fully_shard

    model = Losses(network or TwoHeads())
    if wrapping != "whole":
        options["reshard_after_forward"] = wrapping == "layers"
        for part in (model.network.trunk[0], model.network.trunk[2], model.network.heads[1]):
            fully_shard(part, **options)
    fully_shard(model, **options)
    return model


def gradients(model: Losses) -> dict[str, Tensor | None]:
    """Whole gradients, by the names of the parameters; None where there is none."""
    found: dict[str, Tensor | None] = {}
    for name, parameter in model.network.named_parameters():
        gradient: Any = parameter.grad
        found[name] = None if gradient is None else gradient.full_tensor()
    return found


def mean_losses(network: TwoHeads, pieces: list[Tensor]) -> dict[str, Tensor]:
    """What ranks minimise together: the mean over ranks of their losses."""
    each = [network.losses(piece) for piece in pieces]
    return {task: torch.stack([losses[task] for losses in each]).mean() for task in network.tasks}


def assert_same(found: list[dict[str, Tensor | None]], network: TwoHeads, **tolerances: float) -> None:
    tolerances = tolerances or {"rtol": 1e-10, "atol": 1e-12}
    for rank in found:
        for name, gradient in network.gradients().items():
            if gradient is None:
                assert rank[name] is None, name
            else:
                torch.testing.assert_close(rank[name], gradient, msg=lambda text, n=name: f"{n}: {text}", **tolerances)


# -- against one process ----------------------------------------------------------------------------------------------


def _gradients_of_every_case(rank: int) -> dict[Any, Any]:
    found = {}
    for wrapping in WRAPPINGS:
        for name in BALANCERS:
            for heads in ("weighted", "unweighted"):
                model = sharded(wrapping)
                losses = model(data().chunk(2)[rank])
                loss = balance(losses, BALANCERS[name](), shared=model.network, head_gradient=heads)
                untouched = all(parameter.grad is None for parameter in model.parameters())
                loss.backward()
                found[wrapping, name, heads] = untouched, loss.item(), gradients(model)
    return found


def test_two_ranks_equal_one() -> None:
    found = on_two_ranks(_gradients_of_every_case)
    for wrapping, name, heads in found[0]:
        network = TwoHeads()
        losses = mean_losses(network, list(data().chunk(2)))
        loss = balance(losses, BALANCERS[name](), shared=network, head_gradient=heads)
        loss.backward()
        key = wrapping, name, heads
        assert [rank[key][0] for rank in found] == [True, True], "gradients were written before backward()"
        assert sum(rank[key][1] for rank in found) / 2 == pytest.approx(loss.item(), rel=1e-6), key
        assert_same([rank[key][2] for rank in found], network, rtol=1e-6, atol=1e-8)


# -- listing, keeping, accumulating -----------------------------------------------------------------------------------


def _listed(rank: int) -> dict[str, Any]:
    found = {}
    for when in ("before the forward pass", "after it", "the module"):
        model = sharded()
        trunk = model.network.trunk
        shared: Any = [*trunk.parameters()]
        losses = model(data().chunk(2)[rank])
        shared = {"before the forward pass": shared, "after it": [*trunk.parameters()], "the module": trunk}[when]
        balance(losses, pcgrad(seed=1), shared=shared).backward()
        found[when] = gradients(model)
    model = sharded()
    model(data().chunk(2)[rank])["a"].backward()
    before = gradients(model)
    losses = model(data().chunk(2)[rank])
    loss = balance(losses, pcgrad(seed=1), shared=model.network)
    found["kept"] = {"before": before, "while": gradients(model)}
    loss.backward()
    found["added"] = gradients(model)
    return found


def test_parameters_may_be_listed_at_any_time_and_gradients_add_up() -> None:
    found = on_two_ranks(_listed)
    network = TwoHeads()
    balance(mean_losses(network, list(data().chunk(2))), pcgrad(seed=1), shared=network).backward()
    for when in ("before the forward pass", "after it", "the module"):
        assert_same([rank[when] for rank in found], network)
    mean_losses(network, list(data().chunk(2)))["a"].backward()
    assert_same([rank["added"] for rank in found], network)
    for rank in found:
        for name, gradient in rank["kept"]["before"].items():
            other = rank["kept"]["while"][name]
            assert (other is None) == (gradient is None), name
            assert gradient is None or torch.equal(gradient, other), name


def _accumulated(rank: int) -> dict[Any, Any]:
    found = {}
    for synchronises in (True, False):
        model = sharded()
        for number, piece in enumerate(data().chunk(2)[rank].chunk(2)):
            if not synchronises:
                model.set_requires_gradient_sync(number == 1)  # type: ignore[operator]
                model.set_is_last_backward(number == 1)  # type: ignore[operator]
            loss = balance(model(piece), pcgrad(order="ascending"), shared=model.network)
            (1024 * loss / 2).backward()
        whole = gradients(model)
        norm: Any = nn.utils.clip_grad_norm_([one for one in model.parameters() if one.grad is not None], 0.1)
        found[synchronises] = whole, norm.full_tensor(), gradients(model)
    return found


def test_accumulation_scaling_and_clipping_work_as_on_any_loss() -> None:
    found = on_two_ranks(_accumulated)
    network = TwoHeads()
    halves = [half.chunk(2) for half in data().chunk(2)]
    for number in range(2):
        losses = mean_losses(network, [halves[rank][number] for rank in range(2)])
        (1024 * balance(losses, pcgrad(order="ascending"), shared=network) / 2).backward()
    for synchronises in (True, False):
        assert_same([rank[synchronises][0] for rank in found], network)
    norm = nn.utils.clip_grad_norm_([one for one in network.parameters() if one.grad is not None], 0.1)
    for synchronises in (True, False):
        for rank in found:
            torch.testing.assert_close(rank[synchronises][1], norm)
        assert_same([rank[synchronises][2] for rank in found], network, rtol=1e-6, atol=1e-9)


def _trained(rank: int) -> dict[str, Tensor]:
    model = sharded()
    balancer = every(2, pcgrad(seed=5))
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.05)
    for step in range(5):
        optimiser.zero_grad()
        losses = model(data()[4 * rank :][:4] + 0.1 * step)
        (balance(losses, balancer, shared=model.network) + 0.1 * losses["a"]).backward()  # another part of the graph
        optimiser.step()
    whole: Any = dict(model.network.named_parameters())
    return {name: parameter.full_tensor().detach() for name, parameter in whole.items()}


def test_training_takes_the_path_of_one_process() -> None:
    found = on_two_ranks(_trained)
    network, balancer = TwoHeads(), every(2, pcgrad(seed=5))
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.05)
    for step in range(5):
        optimiser.zero_grad()
        losses = mean_losses(network, list((data() + 0.1 * step).chunk(2)))
        (balance(losses, balancer, shared=network) + 0.1 * losses["a"]).backward()
        optimiser.step()
    for rank in found:
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(rank[name], parameter.detach(), rtol=1e-8, atol=1e-10)


# -- other ways to shard ----------------------------------------------------------------------------------------------


def _other_ways(rank: int) -> dict[str, Any]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Replicate
    from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

    found = {}
    pieces = data().chunk(2)
    for name, shape in (("copies", (2, 1)), ("copies of shards", (1, 2))):
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=("copies", "shards"))
        model = sharded(mesh=mesh)
        balance(model(pieces[rank]), pcgrad(seed=1), shared=model.network).backward()
        found[name] = gradients(model)

    mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=("data", "tensor"))
    network = TwoHeads()
    parallelize_module(network.trunk, mesh["tensor"], {"2": ColwiseParallel(output_layouts=Replicate())})
    model = Losses(network)
    fully_shard(model, mesh=mesh["data"])
    balance(model(data()), pcgrad(seed=1), shared=network).backward()  # the same rows on both ranks
    found["tensor parallel"] = gradients(model)

    network = TwoHeads()
    model = Losses(network)
    fully_shard(model, ignored_params={network.trunk[2].weight})
    balance(model(pieces[rank]), pcgrad(seed=1), shared=network).backward()
    left_out = network.trunk[2].weight
    found["left out"] = {
        name: one.grad if one is left_out or one.grad is None else one.grad.full_tensor()  # type: ignore[union-attr]
        for name, one in network.named_parameters()
    }

    model = sharded(network=TwoHeads())
    trunk = model.network.trunk
    inner = trunk[2].forward
    trunk[2].forward = lambda z: checkpoint(inner, z, use_reentrant=False)
    balance(model(pieces[rank]), pcgrad(seed=1), shared=model.network).backward()
    found["checkpointed"] = gradients(model)
    return found


def test_other_ways_to_shard() -> None:
    found = on_two_ranks(_other_ways)
    network = TwoHeads()
    balance(mean_losses(network, list(data().chunk(2))), pcgrad(seed=1), shared=network).backward()
    for name in found[0]:
        assert_same([rank[name] for rank in found], network)


# -- other things to look at ------------------------------------------------------------------------------------------


def _looked_at(rank: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    piece, second = data().chunk(2)[rank], data().flip(0).chunk(2)[rank]
    model = sharded()
    balance(model(piece), chain(FromLastLayer()), shared=model.network).backward()
    found["last layer"] = gradients(model)

    model, link = sharded(), FromThree()
    others = [model(second), model(second + 1)]
    balance(model(piece), chain(link), shared=model.network, independent=others).backward()
    found["batches"] = gradients(model)
    found["products"] = link.seen

    for heads in ("weighted", "unweighted"):
        for wrapping in WRAPPINGS:
            model = sharded(wrapping)
            with gates():
                losses = model(piece)
            balance(losses, at_features(pcgrad(seed=1)), shared=model.network, head_gradient=heads).backward()
            found[f"features, {wrapping}, {heads}"] = gradients(model)

    model = sharded()
    found["gramian"] = measure(model(piece), shared=model.network).gramian
    return found


def test_last_layers_batches_and_features() -> None:
    found = on_two_ranks(_looked_at)
    halves, seconds = list(data().chunk(2)), list(data().flip(0).chunk(2))
    network = TwoHeads()
    balance(mean_losses(network, halves), chain(FromLastLayer()), shared=network).backward()
    assert_same([rank["last layer"] for rank in found], network)

    network, link = TwoHeads(), FromThree()
    others = [mean_losses(network, seconds), mean_losses(network, [half + 1 for half in seconds])]
    balance(mean_losses(network, halves), chain(link), shared=network, independent=others).backward()
    assert_same([rank["batches"] for rank in found], network)
    for rank in found:
        torch.testing.assert_close(rank["products"], link.seen)

    for heads in ("weighted", "unweighted"):
        network = TwoHeads()
        with gates():
            losses = network.losses(data())
        balance(losses, at_features(pcgrad(seed=1)), shared=network, head_gradient=heads).backward()  # type: ignore[arg-type]
        for wrapping in WRAPPINGS:
            assert_same([rank[f"features, {wrapping}, {heads}"] for rank in found], network)

    network = TwoHeads()
    expected = measure(mean_losses(network, halves), shared=network).gramian
    for rank in found:
        torch.testing.assert_close(rank["gramian"], expected)


def _in_half_precision(rank: int) -> dict[str, Any]:
    from torch.distributed.fsdp import MixedPrecisionPolicy

    found: dict[str, Any] = {}
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    piece = data().chunk(2)[rank].float()
    model = sharded(network=TwoHeads().float(), mp_policy=policy)
    losses = {task: loss.float() for task, loss in model(piece).items()}
    engine = ShardedEngine()
    shared = [one for one in model.network.trunk.parameters() if one.requires_grad]
    rows = engine.rows([*losses.values()], shared)
    found["gramian"] = rows.gramian()
    each = []
    for loss in losses.values():
        model.zero_grad()
        loss.backward(retain_graph=True)
        each.append(gradients(model))
    found["each"] = each
    model.zero_grad()
    balance(losses, pcgrad(order="ascending"), shared=model.network, verify="always").backward()
    found["balanced"] = gradients(model)

    model = sharded(network=TwoHeads().float())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    loss = balance(model(piece), pcgrad(), shared=model.network, scaler=scaler)
    loss.backward()
    found["overflow"] = gradients(model)
    model.zero_grad()
    spoiled = {task: loss * float("nan") if rank == 0 and task == "b" else loss for task, loss in model(piece).items()}
    balance(spoiled, pcgrad(), shared=model.network, on_nonfinite="skip").backward()
    found["skip"] = gradients(model)
    return found


def test_half_precision_and_steps_that_are_left_out() -> None:
    found = on_two_ranks(_in_half_precision)
    names = [name for name, one in TwoHeads().named_parameters() if name.startswith("trunk") and one.requires_grad]
    for rank in found:
        rows = torch.stack([torch.cat([one[name].reshape(-1) for name in names]) for one in rank["each"]]).double()
        torch.testing.assert_close(rank["gramian"], rows @ rows.T)  # what K ordinary passes in bfloat16 give
        weights = pcgrad(order="ascending").weights(rows @ rows.T)
        direction = torch.cat([rank["balanced"][name].reshape(-1) for name in names])
        torch.testing.assert_close(direction, (weights @ rows).float())
        for number in range(3):
            for name in (f"heads.{number}.weight", f"heads.{number}.bias"):
                torch.testing.assert_close(rank["balanced"][name], rank["each"][number][name])
        assert all(not torch.isfinite(one).any() for one in rank["overflow"].values() if one is not None)
        assert sum(one is not None for one in rank["overflow"].values()) == 9
        assert all(one is None for one in rank["skip"].values())


# -- what is refused --------------------------------------------------------------------------------------------------


class _Signs(RowRule):
    def combine(self, rows: Tensor) -> Tensor:
        return rows.sign().sum(0)


def _refused(rank: int) -> dict[str, str]:
    from torch.distributed.tensor import Replicate, distribute_tensor, init_device_mesh

    piece = data().chunk(2)[rank]
    found: dict[str, str] = {}

    def note(name: str, balancer: Any, model: Losses, losses: dict[str, Tensor], **options: Any) -> None:
        try:
            balance(losses, balancer, shared=model.network, **options)
        except EngineError as error:
            found[name] = str(error)

    def ready() -> tuple[Losses, dict[str, Tensor]]:
        model = sharded()
        return model, model(piece)

    balancer = pcgrad()
    balancer.bind(TASKS)
    model = sharded()
    note("absent", balancer, model, model(piece, TASKS[: 3 - rank]))
    with gates():
        losses = model(piece, TASKS[: 3 - rank])
    features = at_features(pcgrad())
    features.bind(TASKS)
    note("absent at features", features, model, losses)
    note("rows", chain(_Signs()), *ready())
    note("engine", pcgrad(), *ready(), engine=AutogradEngine())
    with gates():
        note("carrier", at_features(pcgrad()), *ready(), form="carrier")
    note("gates", pcgrad(), *ready(), form="gates")
    model, losses = ready()
    losses["a"].backward()
    note("freed", pcgrad(), model, losses)
    model = sharded()
    model.set_requires_gradient_sync(False)  # type: ignore[operator]
    model(piece)["a"].backward()
    note("waiting", pcgrad(), model, model(piece))

    mesh = init_device_mesh("cpu", (2,))
    network = TwoHeads()
    weight = distribute_tensor(network.trunk[2].weight.detach(), mesh, [Replicate()])
    network.trunk[2].weight = nn.Parameter(weight)
    inputs = distribute_tensor(torch.ones(2, 5, dtype=torch.float64), mesh, [Replicate()])
    output = (inputs @ network.trunk[2].weight.T).to_local()
    losses = {"a": output.sum(), "b": output.square().sum()}
    note("foreign", pcgrad(), Losses(network), losses)
    return found


def test_what_cannot_be_done_is_explained() -> None:
    expected = {
        "absent": r"tasks number \[2\] are missing on some ranks.*output\.sum\(\) \* 0",
        "absent at features": r"tasks number \[2\] are missing on some ranks",
        "rows": r"looks at single entries of the task gradients.*DistributedDataParallel",
        "engine": r"AutogradEngine cannot measure gradients of parameters that are sharded",
        "carrier": r"use form='gates' or 'auto'",
        "gates": r"the graph has no forks",
        "freed": r"freed by an earlier backward",
        "waiting": r"'network\.[\w.]+' holds gradients of an earlier backward pass that were not reduced",
        "foreign": r"DTensors that torch\.distributed\.fsdp\.fully_shard does not manage.*wrap the model",
    }
    for found in on_two_ranks(_refused):
        assert set(found) == set(expected)
        for name, message in expected.items():
            assert re.search(message, found[name]), f"{name}: {found[name]}"


def _zero_loss(rank: int) -> dict[str, Tensor | None]:
    model = sharded()
    losses = model(data().chunk(2)[rank])
    if rank == 1:
        losses["c"] = losses["c"] * 0
    balance(losses, pcgrad(seed=1), shared=model.network).backward()
    return gradients(model)


def test_a_rank_without_labels_gives_a_loss_of_zero() -> None:
    found = on_two_ranks(_zero_loss)
    network = TwoHeads()
    first, second = (network.losses(half) for half in data().chunk(2))
    losses = {"a": (first["a"] + second["a"]) / 2, "b": (first["b"] + second["b"]) / 2, "c": first["c"] / 2}
    balance(losses, pcgrad(seed=1), shared=network).backward()
    assert_same(found, network)


# -- under Lightning's Trainer ----------------------------------------------------------------------------------------


def _under_lightning(rank: int) -> dict[str, Any]:
    import lightning.pytorch as pl
    from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            network = TwoHeads()
            network.unused.requires_grad_(False)
            self.model, self.balancer = Losses(network), pcgrad(seed=1)

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            return balance(self.model(batch), self.balancer, shared=self.model.network)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=0.05)

    class ShardedModule(Module):
        def configure_model(self) -> None:
            from torch.distributed.fsdp import fully_shard

            mesh = self.device_mesh["data_parallel"]
            fully_shard(self.model.network.trunk[0], mesh=mesh)
            fully_shard(self.model, mesh=mesh)

    place = {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    strategies = {
        "ddp": (Module, DDPStrategy()),
        "fsdp": (ShardedModule, ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)),
    }
    found = {}
    with pytest.MonkeyPatch.context() as patch, quiet_lightning():
        for name, value in place.items():
            patch.setenv(name, value)
        for name, (kind, strategy) in strategies.items():
            module = kind()
            trainer = pl.Trainer(
                accelerator="cpu",
                devices=2,
                strategy=strategy,
                max_epochs=1,
                accumulate_grad_batches=2,
                gradient_clip_val=0.5,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )
            batches = [data().chunk(2)[rank] + 0.1 * number for number in range(4)]
            trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
            named = module.model.network.named_parameters()
            whole: Any = {key: one.detach() for key, one in named}
            found[name] = {key: getattr(one, "full_tensor", one.clone)() for key, one in whole.items()}
    return found


def test_trainer_under_ddp_and_fsdp_with_accumulation_and_clipping() -> None:
    found = on_two_ranks(_under_lightning)
    network, balancer = TwoHeads(), pcgrad(seed=1)
    network.unused.requires_grad_(False)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.05)
    for number in range(4):
        losses = mean_losses(network, list((data() + 0.1 * number).chunk(2)))
        (balance(losses, balancer, shared=network) / 2).backward()
        if number % 2:
            nn.utils.clip_grad_norm_([one for one in network.parameters() if one.grad is not None], 0.5)
            optimiser.step()
            optimiser.zero_grad()
    for rank in found:
        for name, parameter in network.named_parameters():
            for strategy in ("ddp", "fsdp"):
                torch.testing.assert_close(rank[strategy][name], parameter.detach(), rtol=1e-9, atol=1e-11)


# -- the page of the guide --------------------------------------------------------------------------------------------


def _page(rank: int) -> bool:
    text = (ROOT / "docs" / "distributed.rst").read_text(encoding="utf-8")
    (code,) = [
        block for block in re.findall(r"code-block:: py\n\n((?:[ ]+\S.*\n|\n)+)", text) if "fully_shard" in block
    ]
    namespace: dict[str, Any] = {}
    exec(textwrap.dedent(code), namespace)
    return bool(torch.isfinite(next(namespace["model"].parameters()).full_tensor()).all())


def test_the_page_of_the_guide_runs() -> None:
    assert on_two_ranks(_page) == [True, True]
