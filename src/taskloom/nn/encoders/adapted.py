"""Encoders from other libraries: how they are called, and what of their output are the features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import Tensor, nn

from taskloom.errors import TaskError

__all__ = ["Adapted", "from_hugging_face", "from_timm"]

Position = Literal["first", "mean"]


class Adapted(nn.Module):
    """Any encoder, called in a way of its own.

    Architectures call an encoder with one argument. What a loader gives may be a mapping (as tokenizers return); when
    its keys are not task names, it arrives here untouched.

    Args:
        encoder: the module.
        call: (encoder, inputs) -> features; default ``encoder(inputs)``. A function with a name can be pickled with the
            model, a lambda cannot.
        out_features: width of the features; default the encoder's own ``out_features``, if it has one.

    Example:
        >>> import torch
        >>> class Tokens(nn.Module):
        ...     def forward(self, ids, mask):
        ...         return ids * mask
        >>> encoder = Adapted(Tokens(), call=lambda module, x: module(**x), out_features=3)
        >>> encoder({"ids": torch.ones(2, 3), "mask": torch.ones(2, 3)}).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        call: Callable[[Any, Any], Any] | None = None,
        out_features: int | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.call = call
        width = out_features if out_features is not None else getattr(encoder, "out_features", None)
        if isinstance(width, int):
            self.out_features = width

    def forward(self, inputs: Any) -> Any:
        """Whatever the call gives."""
        return self.encoder(inputs) if self.call is None else self.call(self.encoder, inputs)


class _LastHiddenState:
    """Calls a Hugging Face encoder with named inputs and pools its last hidden state."""

    def __init__(self, pool: Position | None) -> None:
        self.pool = pool

    def __call__(self, encoder: nn.Module, inputs: Any) -> Tensor:
        if not isinstance(inputs, Mapping):
            raise TaskError(
                f"a Hugging Face encoder needs a mapping of named inputs (input_ids, attention_mask), found a "
                f"{type(inputs).__name__}; pass what the tokenizer returns"
            )
        states: Tensor = encoder(**inputs).last_hidden_state  # (n, N, d)
        if self.pool is None:
            return states
        if self.pool == "first":
            return states[:, 0]
        mask = inputs.get("attention_mask")
        if mask is None:
            return states.mean(1)
        real = mask.to(states.dtype).unsqueeze(2)
        mean: Tensor = (states * real).sum(1) / real.sum(1).clamp(min=1)
        return mean


def from_hugging_face(encoder: nn.Module, *, pool: Position | None = "first") -> Adapted:
    """A Hugging Face encoder as an encoder of this library.

    It is called with the mapping that a tokenizer returns (``input_ids``, ``attention_mask``, ...).

    Args:
        encoder: a model whose output has ``last_hidden_state``, such as ``AutoModel.from_pretrained(...)`` or
            ``AutoModel.from_config(...)``.
        pool: ``"first"`` token, ``"mean"`` over the tokens of the attention mask, or None for every token; default the
            first token.

    Raises:
        TaskError: the encoder's configuration names no ``hidden_size``, or pool is unknown.

    Example:
        >>> import torch
        >>> from types import SimpleNamespace
        >>> class Tiny(nn.Module):  # in place of AutoModel.from_config(...)
        ...     config = SimpleNamespace(hidden_size=4)
        ...     def forward(self, input_ids, attention_mask):
        ...         return SimpleNamespace(last_hidden_state=torch.zeros(*input_ids.shape, 4))
        >>> encoder = from_hugging_face(Tiny(), pool="mean")
        >>> ids = torch.ones(2, 5, dtype=torch.int64)
        >>> encoder.out_features, encoder({"input_ids": ids, "attention_mask": ids}).shape
        (4, torch.Size([2, 4]))
    """
    if pool not in ("first", "mean", None):
        raise TaskError(f"pool must be 'first', 'mean' or None, found {pool!r}")
    width = getattr(getattr(encoder, "config", None), "hidden_size", None)
    if not isinstance(width, int):
        raise TaskError(
            f"{type(encoder).__name__} has no config.hidden_size; use Adapted(encoder, call=..., out_features=...)"
        )
    return Adapted(encoder, call=_LastHiddenState(pool), out_features=width)


def _feature_map(encoder: Any, images: Tensor) -> Any:
    return encoder.forward_features(images)


def from_timm(encoder: nn.Module, *, pool: bool = True) -> Adapted:
    """A timm network as an encoder of this library.

    Args:
        encoder: a timm model made with ``num_classes=0`` (its output are pooled features).
        pool: give the pooled features (n, C); default True. False gives what ``forward_features`` returns, (n, C, h, w)
            for convolutional networks.

    Raises:
        TaskError: the network does not say its ``num_features``, or still has its classifier.

    Example:
        >>> import torch
        >>> class Tiny(nn.Module):  # in place of timm.create_model(..., num_classes=0)
        ...     num_features, num_classes = 4, 0
        ...     def forward_features(self, images):
        ...         return torch.zeros(len(images), 4, 2, 2)
        ...     def forward(self, images):
        ...         return self.forward_features(images).mean((2, 3))
        >>> from_timm(Tiny())(torch.zeros(3, 3, 8, 8)).shape
        torch.Size([3, 4])
    """
    width = getattr(encoder, "num_features", None)
    if not isinstance(width, int):
        raise TaskError(f"{type(encoder).__name__} has no num_features; use Adapted(encoder, out_features=...)")
    n_classes = getattr(encoder, "num_classes", 0)
    if pool and n_classes:
        raise TaskError(
            f"{type(encoder).__name__} ends with a classifier of {n_classes} classes; create it with num_classes=0, or "
            "call reset_classifier(0)"
        )
    return Adapted(encoder, call=None if pool else _feature_map, out_features=width)
