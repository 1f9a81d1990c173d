"""Choices among a few options by Gumbel-softmax."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError

__all__ = ["Policy"]


class Policy(nn.Module):
    """Logits of choices among m options each, sampled with a gradient while they are learned.

        y = softmax((logits + g) / tau),   g = -log(-log U),   U uniform on (0, 1)

    With ``hard`` the sample is the one-hot vector of the largest entry, with the gradient of y (straight through). The
    softmax is taken in float32 at least, whatever the precision around it.

    Args:
        shape: shape of the array of choices.
        n_options: number of options m.
        temperature: tau at the start; it is a buffer.

    Raises:
        TaskError: no options, or a temperature that is not positive.

    Source:
        E. Jang, S. Gu, B. Poole, Categorical Reparameterization with Gumbel-Softmax, ICLR 2017, arXiv:1611.01144;
        C. Maddison, A. Mnih, Y. W. Teh, The Concrete Distribution, ICLR 2017, arXiv:1611.00712.

    Example:
        >>> policy = Policy((3, 2), 4)
        >>> policy.sample(hard=True).sum(-1).tolist()
        [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    """

    temperature: Tensor

    def __init__(self, shape: Sequence[int], n_options: int, *, temperature: float = 5.0) -> None:
        super().__init__()
        if n_options < 1:
            raise TaskError(f"a choice needs 1 or more options, found {n_options}")
        if not temperature > 0:
            raise TaskError(f"the temperature of a policy must be positive, found {temperature!r}")
        self.logits = nn.Parameter(torch.zeros(*shape, n_options))
        self.register_buffer("temperature", torch.tensor(float(temperature), dtype=torch.float64))

    def probabilities(self) -> Tensor:
        """Probability of every option, (..., m)."""
        return self._logits().softmax(-1)

    def sample(self, *, hard: bool = False) -> Tensor:
        """A sample of every choice, (..., m), rows that sum to 1."""
        logits = self._logits()
        uniform = torch.rand_like(logits).clamp(min=torch.finfo(logits.dtype).tiny)
        noise = -torch.log((-torch.log(uniform)).clamp(min=torch.finfo(logits.dtype).tiny))
        soft = ((logits + noise) / self.temperature.to(logits.dtype)).softmax(-1)
        if not hard:
            return soft
        one_hot = torch.zeros_like(soft).scatter(-1, soft.argmax(-1, keepdim=True), 1.0)
        return one_hot + soft - soft.detach()

    def choices(self) -> Tensor:
        """The most probable options, int64 in the shape of the array; the first of equals."""
        return self.logits.detach().argmax(-1)

    def _logits(self) -> Tensor:
        return self.logits.float() if self.logits.dtype in (torch.float16, torch.bfloat16) else self.logits
