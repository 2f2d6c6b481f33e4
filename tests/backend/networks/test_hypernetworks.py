"""Hypernetworks on a tiny UNet, against their formula written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from modules.backend.networks.hypernetworks import (
    Hypernetwork,
    Hypernetworks,
    read_networks,
)
from modules.core.errors import BadFile, NotFound
from modules.models.files.scan import ModelFile, scan_folder
from modules.models.networks.hypernetworks import HypernetworkUse
from tests.backend.checkpoints import tiny_modules
from tests.backend.tiny import random_cond

WIDTH = 32


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) / 8


def layers(*places: int, seed: int = 0) -> dict[str, Tensor]:
    """Return two linear layers at some places of a network."""
    first, last = places
    return {
        f"linear.{first}.weight": random(64, WIDTH, seed=seed),
        f"linear.{first}.bias": random(64, seed=seed + 1),
        f"linear.{last}.weight": random(WIDTH, 64, seed=seed + 2),
        f"linear.{last}.bias": random(WIDTH, seed=seed + 3),
    }


def save(
    path: Path, keys: dict[str, Tensor], values: dict[str, Tensor], **others: Any
) -> ModelFile:
    torch.save({WIDTH: (keys, values), "name": "x", "step": 5, **others}, path)
    (file,) = scan_folder(path.parent, (path.name,))
    return file


def expected(state: dict[str, Tensor], x: Tensor, activation, last_too: bool = False) -> Tensor:
    """Return the output of a network of two linear layers, by the names of its first file format."""
    (w0, b0), (w1, b1) = (
        (state[f"{name}.weight"], state[f"{name}.bias"]) for name in ordered(state)
    )
    hidden = activation(functional.linear(x, w0, b0))
    result = functional.linear(hidden, w1, b1)
    return activation(result) if last_too else result


def ordered(state: dict[str, Tensor]) -> list[str]:
    return sorted({key.rpartition(".")[0] for key in state})


def output(file: ModelFile, x: Tensor, index: int = 0) -> Tensor:
    return read_networks(file, torch.device("cpu"))[WIDTH][index](x)


X = random(1, 7, WIDTH, seed=9) * 8


@pytest.mark.parametrize(
    ("places", "others", "activation", "last_too"),
    [
        ((0, 2), {"activation_func": "relu", "activate_output": False}, functional.relu, False),
        ((0, 2), {"activation_func": "relu"}, functional.relu, True),
        (
            (0, 2),
            {"activation_func": "swish", "activate_output": False},
            functional.hardswish,
            False,
        ),
        ((0, 2), {"activation_func": "mish", "activate_output": False}, functional.mish, False),
        ((0, 1), {"activation_func": "linear"}, lambda x: x, False),
        ((0, 1), {}, lambda x: x, False),
        # With dropout there is one more module between the layers, which does nothing here.
        ((0, 3), {"activation_func": "tanh", "activate_output": False}, torch.tanh, False),
    ],
)
def test_a_network_has_the_layers_and_activations_of_its_file(
    tmp_path: Path, places: tuple[int, int], others: dict[str, Any], activation, last_too: bool
):
    keys, values = layers(*places), layers(*places, seed=20)
    file = save(tmp_path / "a.pt", keys, values, **others)
    assert torch.equal(output(file, X, 0), expected(keys, X, activation, last_too))
    assert torch.equal(output(file, X, 1), expected(values, X, activation, last_too))


def test_names_of_the_first_versions_are_read(tmp_path: Path):
    old = {
        key.replace("linear.0", "linear1").replace("linear.1", "linear2"): value
        for key, value in layers(0, 1).items()
    }
    file = save(tmp_path / "a.pt", old, dict(old))
    assert torch.equal(output(file, X), expected(layers(0, 1), X, lambda x: x))


def test_a_layer_norm_follows_the_activation(tmp_path: Path):
    state = layers(0, 3)
    norm = {"linear.2.weight": random(64, seed=5), "linear.2.bias": random(64, seed=6)}
    file = save(
        tmp_path / "a.pt",
        {**state, **norm},
        {**state, **norm},
        activation_func="relu",
        is_layer_norm=True,
        activate_output=False,
    )
    hidden = functional.linear(X, state["linear.0.weight"], state["linear.0.bias"]).relu()
    hidden = functional.layer_norm(hidden, (64,), norm["linear.2.weight"], norm["linear.2.bias"])
    result = functional.linear(hidden, state["linear.3.weight"], state["linear.3.bias"])
    assert torch.equal(output(file, X), result)


def test_the_change_is_added_by_its_weight_to_inputs_of_its_width_alone(tmp_path: Path):
    keys, values = layers(0, 1), layers(0, 1, seed=20)
    networks = read_networks(save(tmp_path / "a.pt", keys, values), torch.device("cpu"))
    hypernetwork = Hypernetwork(networks, 0.5)
    assert torch.equal(hypernetwork.change(X, 1), X + 0.5 * expected(values, X, lambda x: x))
    assert hypernetwork.change(X.half(), 0).dtype == torch.float16
    other = random(1, 7, 48)
    assert hypernetwork.change(other, 0) is other


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ({"activation_func": "magic"}, "its activation function 'magic' is unknown"),
        (
            {"64": 1, "activation_func": "__class__"},
            "its activation function '__class__' is unknown",
        ),
    ],
)
def test_an_unknown_structure_is_refused(tmp_path: Path, others: dict[str, Any], reason: str):
    file = save(tmp_path / "a.pt", layers(0, 1), layers(0, 1), **others)
    with pytest.raises(BadFile, match=rf"The hypernetwork 'a\.pt' cannot be used: {reason}"):
        read_networks(file, torch.device("cpu"))


@pytest.mark.parametrize(
    "change",
    [
        {"linear.1.bias": random(48)},
        {"linear.1.weight": random(WIDTH, 48)},
        {"linear.2.weight": random(48, WIDTH), "linear.2.bias": random(48)},
        {"linear.2.weight": random(WIDTH, WIDTH)},
    ],
)
def test_layers_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, Tensor]):
    broken = {**layers(0, 1), **change}
    with pytest.raises(BadFile, match="cannot be used: its layers do not fit together"):
        read_networks(save(tmp_path / "a.pt", broken, layers(0, 1)), torch.device("cpu"))


@torch.inference_mode()
def test_attention_sees_the_changed_inputs_and_is_as_before_afterwards(tmp_path: Path):
    unet, hypernetworks = tiny_modules()[0], Hypernetworks()
    sample, context = random(1, 4, 8, 8), random_cond(3)

    def run() -> Tensor:
        return unet(sample, 10, encoder_hidden_states=context).sample

    before = run()
    first = save(tmp_path / "a.pt", layers(0, 1), layers(0, 1, seed=20))
    second = save(tmp_path / "b.pt", layers(0, 1, seed=40), layers(0, 1, seed=60))
    zero = HypernetworkUse(first, 0.0)
    with hypernetworks.apply(unet, [zero]):
        assert torch.equal(run(), before)
    with hypernetworks.apply(unet, [HypernetworkUse(first, 1.0)]):
        changed = run()
    assert not torch.allclose(changed, before)
    with hypernetworks.apply(unet, [HypernetworkUse(first, 1.0), HypernetworkUse(second, 1.0)]):
        both = run()
    with hypernetworks.apply(unet, [HypernetworkUse(second, 1.0), HypernetworkUse(first, 1.0)]):
        reversed_order = run()
    assert not torch.allclose(both, changed)
    assert not torch.equal(both, reversed_order)
    assert torch.equal(run(), before)


@torch.inference_mode()
def test_a_hypernetwork_is_read_once_and_again_when_its_file_changes(tmp_path: Path):
    unet, hypernetworks = tiny_modules()[0], Hypernetworks()
    sample, context = random(1, 4, 8, 8), random_cond(3)

    def run(file: ModelFile) -> Tensor:
        with hypernetworks.apply(unet, [HypernetworkUse(file, 1.0)]):
            return unet(sample, 10, encoder_hidden_states=context).sample

    file = save(tmp_path / "a.pt", layers(0, 1), layers(0, 1, seed=20))
    first = run(file)
    file.path.rename(tmp_path / "moved.pt")
    assert torch.equal(run(file), first)
    other = save(tmp_path / "a.pt", layers(0, 1, seed=40), layers(0, 1, seed=60))
    assert not torch.equal(run(other), first)
    with hypernetworks.apply(unet, []):
        pass
    (tmp_path / "a.pt").unlink()
    with pytest.raises(NotFound):
        run(other)
