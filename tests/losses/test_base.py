"""Laws that every loss keeps, whatever it measures."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import grad, vmap

from taskloom.errors import DataError
from taskloom.losses import (
    AbsoluteError,
    BinaryCrossEntropy,
    CrossEntropy,
    Huber,
    Loss,
    SquaredError,
    labelled_count,
)


@dataclass(frozen=True)
class Case:
    """A loss, the number of its outputs, and the number of its classes (0: real targets)."""

    loss: Loss
    n_outputs: int = 1
    n_classes: int = 0

    def draw(self, *shape: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs, targets and a mask, float64."""
        generator = torch.Generator().manual_seed(seed)
        prediction = torch.randn(*shape, self.n_outputs, dtype=torch.float64, generator=generator)
        if self.n_classes:
            target = torch.randint(0, self.n_classes, shape, generator=generator)
        else:
            target = torch.randn(*shape, dtype=torch.float64, generator=generator)
        return prediction, target, torch.rand(*shape, generator=generator) < 0.6


CASES = [
    Case(SquaredError()),
    Case(AbsoluteError()),
    Case(Huber(0.7)),
    Case(BinaryCrossEntropy(), n_classes=2),
    Case(CrossEntropy(), n_outputs=4, n_classes=4),
]
every_loss = pytest.mark.parametrize("case", CASES, ids=[type(case.loss).__name__ for case in CASES])


@every_loss
@given(seed=st.integers(0, 2**20), n=st.integers(1, 9))
def test_mean_over_the_labelled_elements_only(case: Case, seed: int, n: int) -> None:
    prediction, target, mask = case.draw(n, seed=seed)
    loss = case.loss(prediction, target, mask)
    if not mask.any():
        assert loss.item() == 0.0
        return
    everything = torch.ones(int(mask.sum()), dtype=torch.bool)
    torch.testing.assert_close(loss, case.loss(prediction[mask], target[mask], everything), rtol=1e-14, atol=0)


@every_loss
def test_nothing_labelled_gives_zero_and_a_gradient_of_exactly_zero(case: Case) -> None:
    prediction, target, mask = case.draw(5)
    prediction.requires_grad_()
    loss = case.loss(prediction, target, torch.zeros_like(mask))
    loss.backward()
    assert loss.item() == 0.0
    assert prediction.grad is not None
    assert torch.equal(prediction.grad, torch.zeros_like(prediction))


@every_loss
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_nothing_leaks_from_unlabelled_elements(case: Case, poison: float) -> None:
    prediction, target, _ = case.draw(6)
    mask = torch.tensor([True, False, True, False, False, True])
    clean = case.loss(prediction, target, mask)
    expected = grad(lambda outputs: case.loss(outputs, target, mask))(prediction)

    spoiled_target = torch.where(mask, target.double(), poison)
    spoiled_prediction = torch.where(mask[:, None], prediction, poison).requires_grad_()
    loss = case.loss(spoiled_prediction, spoiled_target, mask)
    loss.backward()
    assert torch.equal(loss, clean)
    assert spoiled_prediction.grad is not None
    torch.testing.assert_close(spoiled_prediction.grad, expected, rtol=1e-13, atol=0)
    assert torch.equal(spoiled_prediction.grad[~mask], torch.zeros(3, case.n_outputs, dtype=torch.float64))


@every_loss
def test_gradients_agree_with_differences(case: Case) -> None:
    prediction, target, mask = case.draw(6, seed=3)
    assert torch.autograd.gradcheck(lambda outputs: case.loss(outputs, target, mask), prediction.requires_grad_())


@every_loss
def test_leading_axes_are_separate_losses(case: Case) -> None:
    prediction, target, mask = case.draw(2, 3, 5)
    losses = case.loss(prediction, target, mask)
    assert losses.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(losses[i, j], case.loss(prediction[i, j], target[i, j], mask[i, j]))


@every_loss
def test_runs_under_vmap_with_gradients(case: Case) -> None:
    prediction, target, mask = case.draw(4, 7, seed=1)
    torch.testing.assert_close(vmap(case.loss)(prediction, target, mask), case.loss(prediction, target, mask))
    batched = vmap(grad(case.loss))(prediction, target, mask)
    for k in range(4):
        torch.testing.assert_close(batched[k], grad(case.loss)(prediction[k], target[k], mask[k]))


@every_loss
def test_integer_and_floating_class_codes_are_one_thing(case: Case) -> None:
    prediction, target, mask = case.draw(8)
    assert torch.equal(case.loss(prediction, target, mask), case.loss(prediction, target.double(), mask))


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(case: Case, dtype: torch.dtype) -> None:
    prediction, target, mask = case.draw(64)
    low = prediction.to(dtype)
    loss = case.loss(low, target, mask)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), case.loss(low.double(), target, mask), rtol=1e-5, atol=1e-6)


@every_loss
def test_losses_with_equal_settings_are_equal_and_hashable(case: Case) -> None:
    import copy

    assert copy.deepcopy(case.loss) == case.loss
    assert hash(copy.deepcopy(case.loss)) == hash(case.loss)


@every_loss
def test_shapes_that_do_not_fit_are_refused_by_name(case: Case) -> None:
    prediction, target, mask = case.draw(5)
    with pytest.raises(DataError, match=rf"{type(case.loss).__name__}.*\(5, \d\).*\(4,\)"):
        case.loss(prediction, target[:4], mask)
    with pytest.raises(DataError, match=r"unsqueeze"):
        case.loss(prediction[:, 0], target, mask)
    with pytest.raises(DataError, match=r"torch\.float64.*torch\.bool"):
        case.loss(prediction, target, mask.double())


@pytest.mark.parametrize("loss", [SquaredError(), AbsoluteError(), Huber(), BinaryCrossEntropy()])
def test_losses_of_one_output_refuse_several(loss: Loss) -> None:
    with pytest.raises(DataError, match="found 3 outputs"):
        loss(torch.zeros(5, 3), torch.zeros(5), torch.ones(5, dtype=torch.bool))


def test_counts_weigh_a_mean_over_parts() -> None:
    case = CASES[0]
    prediction, target, mask = case.draw(10, seed=5)
    parts = [slice(0, 3), slice(3, 10)]
    losses = torch.stack([case.loss(prediction[part], target[part], mask[part]) for part in parts])
    counts = torch.stack([labelled_count(mask[part]) for part in parts])
    torch.testing.assert_close((losses * counts).sum() / counts.sum(), case.loss(prediction, target, mask))


def test_a_loss_without_elementwise_says_so() -> None:
    with pytest.raises(NotImplementedError):
        Loss()(torch.zeros(1, 1), torch.zeros(1), torch.ones(1, dtype=torch.bool))
