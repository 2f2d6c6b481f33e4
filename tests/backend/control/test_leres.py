"""LeReS: the network against the published one, and what it sees and draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from modules.backend.control.annotators.leres import (
    Leres,
    draw_depth,
    estimate_depth,
    rename_key,
)
from modules.core.errors import Unsupported
from modules.core.paths import Paths
from modules.models.index import ModelIndex
from modules.plan.units.preprocessing import plan_preprocessing
from tests.backend.control.annotator_weights import noise, seed_weights
from tests.conftest import ROOT


def test_the_network_has_the_published_names_and_shapes():
    with torch.device("meta"):
        network = Leres()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    encoder, decoder = "encoder_modules.encoder.", "decoder_modules."
    assert shapes[encoder + "conv1.weight"] == (64, 3, 7, 7)
    assert shapes[encoder + "layer1.0.conv1.weight"] == (256, 64, 1, 1)
    assert shapes[encoder + "layer1.0.conv2.weight"] == (256, 8, 3, 3)
    assert shapes[encoder + "layer1.0.downsample.1.running_mean"] == (256,)
    assert shapes[encoder + "layer3.22.conv2.weight"] == (1024, 32, 3, 3)
    assert shapes[encoder + "layer4.0.downsample.0.weight"] == (2048, 1024, 1, 1)
    assert shapes[encoder + "layer4.2.conv3.weight"] == (2048, 2048, 1, 1)
    assert shapes[decoder + "conv.conv1.weight"] == (512, 2048, 3, 3)
    assert shapes[decoder + "conv.conv_branch.2.weight"] == (512,)
    assert shapes[decoder + "conv1.weight"] == (256, 512, 3, 3)
    assert shapes[decoder + "ffm2.ftb1.conv1.weight"] == (256, 1024, 3, 3)
    assert shapes[decoder + "ffm0.ftb2.conv_branch.4.bias"] == (256,)
    assert shapes[decoder + "outconv.adapt_conv.0.weight"] == (128, 256, 3, 3)
    assert shapes[decoder + "outconv.adapt_conv.3.weight"] == (1, 128, 3, 3)
    transfer = 3 * 2 + 5
    assert (
        len([name for name in shapes if name.startswith(decoder)]) == 7 * transfer + 2 + 2 + 5 + 2
    )
    assert len([name for name in shapes if name.startswith(encoder)]) == 6 + 33 * 18 + 4 * 6
    for wrapper in ("depth_model.module.depth_model.", "depth_model.depth_model.", ""):
        assert rename_key(wrapper + decoder + "conv1.weight") == "decoder_modules.conv1.weight"
        assert rename_key(wrapper + encoder + "bn1.bias") == "encoder_modules.encoder.bn1.bias"


@torch.inference_mode()
def test_the_network_computes_what_the_published_one_does():
    # Expected: the class RelDepthModel in controlnet_aux 0.0.10 with these weights and this image.
    network = seed_weights(Leres())
    pixels = torch.from_numpy(noise(64, 96).transpose(2, 0, 1).copy())[None].float() / 64 - 2
    depth = network(pixels)
    assert depth.shape == (1, 1, 64, 96)
    assert depth[0, 0, [3, 40], [90, 60]].tolist() == pytest.approx([60104860, 74254072], rel=1e-4)


def test_near_is_white_and_both_ends_are_cut_off():
    depth = np.linspace(3, 5, 101, dtype=np.float32)[None]
    plain = draw_depth(depth, 0, 0)
    assert plain.shape == (1, 101, 3)
    assert plain[0, [0, 20, 50, 100], 0].tolist() == [255, 204, 128, 0]
    cut = draw_depth(depth, 25, 40)
    assert cut[0, [0, 20, 30, 55, 70, 100], 1].tolist() == [255, 255, 179, 115, 0, 0]
    assert draw_depth(np.ones((2, 2), np.float32), 0, 0).min() == 255


@torch.inference_mode()
def test_the_image_is_seen_as_the_extension_shows_it(tmp_path: Path):
    class Seeing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.device = nn.Parameter(torch.zeros(1))

        def forward(self, pixels: Tensor) -> Tensor:
            self.seen = pixels
            return pixels[:, :1]

    image = np.zeros((64, 128, 3), np.uint8)
    image[:] = (255, 0, 51)
    network = Seeing()
    depth = estimate_depth(network, image)
    assert network.seen[0, :, 5, 5].tolist() == pytest.approx(  # blue first
        [(51 - 0.485) / 0.229, -0.456 / 0.224, (255 - 0.406) / 0.225], rel=1e-5
    )
    assert depth.shape == (64, 128)
    models = ModelIndex.from_paths(Paths(ROOT, tmp_path))
    with pytest.raises(
        Unsupported,
        match=r"'depth_leres' needs the file res101.pth. Put it from huggingface.co/lllyasviel/Anno",
    ):
        plan_preprocessing(models, "depth_leres")
    with pytest.raises(Unsupported, match=r"cannot run the preprocessor 'depth_leres\+\+'. Use d"):
        plan_preprocessing(models, "depth_leres++")
