from __future__ import annotations

import pytest
import torch

from taskloom.couplings import TraceNorm
from taskloom.couplings.trace import smooth_trace_norm
from taskloom.errors import TaskError


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (5, 5), (1, 4)])
def test_value_is_the_trace_norm(shape: tuple[int, int]) -> None:
    matrix = random(*shape)
    torch.testing.assert_close(
        smooth_trace_norm(matrix), torch.linalg.svdvals(matrix).sum(), rtol=0, atol=1e-3 * min(shape)
    )


def test_gradient_at_zero_is_zero() -> None:
    matrix = torch.zeros(4, 6, dtype=torch.float64, requires_grad=True)
    value = smooth_trace_norm(matrix)
    assert value.item() == 0.0
    value.backward()
    assert torch.equal(matrix.grad, torch.zeros(4, 6, dtype=torch.float64))


@pytest.mark.parametrize("matrix", [random(4, 9), torch.eye(4, 4).double(), random(4, 1) @ random(1, 9, seed=1)])
def test_gradient_is_finite_with_spectral_norm_of_at_most_one(matrix: torch.Tensor) -> None:
    leaf = matrix.clone().requires_grad_()
    smooth_trace_norm(leaf).backward()
    assert torch.isfinite(leaf.grad).all()
    assert float(torch.linalg.matrix_norm(leaf.grad, 2)) <= 1 + 1e-9


def test_gradient_by_differences() -> None:
    # eps is detached on purpose; keep the root mean square, and with it eps, fixed while differencing
    matrix, step = random(3, 5), random(3, 5, seed=1)
    step = step - (step * matrix).sum() / matrix.square().sum() * matrix
    leaf = matrix.clone().requires_grad_()
    smooth_trace_norm(leaf).backward()
    h = 1e-6
    difference = (smooth_trace_norm(matrix + h * step) - smooth_trace_norm(matrix - h * step)) / (2 * h)
    torch.testing.assert_close((leaf.grad * step).sum(), difference, rtol=1e-6, atol=1e-8)


def test_equal_tasks_are_not_pushed_apart() -> None:
    tasks = random(1, 6).expand(3, 6).clone().requires_grad_()
    smooth_trace_norm(tasks).backward()
    torch.testing.assert_close(tasks.grad, tasks.grad[:1].expand(3, 6), atol=1e-9, rtol=0)


def test_single_precision_is_computed_in_double() -> None:
    stack = random(5, 1, 4).float() @ random(1, 4, 3, seed=1).float()
    single = {"weight": stack.clone().requires_grad_()}
    double = {"weight": stack.double().requires_grad_()}
    TraceNorm(1.0)(single).backward()
    TraceNorm(1.0)(double).backward()
    torch.testing.assert_close(single["weight"].grad.double(), double["weight"].grad, rtol=1e-6, atol=1e-7)


def test_unfoldings() -> None:
    stack = random(2, 3, 4)  # (K, d1, d2)

    def norm(matrix: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svdvals(matrix).sum()

    last = stack.movedim(0, -1)  # (3, 4, 2)
    laf = norm(stack.reshape(2, 12))
    rows, columns = norm(last.reshape(3, 8)), norm(stack.movedim(2, 0).reshape(4, 6))
    expected = {
        "laf": laf,
        "tucker": (laf + rows + columns) / 3,
        "tt": (rows + norm(last.reshape(12, 2))) / 2,
    }
    for name, value in expected.items():
        found = TraceNorm(1.0, name)({"weight": stack})
        torch.testing.assert_close(found, value, rtol=1e-3, atol=0)
        both = TraceNorm(1.0, name)({"weight": stack, "other": stack})
        torch.testing.assert_close(both, found)  # mean over layers


def test_vectors_are_left_out() -> None:
    coupling = TraceNorm()
    assert not coupling.applies_to(torch.Size([4]))
    assert coupling.applies_to(torch.Size([4, 2, 3, 3]))


def test_unknown_unfolding() -> None:
    with pytest.raises(TaskError, match=r"unknown unfolding 'cp'; choose one of \['laf', 'tucker', 'tt'\]"):
        TraceNorm(1.0, "cp")


def test_autocast_does_not_touch_it() -> None:
    stack = {"weight": random(4, 3, 5)}
    expected = TraceNorm(1.0, "tucker")(stack)
    with torch.autocast("cpu", torch.bfloat16):
        found = TraceNorm(1.0, "tucker")(stack)
    assert found.dtype == torch.float64
    assert torch.equal(found, expected)
