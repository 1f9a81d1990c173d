from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import ResNet, load_weights


def encoder(seed: int) -> ResNet:
    torch.manual_seed(seed)
    return ResNet((1, 1, 1, 1), width=2)


def checkpoint() -> dict[str, torch.Tensor]:
    state = dict(encoder(0).state_dict())
    return state | {"fc.weight": torch.zeros(1000, 16), "fc.bias": torch.zeros(1000)}


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_files(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    if file.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in checkpoint().items()}, file)
    else:
        torch.save(checkpoint(), file)
    network = encoder(1)
    found = load_weights(network, file)
    assert sorted(found.dropped) == ["fc.bias", "fc.weight"]
    assert found.missing == found.unexpected == ()
    assert len(found.loaded) == len(checkpoint()) - 2
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(network.eval()(images), encoder(0).eval()(images))


def test_names_that_do_not_fit_are_named() -> None:
    state = checkpoint()
    state["layer9.weight"] = state.pop("layer4.0.conv1.weight")
    with pytest.raises(TaskError, match=r"missing \(1\): \['layer4.0.conv1.weight'\]; unexpected \(1\): \['layer9.wei"):
        load_weights(encoder(1), state)
    found = load_weights(encoder(1), state, strict=False)
    assert found.missing == ("layer4.0.conv1.weight",)
    assert found.unexpected == ("layer9.weight",)
    with pytest.raises(TaskError, match=r"unexpected \(2\): \['fc.weight', 'fc.bias'\]"):
        load_weights(encoder(1), checkpoint(), drop=())


def test_counters_may_be_missing() -> None:
    state = {name: value for name, value in checkpoint().items() if not name.endswith("num_batches_tracked")}
    found = load_weights(encoder(1), state)
    assert all(name.endswith("num_batches_tracked") for name in found.missing)
    assert found.missing


def test_other_shapes_are_refused_before_anything_is_changed() -> None:
    layer = nn.Linear(2, 1)
    before = layer.bias.detach().clone()
    with pytest.raises(TaskError, match=r"'weight' is \(1, 3\) in the source and \(1, 2\) in Linear"):
        load_weights(layer, {"bias": torch.ones(1), "weight": torch.zeros(1, 3)})
    assert torch.equal(layer.bias, before)


def test_files_with_something_else(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="there is no file"):
        load_weights(nn.Linear(2, 1), tmp_path / "nothing.pth")
    file = tmp_path / "wrapped.pth"
    torch.save({"state_dict": {"weight": torch.zeros(1, 2)}, "epoch": 3}, file)
    with pytest.raises(TaskError, match=r"with keys \['state_dict', 'epoch'\]"):
        load_weights(nn.Linear(2, 1), file)


def test_files_with_code_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "module.pth"
    torch.save({"weight": nn.Linear(2, 1)}, file)
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        load_weights(nn.Linear(2, 1), file)
