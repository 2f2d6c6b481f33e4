"""HED and PiDiNet against their definitions, with files in the published layout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from modules.backend.control.annotators.soft_edges import (
    Hed,
    PiDiNet,
    _DifferenceConv,
    find_hed_edges,
    find_pidinet_edges,
    to_scribble,
)
from modules.images.preprocessors.sizes import Pixels


def seeded(network: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        fan = max(1, parameter[0].numel() if parameter.ndim > 1 else 4)
        parameter.data = torch.randn(parameter.shape, generator=generator) / fan**0.5
    return network.eval()


def noisy(height: int, width: int) -> Pixels:
    return np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8)


def test_hed_has_the_published_names_and_shapes():
    shapes = {name: tuple(tensor.shape) for name, tensor in Hed().state_dict().items()}
    assert shapes["norm"] == (1, 3, 1, 1)
    assert shapes["block1.convs.0.weight"] == (64, 3, 3, 3)
    assert shapes["block4.convs.2.weight"] == (512, 512, 3, 3)
    assert shapes["block5.projection.weight"] == (1, 512, 1, 1)
    assert len(shapes) == 1 + 2 * 13 + 2 * 5


@torch.inference_mode()
def test_hed_is_the_mean_of_the_edges_at_five_sizes():
    network, image = seeded(Hed()), noisy(64, 96)
    weights: dict[str, Tensor] = network.state_dict()
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() - weights["norm"]
    total = torch.zeros(1, 1, 64, 96)
    for block, count in ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3)):
        x = x if block == 1 else functional.max_pool2d(x, 2, 2)
        for number in range(count):
            name = f"block{block}.convs.{number}."
            x = functional.conv2d(
                x, weights[name + "weight"], weights[name + "bias"], padding=1
            ).relu()
        name = f"block{block}.projection."
        edge = functional.conv2d(x, weights[name + "weight"], weights[name + "bias"])
        total += functional.interpolate(edge, (64, 96), mode="bilinear", align_corners=False) / 5
    expected = (total[0, 0].sigmoid() * 255).numpy()
    found = find_hed_edges(network, image)
    assert found.shape == (64, 96, 3)
    assert np.abs(found[:, :, 0] - expected).max() <= 1.01
    steps = find_hed_edges(network, image, is_safe=True)
    assert set(np.unique(steps)) <= {0, 127, 255}


def slowly(kind: str, x: Tensor, kernel: Tensor) -> Tensor:
    """Return the differences that a pixel in the middle of x sees, one after another."""
    row, column = x.shape[0] // 2, x.shape[1] // 2
    ring = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]  # clockwise
    total = torch.zeros(())
    for index, (down, right) in enumerate(ring):
        here = x[row + down, column + right]
        weight = kernel[1 + down, 1 + right]
        before = ring[index + 1 - len(ring)]
        if kind == "central":
            total += weight * (here - x[row, column])
        elif kind == "radial":
            total += weight * (x[row + 2 * down, column + 2 * right] - here)
        else:
            total += weight * (here - x[row + before[0], column + before[1]])
    return total


@pytest.mark.parametrize("kind", ["central", "angular"])
def test_a_difference_convolution_sees_differences(kind: str):
    generator = torch.Generator().manual_seed(3)
    x, kernel = torch.randn(7, 7, generator=generator), torch.randn(3, 3, generator=generator)
    layer = _DifferenceConv(kind, 1, 1, 1)
    layer.weight.data = kernel.view(1, 1, 3, 3)
    found = layer(x.view(1, 1, 7, 7))[0, 0, 3, 3]
    assert float(found.detach()) == pytest.approx(float(slowly(kind, x, kernel)), abs=1e-5)


def test_a_radial_convolution_sees_the_outer_ring_minus_the_inner_one():
    generator = torch.Generator().manual_seed(3)
    x, kernel = torch.randn(7, 7, generator=generator), torch.randn(3, 3, generator=generator)
    layer = _DifferenceConv("radial", 1, 1, 1)
    layer.weight.data = kernel.view(1, 1, 3, 3)
    outer = [(-2, -2), (-2, 0), (-2, 2), (0, -2), (0, 2), (2, -2), (2, 0), (2, 2)]
    expected = sum(
        float(
            kernel.flatten()[number] * (x[3 + down, 3 + right] - x[3 + down // 2, 3 + right // 2])
        )
        for number, (down, right) in enumerate(outer, 1)
    )
    assert float(layer(x.view(1, 1, 7, 7))[0, 0, 3, 3].detach()) == pytest.approx(
        expected, abs=1e-5
    )


def test_differences_of_a_plain_area_are_none():
    for kind in ("central", "angular", "radial"):
        layer = _DifferenceConv(kind, 1, 1, 1)
        layer.weight.data = torch.randn(1, 1, 3, 3, generator=torch.Generator().manual_seed(1))
        assert abs(float(layer(torch.full((1, 1, 9, 9), 5.0))[0, 0, 4, 4].detach())) < 1e-5


def test_pidinet_has_the_published_names_and_shapes():
    shapes = {name: tuple(tensor.shape) for name, tensor in PiDiNet().state_dict().items()}
    assert shapes["init_block.weight"] == (60, 3, 3, 3)
    assert shapes["block1_3.conv1.weight"] == (60, 1, 3, 3)
    assert shapes["block2_1.shortcut.bias"] == (120,)
    assert shapes["block4_4.conv2.weight"] == (240, 240, 1, 1)
    assert shapes["dilations.3.conv2_4.weight"] == (24, 24, 3, 3)
    assert shapes["attentions.0.conv2.weight"] == (1, 4, 3, 3)
    assert shapes["conv_reduces.2.conv.weight"] == (1, 24, 1, 1)
    assert "block1_4.conv1.weight" not in shapes
    blocks = 15 * 2 + 3 * 2
    assert len(shapes) == 1 + blocks + 4 * (6 + 3 + 2) + 2


@torch.inference_mode()
def test_pidinet_sees_blue_first_and_draws_sketches_in_two_values():
    network, image = seeded(PiDiNet()), noisy(64, 64)
    pixels = torch.from_numpy(np.ascontiguousarray(image[:, :, ::-1])).permute(2, 0, 1)[None] / 255
    expected = (network(pixels) * 255).numpy()
    assert np.abs(find_pidinet_edges(network, image)[:, :, 0] - expected).max() <= 1.01
    sketch = find_pidinet_edges(network, image, is_sketch=True)[:, :, 0]
    assert np.array_equal(sketch, np.where(expected > 127.5, 255, 0))


def test_a_scribble_follows_the_ridge_of_soft_edges():
    across = 255 * np.exp(-((np.arange(64) - 30.0) ** 2) / 50)
    edges = np.tile(across, (64, 1)).astype(np.uint8)[:, :, None].repeat(3, 2)
    scribble = to_scribble(edges)[32, :, 0]
    drawn = np.flatnonzero(scribble)
    assert drawn.min() >= 16
    assert drawn.max() <= 44
    assert scribble[30] == 255
