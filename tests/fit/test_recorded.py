"""Recorded functions: the same numbers as the function itself, whatever it does to its tensors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import grad, vjp, vmap

from taskloom.fit._recorded import OverMembers


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def two_layers(weights, x, y):
    """Loss, gradient and a product with the Jacobian of a small network: the forward pass is written twice."""

    def loss(own):
        hidden = torch.relu(x @ own["first"].mT + own["bias"])
        return ((hidden @ own["second"].mT - y) ** 2).mean()

    gradient = grad(loss)(weights)
    value, pull = vjp(loss, weights)
    again = pull(torch.ones_like(value))[0]
    return value, gradient["first"], again["second"], gradient["bias"] + again["bias"]


def weights_of(members: int, seed: int = 0) -> dict[str, torch.Tensor]:
    return {
        "first": numbers(members, 4, 3, seed=seed),
        "bias": numbers(members, 4, seed=seed + 1),
        "second": numbers(members, 1, 4, seed=seed + 2),
    }


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=4))
def test_equal_to_the_function_at_every_call_and_shape(sizes):
    recorded = OverMembers(two_layers)
    for call, members in enumerate(sizes):
        for repeat in range(3):
            weights = weights_of(members, seed=10 * call + repeat)
            x, y = numbers(members, 5, 3, seed=call + repeat), numbers(members, 5, 1, seed=call - repeat + 9)
            assert_same(recorded((weights,), x, y), vmap(two_layers)(weights, x, y))


def test_standing_tensors_may_change_in_place():
    recorded = OverMembers(two_layers)
    weights, x, y = weights_of(3), numbers(3, 5, 3), numbers(3, 5, 1)
    standing = (weights,)
    for _ in range(4):
        assert_same(recorded(standing, x, y), vmap(two_layers)(weights, x, y))
        for tensor in weights.values():
            tensor.mul_(0.5).add_(0.1)


def test_what_runs_after_the_recording_is_less_than_what_was_recorded():
    recorded = OverMembers(two_layers)
    weights, x, y = weights_of(3), numbers(3, 5, 3), numbers(3, 5, 1)

    class Count(torch.utils._python_dispatch.TorchDispatchMode):
        products = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.products += func is torch.ops.aten.bmm.default
            return func(*args, **(kwargs or {}))

    counts = []
    standing = (weights,)
    recorded(standing, x, y)
    for _ in range(2):
        with Count() as count:
            recorded(standing, x, y)
        counts.append(count.products)
    with Count() as eager:
        vmap(two_layers)(weights, x, y)
    assert counts[0] == counts[1] <= eager.products - 2  # at least the second forward pass


def test_writes_are_kept():
    def written(x):
        total = torch.zeros_like(x)
        view = total[1:]
        before = total.clone()
        view.copy_(x[1:])
        total.mul_(2.0)
        return total, before, view + 1

    recorded = OverMembers(written)
    for seed in range(3):
        x = numbers(4, 5, seed=seed)
        assert_same(recorded((), x), vmap(written)(x))


def test_constants_are_computed_once_and_kept():
    outside = numbers(3)

    def function(x):
        return (x * torch.arange(3, dtype=x.dtype) * outside).sum(), torch.ones_like(x)

    recorded = OverMembers(function)
    for seed in range(3):
        x = numbers(2, 3, seed=seed)
        assert_same(recorded((), x), vmap(function)(x))


def test_equal_inputs_stay_different_inputs():
    recorded = OverMembers(lambda x, y: x - 2 * y)
    same = numbers(2, 3)
    recorded((), same, same)
    assert_same([recorded((), same, same + 1)], [same - 2 * (same + 1)])


def test_arguments_laid_out_in_another_way():
    recorded = OverMembers(lambda x: (x.reshape(6) * 2).view(2, 3))
    recorded((), numbers(4, 2, 3))
    turned = numbers(4, 3, 2).transpose(1, 2)
    assert_same([recorded((), turned)], [turned * 2])


def test_nothing_where_an_argument_is_optional():
    recorded = OverMembers(lambda x, draws: x if draws is None else x + draws)
    x = numbers(2, 3)
    for _ in range(2):
        assert_same([recorded((), x, None)], [x])
    for _ in range(2):
        assert_same([recorded((), x, x)], [2 * x])


def test_random_numbers_are_refused():
    with pytest.raises(RuntimeError, match="random"):
        OverMembers(lambda x: x + torch.rand_like(x))((), numbers(2, 3))


def test_operations_may_leave_results_out():
    """Layer normalisation gives no gradient of a weight that nobody asked for: None among its results."""

    def gradient(weights, x):
        normed = torch.nn.functional.layer_norm(x, (3,))
        return grad(lambda own: (normed * own["scale"]).square().sum() + vjp(_normed, x)[1](x)[0].sum())(weights)[
            "scale"
        ]

    def layer(weights, x):
        return (gradient(weights, x), vjp(_normed, x)[1](x)[0])

    recorded = OverMembers(layer)
    for seed in range(3):
        weights, x = {"scale": numbers(2, 3, seed=seed)}, numbers(2, 5, 3, seed=seed + 1)
        assert_same(recorded((weights,), x), vmap(layer)(weights, x))


def _normed(x):
    """Without a weight: the backward pass leaves the gradients of weight and bias out."""
    return torch.nn.functional.layer_norm(x, (3,))
