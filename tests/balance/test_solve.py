"""The solvers as tensor operations: under transforms, on the meta device, recorded; projection on the simplex."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from taskloom._rng import torch_stream
from taskloom.balance._solve import (
    conflict_averse,
    conflict_averse_weights,
    dual_cone,
    fair,
    min_norm,
    nash,
)
from taskloom.fit._recorded import OverMembers

SOLVERS = {
    "min_norm": min_norm,
    "conflict_averse": lambda gramian, **given: conflict_averse(gramian, 0.4, **given),
    "conflict_averse_weights": lambda gramian, **given: conflict_averse_weights(gramian, 0.4, **given),
    "nash": nash,
    "fair": lambda gramian, **given: fair(gramian, 2.0, **given),
    "dual_cone": lambda gramian: dual_cone(gramian, torch.eye(len(gramian), dtype=gramian.dtype)).sum(0),
}
MASKED = ["min_norm", "conflict_averse", "conflict_averse_weights", "nash", "fair"]


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch_stream(seed, "solve", *shape), dtype=torch.float64)


def gramians(*shape: int, seed: int = 0) -> Tensor:
    J = rows(*shape, seed=seed)
    return J @ J.mT


@pytest.mark.parametrize("name", SOLVERS)
def test_vmap_agrees_with_a_loop(name: str) -> None:
    solve, batch = SOLVERS[name], gramians(3, 2, 4, 6)
    expected = torch.stack([torch.stack([solve(one) for one in several]) for several in batch])
    assert torch.equal(vmap(vmap(solve))(batch), expected)
    assert torch.equal(vmap(solve, in_dims=1)(batch[:, 0].movedim(0, 1)), expected[:, 0])


@pytest.mark.parametrize("name", MASKED)
def test_absent_rows_take_no_part(name: str) -> None:
    solve, gramian = SOLVERS[name], gramians(4, 6)
    active = torch.tensor([True, False, True, True])
    kept = [0, 2, 3]
    weights = solve(gramian, active=active)
    assert float(weights[1]) == 0
    assert torch.equal(weights[kept], solve(gramian[kept][:, kept]))
    assert torch.equal(solve(gramian, active=torch.zeros(4, dtype=torch.bool)), torch.zeros(4, dtype=torch.float64))


@pytest.mark.parametrize("name", MASKED)
def test_masks_and_matrices_are_batched_alone_or_together(name: str) -> None:
    solve, batch = SOLVERS[name], gramians(3, 4, 6)
    active = torch.tensor([[True, False, True, True], [True, True, True, True], [False, False, True, False]])
    one = batch[0]
    both = vmap(lambda gramian, mask: solve(gramian, active=mask))(batch, active)
    assert torch.equal(both, torch.stack([solve(g, active=mask) for g, mask in zip(batch, active, strict=True)]))
    masks = vmap(lambda mask: solve(one, active=mask))(active)
    assert torch.equal(masks, torch.stack([solve(one, active=mask) for mask in active]))
    matrices = vmap(lambda gramian: solve(gramian, active=active[0]))(batch)
    assert torch.equal(matrices, torch.stack([solve(g, active=active[0]) for g in batch]))


def test_projections_of_rows_that_are_shared_by_a_batch() -> None:
    batch, u = gramians(3, 4, 6), rows(2, 4).abs()
    expected = torch.stack([dual_cone(gramian, u) for gramian in batch])
    assert torch.equal(vmap(lambda gramian: dual_cone(gramian, u))(batch), expected)
    torch.testing.assert_close(vmap(lambda gramian: dual_cone(gramian, u[0]))(batch), expected[:, 0])
    assert dual_cone(batch[0], u[0]).shape == (4,)


@pytest.mark.parametrize("name", SOLVERS)
def test_gradients_do_not_pass(name: str) -> None:
    solve = SOLVERS[name]

    def length(J: Tensor) -> Tensor:
        return (solve(J @ J.mT) @ J).square().sum()

    J = rows(4, 6)
    w = solve(J @ J.mT)
    expected = 2 * torch.outer(w, w @ J)  # weights are constants
    torch.testing.assert_close(grad(length)(J), expected)
    torch.testing.assert_close(vmap(grad(length))(torch.stack([J, 2 * J]))[0], expected)
    leaf = J.clone().requires_grad_()
    length(leaf).backward()
    torch.testing.assert_close(leaf.grad, expected)


@pytest.mark.parametrize("name", SOLVERS)
def test_shapes_are_known_without_computation(name: str) -> None:
    found = SOLVERS[name](torch.empty(4, 4, device="meta", dtype=torch.float64))
    assert (found.device.type, found.shape, found.dtype) == ("meta", (4,), torch.float64)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_recorder_sees_one_operation_and_gets_fresh_results(name: str) -> None:
    solve = SOLVERS[name]

    class Count(TorchDispatchMode):
        seen = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.seen += func.namespace == "taskloom"
            return func(*args, **(kwargs or {}))

    def step(J: Tensor) -> tuple[Tensor, Tensor]:
        weights = solve(J @ J.mT)
        return weights, grad(lambda own: ((weights @ own) ** 2).sum())(J)

    with Count() as count:
        vmap(step)(rows(5, 4, 6))
    assert count.seen == 1
    recorded = OverMembers(step)
    for seed in range(3):
        J = rows(5, 4, 6, seed=seed)
        for found, expected in zip(recorded((), J), vmap(step)(J), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SOLVERS)
def test_results_have_the_type_of_the_gramian(name: str) -> None:
    gramian = gramians(3, 5)
    narrow = SOLVERS[name](gramian.float())
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), SOLVERS[name](gramian), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_network_that_diverged_spoils_no_other(name: str) -> None:
    batch = gramians(3, 4, 6)
    spoiled = batch.clone()
    spoiled[1, 0, 0] = torch.inf
    found = vmap(SOLVERS[name])(spoiled)
    assert bool(found[1].isnan().all())
    assert torch.equal(found[[0, 2]], vmap(SOLVERS[name])(batch)[[0, 2]])


@pytest.mark.parametrize("operator", sorted(SOLVERS))
def test_operators_are_registered_completely(operator: str) -> None:
    more = {"nash": (1e-16, True), "fair": (2.0, 1e-16, True), "conflict_averse": (0.4,)}
    more["conflict_averse_weights"] = (0.4, 1e-16)
    gramian = gramians(3, 5)
    second = gramian if operator == "dual_cone" else None
    overload = getattr(torch.ops.taskloom, operator).default
    found = torch.library.opcheck(overload, (gramian, second, *more.get(operator, ())))
    assert set(found.values()) == {"SUCCESS"}


def test_all_zero() -> None:
    zero = torch.zeros(4, 4, dtype=torch.float64)
    for name in MASKED:
        assert SOLVERS[name](zero).tolist() == [0.25] * 4
    assert dual_cone(zero, torch.full((4,), 0.25, dtype=torch.float64)).tolist() == [0.25] * 4


def test_what_is_stationary_depends_on_the_precision_of_gradients() -> None:
    J = torch.tensor([[1.0, 0.0], [-1.0, 1e-4]], dtype=torch.float64)
    given = {"on_stationary": "zero"}
    for solve in (nash, lambda gramian, **more: fair(gramian, 2.0, **more)):
        assert bool(solve(J @ J.mT, **given).all())
        assert not bool(solve(J @ J.mT, rounding=torch.finfo(torch.float32).eps, **given).any())
        blunt = torch.tensor([[1.0, 0.0], [-1.0, 0.2]], dtype=torch.float64)
        assert bool(solve(blunt @ blunt.mT, rounding=torch.finfo(torch.bfloat16).eps, **given).all())
