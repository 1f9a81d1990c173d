from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import Adapted, HardSharing, from_hugging_face, from_timm
from taskloom.task import Binary, Regression, Task


def two_tasks() -> list[Task]:
    return [Task(name="a", kind=Regression()), Task(name="b", kind=Binary())]


class TinyHuggingFace(nn.Module):
    """The interface of a Hugging Face encoder: named inputs, an output with ``last_hidden_state``."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(hidden_size=4)
        self.embedding = nn.Embedding(11, 4)

    def forward(self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> Any:
        return SimpleNamespace(last_hidden_state=self.embedding(input_ids))


def tokens() -> dict[str, torch.Tensor]:
    return {"input_ids": torch.tensor([[3, 4, 5], [6, 0, 0]]), "attention_mask": torch.tensor([[1, 1, 1], [1, 0, 0]])}


def named(encoder: nn.Module, inputs: Any) -> Any:
    return encoder(**inputs).last_hidden_state.sum(1)


def test_mappings_reach_the_encoder_untouched() -> None:
    encoder = TinyHuggingFace()
    model = HardSharing(Adapted(encoder, call=named, out_features=4), two_tasks())
    outputs = model(tokens())
    expected = model.heads[0](encoder.embedding(tokens()["input_ids"]).sum(1))
    assert torch.equal(outputs["a"], expected)
    again = pickle.loads(pickle.dumps(model))
    assert torch.equal(again(tokens())["a"], outputs["a"])


def test_one_mapping_per_task() -> None:
    model = HardSharing(from_hugging_face(TinyHuggingFace()), two_tasks()).eval()
    one = {name: value[:1] for name, value in tokens().items()}
    outputs = model({"a": one, "b": tokens()})
    assert outputs["a"].shape == (1, 1)
    assert torch.equal(outputs["b"], model(tokens(), ["b"])["b"])


def test_without_a_call() -> None:
    encoder = Adapted(nn.Linear(3, 2))
    assert encoder.out_features == 2
    assert encoder(torch.zeros(4, 3)).shape == (4, 2)
    assert not hasattr(Adapted(nn.Identity()), "out_features")


def test_pooling() -> None:
    encoder = TinyHuggingFace()
    states = encoder.embedding(tokens()["input_ids"])
    assert torch.equal(from_hugging_face(encoder)(tokens()), states[:, 0])
    assert torch.equal(from_hugging_face(encoder, pool=None)(tokens()), states)
    mean = from_hugging_face(encoder, pool="mean")
    torch.testing.assert_close(mean(tokens()), torch.stack([states[0].mean(0), states[1, 0]]))
    torch.testing.assert_close(mean({"input_ids": tokens()["input_ids"]}), states.mean(1))


def test_bad_hugging_face_encoders() -> None:
    with pytest.raises(TaskError, match=r"Linear has no config.hidden_size"):
        from_hugging_face(nn.Linear(2, 2))
    with pytest.raises(TaskError, match="pool must be"):
        from_hugging_face(TinyHuggingFace(), pool="max")  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="mapping of named inputs"):
        from_hugging_face(TinyHuggingFace())(torch.ones(2, 3, dtype=torch.int64))


def test_a_random_hugging_face_model() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers (extra 'text') is not installed")
    configuration = transformers.BertConfig(
        vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    encoder = from_hugging_face(transformers.AutoModel.from_config(configuration), pool="mean")
    model = HardSharing(encoder, two_tasks())
    outputs = model(tokens())
    assert outputs["b"].shape == (2, 1)
    sum(output.sum() for output in outputs.values()).backward()


class TinyTimm(nn.Module):
    """The interface of a timm network."""

    def __init__(self, num_classes: int = 0) -> None:
        super().__init__()
        self.num_features, self.num_classes = 4, num_classes
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        return self.convolution(images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.forward_features(images).mean((2, 3))


def test_timm() -> None:
    images = torch.zeros(2, 3, 8, 8)
    assert from_timm(TinyTimm()).out_features == 4
    assert HardSharing(from_timm(TinyTimm()), two_tasks())(images)["a"].shape == (2, 1)
    assert from_timm(TinyTimm(), pool=False)(images).shape == (2, 4, 6, 6)
    with pytest.raises(TaskError, match="ends with a classifier of 10 classes"):
        from_timm(TinyTimm(10))
    with pytest.raises(TaskError, match="no num_features"):
        from_timm(nn.Linear(2, 2))


def test_a_random_timm_model() -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed (it needs torchvision)")
    encoder = from_timm(timm.create_model("resnet18", pretrained=False, num_classes=0))
    assert HardSharing(encoder, two_tasks())(torch.zeros(2, 3, 32, 32))["a"].shape == (2, 1)
