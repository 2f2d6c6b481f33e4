from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close
from transformers import DPTForDepthEstimation

from modules.backend.conditioning import depth
from modules.params.image_kinds import to_depth
from tests.backend.checkpoints_depth import tiny_config, tiny_estimator
from tests.tolerance import assert_alike, rounding


def noisy(width: int, height: int) -> Image.Image:
    draws = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(draws)


def plain(image: Image.Image, width: int, height: int) -> Tensor:
    """Return the depth computed step by step from the estimator's modules, with interpolated position embeddings."""
    estimator = tiny_estimator()
    x = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 255
    x = functional.interpolate(x, size=(height, width), mode="bicubic", align_corners=False)
    embedded = estimator.dpt.embeddings((x - 0.5) / 0.5, interpolate_pos_encoding=True)
    hidden, states = embedded.last_hidden_states, list(embedded.intermediate_activations)
    for number, layer in enumerate(estimator.dpt.encoder.layer):
        hidden = layer(hidden)
        states += [hidden] if number in estimator.config.backbone_out_indices[2:] else []
    return estimator.head(estimator.neck(states, height // 16, width // 16))


@pytest.mark.parametrize(
    ("size", "input_size"),
    [
        ((512, 512), (384, 384)),
        ((640, 480), (512, 384)),  # larger than 384: the shorter side becomes 384
        ((480, 640), (384, 512)),
        ((128, 256), (192, 384)),  # smaller: the longer side does
        ((384, 384), (384, 384)),
        ((256, 512), (192, 384)),  # one smaller, one larger: whichever changes less
        ((4096, 8), (384, 32)),
    ],
)
def test_the_aspect_ratio_is_preserved_as_in_midas(
    size: tuple[int, int], input_size: tuple[int, int]
):
    assert depth.estimator_input_size(*size, 384) == input_size


@pytest.mark.parametrize(
    ("size", "input_size"), [((64, 64), (64, 64)), ((160, 80), (128, 64)), ((70, 200), (64, 192))]
)
@torch.inference_mode()
def test_the_estimate_equals_a_plain_calculation(
    size: tuple[int, int], input_size: tuple[int, int]
):
    estimator = tiny_estimator()
    estimated = depth.estimate(estimator, noisy(*size))
    assert estimated.shape == (1, input_size[1], input_size[0])
    assert_alike(estimated, plain(noisy(*size), *input_size), rounding(estimator))


@torch.inference_mode()
def test_an_estimate_leaves_the_estimator_unchanged():
    estimator = tiny_estimator()
    before = estimator(torch.zeros(1, 3, 64, 64)).predicted_depth
    depth.estimate(estimator, noisy(160, 80))
    assert estimator.dpt.embeddings.image_size == (64, 64)
    assert torch.equal(estimator(torch.zeros(1, 3, 64, 64)).predicted_depth, before)


@torch.inference_mode()
def test_a_failed_estimate_leaves_the_estimator_unchanged():
    estimator = DPTForDepthEstimation(tiny_config()).eval()
    good, bad = estimator.neck.convs, torch.nn.ModuleList(torch.nn.Identity() for _ in range(4))
    estimator.neck.convs = bad
    with pytest.raises(RuntimeError):
        depth.estimate(estimator, noisy(160, 80))
    estimator.neck.convs = good
    assert estimator(torch.zeros(1, 3, 64, 64)).predicted_depth.shape == (1, 64, 64)


def test_the_concat_cond_increases_from_far_to_near():
    ramp = torch.linspace(3, 11, 64).expand(1, 64, 64)
    concat_cond = depth.to_concat_cond(ramp, (8, 16))
    assert concat_cond.shape == (1, 1, 8, 16)
    assert concat_cond.min() == -1
    assert concat_cond.max() == 1
    assert (concat_cond.diff(dim=3) > 0).all(), "large values are near"
    small = functional.interpolate(ramp[None], size=(8, 16), mode="bicubic", align_corners=False)
    assert_close(concat_cond, (small - small.min()) / (small.max() - small.min()) * 2 - 1)


@pytest.mark.parametrize("value", [0.0, 0.3, 7.0])
def test_a_plane_is_neither_near_nor_far(value: float):
    flat = torch.full((1, 64, 64), value)
    assert torch.equal(depth.to_concat_cond(flat, (8, 8)), torch.zeros(1, 1, 8, 8))
    assert depth.to_depth_map(flat, 64, 64).getextrema() == (0, 0)


def test_a_depth_map_is_white_where_near_and_can_be_used_as_input():
    ramp = torch.linspace(-5, 20, 64).expand(1, 64, 64)
    depth_map = depth.to_depth_map(ramp, 64, 64)
    assert (depth_map.mode, depth_map.size) == ("L", (64, 64))
    assert (depth_map.getpixel((0, 5)), depth_map.getpixel((63, 5))) == (0, 255)
    reread = depth.to_concat_cond(depth.from_depth_map(to_depth(depth_map), 64, 64), (8, 8))
    assert_close(reread, depth.to_concat_cond(ramp, (8, 8)), atol=0.02, rtol=0)


def test_a_depth_map_has_the_size_of_the_image():
    assert depth.to_depth_map(
        torch.rand(1, 64, 128, generator=torch.Generator().manual_seed(0)), 200, 104
    ).size == (200, 104)
