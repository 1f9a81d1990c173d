"""Laws of balancers, as a test class to inherit: check a balancer of your own with the suite that checks ours.

    class TestMine(BalancerLaws):
        non_conflicting = True

        def make_balancer(self):
            return chain(my_link(), sum_())

The attributes say which laws the method claims. A claimed law that fails is a bug; claim all that hold.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from taskloom._rng import torch_stream
from taskloom.balance.base import Balancer
from taskloom.balance.flow import Need, Rows
from taskloom.errors import BalanceError

__all__ = ["BalancerLaws"]


class BalancerLaws:
    """What has to hold for every balancer, and what holds for those that claim it. Inherit it in a pytest file.

    Class attributes:
        sizes: numbers of tasks to try.
        degree: H such that scaling J by s scales the direction by s^H; None if the method makes no such promise.
        scale_invariant: the direction ignores that one task's gradient is multiplied by a positive number.
        non_conflicting: the direction never points against a task.
        non_conflicting_pairs: the same, promised for two tasks only.
        identical_gives_parallel: equal gradients give a direction along them.
        orthogonal_gives_equal: orthogonal gradients of equal norm get equal weights.
        single_task_weight: weight of a single task; None if it depends on the gradient or the loss.
        tolerance: relative tolerance of the laws in float64.

    Example:
        >>> class TestSum(BalancerLaws):
        ...     def make_balancer(self):
        ...         import taskloom as tl
        ...         return tl.equal()
        >>> TestSum().test_permuting_tasks_permutes_weights()
    """

    sizes: ClassVar[Sequence[int]] = (1, 2, 3, 5, 50)
    degree: ClassVar[float | None] = 1.0
    scale_invariant: ClassVar[bool] = False
    non_conflicting: ClassVar[bool] = False
    non_conflicting_pairs: ClassVar[bool] = False
    identical_gives_parallel: ClassVar[bool] = True
    orthogonal_gives_equal: ClassVar[bool] = True
    single_task_weight: ClassVar[float | None] = 1.0
    tolerance: ClassVar[float] = 1e-9

    def make_balancer(self) -> Balancer:
        """A new balancer, not bound to tasks. Must be the same at every call."""
        raise NotImplementedError

    def names(self, n_tasks: int) -> list[str]:
        """Names of the tasks that the balancer is bound to."""
        return [f"task {position}" for position in range(n_tasks)]

    # -- laws that every balancer satisfies -------------------------------------------------------------------

    def test_permuting_tasks_permutes_weights(self) -> None:
        for n_tasks, jacobian, losses in self._problems():
            order = torch.randperm(n_tasks, generator=torch_stream(0, "permutation", n_tasks))
            draws = self._bound(n_tasks).draw(n_tasks)
            plain = self._direction(self._bound(n_tasks), jacobian, losses, draws)
            permuted_draws = None if draws is None else self._bound(n_tasks).select_draws(draws, order.tolist())
            permuted = self._bound(n_tasks, order)
            self._close(self._direction(permuted, jacobian[order], losses[order], permuted_draws), plain)

    def test_a_single_task_keeps_its_direction(self) -> None:
        jacobian, losses = self._problem(1, 4)
        self._parallel(self._direction(self._bound(1), jacobian, losses), jacobian[0])
        if self.single_task_weight is not None:
            given = torch.tensor([self.single_task_weight], dtype=torch.float64)
            self._close(self._weights(self._bound(1), jacobian, losses), given)

    def test_weights_are_finite_at_every_size(self) -> None:
        for n_tasks, jacobian, losses in self._problems():
            weights = self._direction(self._bound(n_tasks), jacobian, losses)
            assert bool(torch.isfinite(weights).all()), f"K = {n_tasks}: {weights}"

    def test_awkward_gradients_give_finite_weights(self) -> None:
        """Zero rows, all zero, duplicates, opposite rows, norm ratio 1e6, more tasks than parameters."""
        jacobian, losses = self._problem(4, 6)
        zero_row, duplicate, opposite, unbalanced = (jacobian.clone() for _ in range(4))
        zero_row[1] = 0
        duplicate[2] = duplicate[0]
        opposite[3] = -opposite[0]
        unbalanced[1] *= 1e6
        for awkward in (zero_row, torch.zeros(4, 6), duplicate, opposite, unbalanced, jacobian[:, :2]):
            direction = self._direction(self._bound(4), awkward.double(), losses)
            assert bool(torch.isfinite(direction).all()), f"{awkward} gives {direction}"

    def test_float32_agrees_with_float64(self) -> None:
        for n_tasks in (1, 2, 5):
            jacobian, losses = self._problem(n_tasks, 40)
            wide = self._direction(self._bound(n_tasks), jacobian, losses)
            narrow = self._direction(self._bound(n_tasks), jacobian.float(), losses.float())
            assert narrow.dtype == torch.float32
            assert self._distance(narrow.double(), wide) <= 1e-3

    def test_rotating_the_parameters_changes_no_weight(self) -> None:
        if Need.ROWS in self.make_balancer().needs:
            return
        jacobian, losses = self._problem(3, 5)
        rotation = torch.linalg.qr(self._random(5, 5)).Q
        padded = torch.cat([jacobian @ rotation, torch.zeros(3, 4, dtype=torch.float64)], dim=1)
        self._close(self._weights(self._bound(3), padded, losses), self._weights(self._bound(3), jacobian, losses))

    def test_an_absent_task_changes_nothing_for_the_others(self) -> None:
        """Leaving a task out and marking it absent (zero loss, zero row) give the same weights and penalty."""
        n_tasks, kept = 4, [0, 1, 3]
        jacobian, losses = self._problem(n_tasks, 6)
        jacobian[2], losses[2] = 0, 0
        balancer = self._bound(n_tasks)
        draws = balancer.draw(n_tasks)
        kept_draws = None if draws is None else balancer.select_draws(draws, kept)
        masked = copy.deepcopy(balancer).combine(
            losses,
            self._gramian(jacobian, balancer),
            active=torch.tensor([True, True, False, True]),
            draws=draws,
            rows=Rows((jacobian,)),
            last_layer=self._product(jacobian, balancer, Need.LAST_LAYER),
            cross=self._product(jacobian, balancer, Need.CROSS),
        )
        fewer = copy.deepcopy(balancer).combine(
            losses[kept],
            self._gramian(jacobian[kept], balancer),
            draws=kept_draws,
            tasks=[balancer.tasks[position] for position in kept],
            rows=Rows((jacobian[kept],)),
            last_layer=self._product(jacobian[kept], balancer, Need.LAST_LAYER),
            cross=self._product(jacobian[kept], balancer, Need.CROSS),
        )
        assert float(masked.weights[2].detach()) == 0
        self._close(masked.weights[kept], fewer.weights)
        self._close(masked.penalty, fewer.penalty)
        if masked.direction is not None and fewer.direction is not None:
            self._close(masked.direction, fewer.direction)

    def test_equal_seeds_give_equal_weights(self) -> None:
        first, second = self._path(self._bound(3), 4), self._path(self._bound(3), 4)
        assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))

    def test_a_saved_state_goes_on_as_if_nothing_had_happened(self) -> None:
        undisturbed = self._bound(3)
        self._path(undisturbed, 3)
        file = io.BytesIO()
        torch.save(undisturbed.state_dict(), file)
        file.seek(0)
        restored = self._bound(3)
        restored.load_state_dict(torch.load(file, weights_only=True))
        for one, other in zip(self._path(undisturbed, 3), self._path(restored, 3), strict=True):
            assert torch.equal(one, other)

    def test_reset_returns_to_the_first_step(self) -> None:
        balancer = self._bound(3)
        first = self._path(balancer, 3)
        balancer.reset()
        for one, other in zip(self._path(balancer, 3), first, strict=True):
            assert torch.equal(one, other)

    def test_needs_are_honest(self) -> None:
        """What is not among the needs changes nothing; what is among them is asked for."""
        jacobian, losses = self._problem(3, 5)
        needs = self.make_balancer().needs
        rows = Rows((jacobian,)) if Need.ROWS in needs else None
        gramian = jacobian @ jacobian.T if Need.GRAMIAN in needs else None
        layer = self._product(jacobian, self.make_balancer(), Need.LAST_LAYER)
        cross = self._product(jacobian, self.make_balancer(), Need.CROSS)
        draws = self._bound(3).draw(3)
        plain = self._bound(3).combine(losses, gramian, draws=draws, rows=rows, last_layer=layer, cross=cross)
        if Need.LOSSES not in needs:
            other = self._bound(3).combine(
                2 * losses + 1, gramian, draws=draws, rows=rows, last_layer=layer, cross=cross
            )
            self._close(other.weights, plain.weights)
        for missing in (Need.GRAMIAN, Need.ROWS):
            if missing not in needs:
                continue
            try:
                self._bound(3).combine(
                    losses,
                    None if missing is Need.GRAMIAN else gramian,
                    draws=draws,
                    rows=None if missing is Need.ROWS else rows,
                    last_layer=layer,
                    cross=cross,
                )
            except BalanceError:
                continue
            raise AssertionError(f"{self.make_balancer()!r} claims to need {missing} but runs without it")

    def test_vmap_agrees_with_a_loop(self) -> None:
        """Many networks at once: one call under ``torch.func.vmap`` equals one call per network."""
        if self.make_balancer().needs & (Need.ROWS | Need.LAST_LAYER | Need.CROSS):
            return  # batched training does not offer them
        problems = [self._problem(3, 5, number) for number in range(4)]
        losses = torch.stack([one for _, one in problems])
        gramians = torch.stack([jacobian @ jacobian.T for jacobian, _ in problems])
        active = torch.tensor([[True, True, True], [True, False, True], [True, True, True], [False, True, True]])
        losses, gramians = losses * active, gramians * active.unsqueeze(1) * active.unsqueeze(2)
        balancers = [self._bound(3) for _ in problems]
        drawn = [balancer.draw(3, step=number) for number, balancer in enumerate(balancers)]
        draws = None if drawn[0] is None else torch.stack([one for one in drawn if one is not None])
        needs_gramian = balancers[0].needs_gramian
        caller = _Caller(self._bound(3))
        state = {
            name: torch.stack([dict(_Caller(balancer).state()).get(name, value) for balancer in balancers])
            for name, value in caller.state()
        }

        def one(own: dict[str, Tensor], loss: Tensor, gramian: Tensor, present: Tensor, draw: Tensor | None) -> Tensor:
            weights, penalty = functional_call(caller, own, (loss, gramian if needs_gramian else None, present, draw))
            return torch.cat([weights, penalty.reshape(1)])

        together = vmap(one, in_dims=(0, 0, 0, 0, None if draws is None else 0))(state, losses, gramians, active, draws)
        for number, balancer in enumerate(balancers):
            gramian = gramians[number] if needs_gramian else None
            alone = balancer.combine(losses[number], gramian, active=active[number], draws=drawn[number])
            self._close(together[number], torch.cat([alone.weights, alone.penalty.reshape(1)]).detach())

    # -- laws that a method may claim --------------------------------------------------------------------------

    def test_identical_gradients_give_their_direction(self) -> None:
        if not self.identical_gives_parallel:
            return
        for n_tasks in (2, 5):
            one, losses = self._problem(1, 4)
            jacobian = one.expand(n_tasks, -1).contiguous()
            direction = self._direction(self._bound(n_tasks), jacobian, losses.expand(n_tasks).contiguous())
            self._parallel(direction, one[0])

    def test_orthogonal_gradients_of_equal_norm_get_equal_weights(self) -> None:
        if not self.orthogonal_gives_equal or Need.ROWS in self.make_balancer().needs:
            return
        for n_tasks in (2, 3, 5):
            jacobian = 2 * torch.eye(n_tasks, n_tasks + 1, dtype=torch.float64)
            weights = self._weights(self._bound(n_tasks), jacobian, torch.ones(n_tasks, dtype=torch.float64))
            self._close(weights, weights[:1].expand(n_tasks))

    def test_scaling_all_gradients_scales_the_direction_as_declared(self) -> None:
        if self.degree is None:
            return
        jacobian, losses = self._problem(3, 5)
        plain = self._direction(self._bound(3), jacobian, losses)
        for factor in (1e-6, 1e6):
            scaled = self._direction(self._bound(3), factor * jacobian, losses)
            self._close(scaled, factor**self.degree * plain)

    def test_scaling_one_gradient_keeps_the_direction(self) -> None:
        if not self.scale_invariant:
            return
        jacobian, losses = self._problem(3, 5)
        scaled = jacobian * torch.tensor([[1.0], [1e3], [1e-2]], dtype=torch.float64)
        plain = self._direction(self._bound(3), jacobian, losses)
        self._parallel(self._direction(self._bound(3), scaled, losses), plain)

    def test_the_direction_never_opposes_a_task(self) -> None:
        if not (self.non_conflicting or self.non_conflicting_pairs):
            return
        for n_tasks in self.sizes if self.non_conflicting else (1, 2):
            for number in range(5):
                jacobian, losses = self._problem(n_tasks, 4, number)
                direction = self._direction(self._bound(n_tasks), jacobian, losses)
                slack = 1e-9 * float(jacobian.norm(dim=1).max()) * float(direction.norm())
                assert float((jacobian @ direction).min()) >= -slack

    # -- parts -------------------------------------------------------------------------------------------------

    def _bound(self, n_tasks: int, order: Tensor | None = None) -> Balancer:
        balancer = self.make_balancer()
        names = self.names(n_tasks)
        balancer.bind(names if order is None else [names[position] for position in order])
        return balancer

    def _random(self, *shape: int, number: int = 0) -> Tensor:
        return torch.randn(*shape, generator=torch_stream(number, "laws", *shape), dtype=torch.float64)

    def _problem(self, n_tasks: int, size: int, number: int = 0) -> tuple[Tensor, Tensor]:
        losses = self._random(n_tasks, number=number).square() + 0.1
        return self._random(n_tasks, size, number=number), losses

    def _problems(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        for n_tasks in self.sizes:
            yield n_tasks, *self._problem(n_tasks, n_tasks + 3)

    def _gramian(self, jacobian: Tensor, balancer: Balancer) -> Tensor | None:
        return jacobian @ jacobian.T if balancer.needs_gramian else None

    def _product(self, jacobian: Tensor, balancer: Balancer, need: Need) -> Tensor | None:
        """What else a balancer may look at: here the layer is the whole, and independent batches are equal."""
        return jacobian @ jacobian.T if need in balancer.needs else None

    def _weights(self, balancer: Balancer, jacobian: Tensor, losses: Tensor, draws: Tensor | None = None) -> Tensor:
        if balancer.n_batches > 1:
            others = [jacobian] * (balancer.n_batches - 1)
            return balancer.step(jacobian, losses, others=others, draws=draws).weights
        return balancer.weights(jacobian @ jacobian.T, losses, draws=draws)

    def _direction(self, balancer: Balancer, jacobian: Tensor, losses: Tensor, draws: Tensor | None = None) -> Tensor:
        if balancer.n_batches > 1:
            others = [jacobian] * (balancer.n_batches - 1)
            found = balancer.step(jacobian, losses, others=others, draws=draws).direction
            assert found is not None
            return found
        return balancer.direction(jacobian, losses, draws=draws)

    def _path(self, balancer: Balancer, n_steps: int) -> list[Tensor]:
        return [self._direction(balancer, *self._problem(3, 5, number)) for number in range(n_steps)]

    def _distance(self, value: Tensor, reference: Tensor) -> float:
        return float((value - reference).norm()) / max(float(reference.norm()), 1e-300)

    def _close(self, value: Tensor, reference: Tensor) -> None:
        value, reference = value.detach(), reference.detach()
        allowed = self.tolerance * max(float(reference.norm()), 1e-12)
        error = float((value - reference).norm())
        assert error <= allowed, f"off by {error:.3g}, allowed {allowed:.3g}: {value} instead of {reference}"

    def _parallel(self, value: Tensor, reference: Tensor) -> None:
        self._close(value / value.norm(), reference / reference.norm())


class _Caller(nn.Module):
    """Lets ``functional_call`` reach ``combine``."""

    def __init__(self, balancer: Balancer) -> None:
        super().__init__()
        self.balancer = balancer

    def state(self) -> list[tuple[str, Tensor]]:
        named = [*self.named_parameters(), *self.named_buffers()]
        return [(name, value.detach().clone()) for name, value in named]

    def forward(
        self, losses: Tensor, gramian: Tensor | None, active: Tensor, draws: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        combination = self.balancer.combine(losses, gramian, active=active, draws=draws)
        return combination.weights, combination.penalty
