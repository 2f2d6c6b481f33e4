"""Segments: UniFormer and UperNet against independent ones, and the colours of classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import UperNetConfig
from transformers.models.upernet.modeling_upernet import UperNetHead

from modules.backend.control.annotators.runners import RUNNERS
from modules.backend.control.annotators.segments.palettes import ADE20K, COCO, paint
from modules.backend.control.annotators.segments.uniformer import Segmenter, find_segments
from modules.core.errors import Unsupported
from modules.core.paths import Paths
from modules.images.preprocessors.table import default_preprocessor
from modules.models.index import ModelIndex
from modules.plan.units.preprocessing import plan_preprocessing
from tests.backend.control.annotator_weights import noise, seed_weights
from tests.conftest import ROOT

SKY, BUILDING = 2, 1  # among ADE20K's classes, of which wall is the first one


def test_the_network_has_the_published_names_and_shapes():
    with torch.device("meta"):
        network = Segmenter()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert shapes["backbone.patch_embed1.proj.weight"] == (64, 3, 4, 4)
    assert shapes["backbone.patch_embed3.norm.weight"] == (320,)
    assert shapes["backbone.blocks1.2.attn.weight"] == (64, 1, 5, 5)
    assert shapes["backbone.blocks2.3.mlp.fc1.weight"] == (512, 128, 1, 1)
    assert shapes["backbone.blocks3.7.attn.qkv.weight"] == (960, 320)
    assert shapes["backbone.blocks4.2.mlp.fc2.weight"] == (512, 2048)
    assert shapes["backbone.norm4.bias"] == (512,)
    assert shapes["decode_head.psp_modules.3.1.conv.weight"] == (512, 512, 1, 1)
    assert shapes["decode_head.bottleneck.conv.weight"] == (512, 2560, 3, 3)
    assert shapes["decode_head.lateral_convs.2.bn.running_mean"] == (512,)
    assert shapes["decode_head.fpn_bottleneck.conv.weight"] == (512, 2048, 3, 3)
    assert shapes["decode_head.conv_seg.weight"] == (150, 512, 1, 1)
    assert len([name for name in shapes if "blocks" in name]) == 7 * (8 + 2 * 6 - 2 + 4) + 11 * 14


@torch.inference_mode()
def test_the_network_computes_what_independent_ones_do():
    # Expected: the class UniFormer of its authors with these weights and this image, and transformers' UperNet.
    network = seed_weights(Segmenter())
    pixels = torch.from_numpy(noise(96, 128).transpose(2, 0, 1).copy())[None].float() / 64 - 2
    found = network(pixels)
    assert found.shape == (1, 150, 96, 128)
    assert found[0, [0, 75, 149], 40, 60].tolist() == pytest.approx(
        [-5.273098, -1.836401, 2.427812], abs=1e-3
    )
    features = network.backbone(pixels)
    assert [tuple(x.shape[1:]) for x in features] == [
        (64, 24, 32),
        (128, 12, 16),
        (320, 6, 8),
        (512, 3, 4),
    ]
    config = UperNetConfig(pool_scales=[1, 2, 3, 6], hidden_size=512)
    config.num_labels = 150
    with torch.device("meta"):
        head = UperNetHead(config, [64, 128, 320, 512]).eval()
    renamed = {
        name.replace(".bn.", ".batch_norm.").replace("conv_seg.", "classifier."): tensor
        for name, tensor in network.decode_head.state_dict().items()
    }
    head.load_state_dict(renamed, assign=True)
    expected = functional.interpolate(head(features), (96, 128), mode="bilinear")
    assert float((found - expected).abs().max()) < 1e-4


class Seeing(torch.nn.Module):
    """A network for which blue parts of a picture are sky and red ones a building."""

    def __init__(self) -> None:
        super().__init__()
        self.device = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[Tensor] = []

    def forward(self, pixels: Tensor) -> Tensor:
        self.seen.append(pixels)
        logits = torch.full((1, 150, *pixels.shape[2:]), -9.0)
        logits[:, SKY], logits[:, BUILDING] = pixels[:, 0], pixels[:, 2]
        return logits


@torch.inference_mode()
def test_segments_have_the_colours_of_ade20k_at_the_size_of_the_image():
    image = np.zeros((64, 128, 3), np.uint8)
    image[:, :64], image[:, 64:] = (0, 0, 255), (255, 0, 0)
    network = Seeing()
    drawn = find_segments(network, image)
    (pixels,) = network.seen
    assert pixels.shape == (1, 3, 512, 1024)  # its shorter side is 512
    assert pixels[0, :, 250, 100].tolist() == pytest.approx(
        [(255 - 123.675) / 58.395, -116.28 / 57.12, -103.53 / 57.375], abs=1e-4
    )
    assert drawn.shape == image.shape
    assert drawn[30, 20].tolist() == [6, 230, 230]
    assert drawn[30, 100].tolist() == [180, 120, 120]
    find_segments(network, np.zeros((64, 512, 3), np.uint8))
    assert network.seen[-1].shape == (1, 3, 256, 2048)  # and its longer one at most 2048


def test_each_class_has_its_colour():
    colours = paint(np.arange(150)[None], ADE20K)[0]
    assert colours.shape == (150, 3)
    assert [colours[number].tolist() for number in (0, 12, 149)] == [
        [120, 120, 120],  # a wall
        [150, 5, 61],  # a person
        [92, 0, 255],  # a flag
    ]
    # The table itself has this many: a few classes share a colour.
    assert len({tuple(colour) for colour in colours.tolist()}) == 149
    of_coco = paint(np.arange(133)[None], COCO)[0]
    assert [of_coco[number].tolist() for number in (0, 80, 119, 132)] == [
        [220, 20, 60],  # a person
        [255, 255, 128],  # a banner
        [70, 130, 180],  # the sky
        [250, 141, 255],  # a rug
    ]
    assert len({tuple(colour) for colour in of_coco.tolist()}) == 133


def test_the_file_serves_without_what_training_left_in_it(tmp_path: Path):
    models = ModelIndex.from_paths(Paths(ROOT, tmp_path))
    assert default_preprocessor("Segmentation").name == "seg_ofade20k"
    with pytest.raises(Unsupported, match=r"'seg_ufade20k' needs the file upernet_global_small.pt"):
        plan_preprocessing(models, "segmentation")
    with pytest.raises(Unsupported, match=r"cannot run the preprocessor 'seg_anime_face'. Use se"):
        plan_preprocessing(models, "anime_face_segment")
    folder = tmp_path / "models" / "ControlNet" / "annotators"
    folder.mkdir(parents=True)
    network = Segmenter().eval()
    network.decode_head.conv_seg.bias.data[SKY] = 1e4
    weights = network.state_dict() | {"auxiliary_head.conv_seg.bias": torch.zeros(150)}
    document = {"meta": {"CLASSES": ("wall", "building")}, "state_dict": weights}
    torch.save(document, folder / "upernet_global_small.pth")
    planned = plan_preprocessing(models, "segmentation")
    loaded = RUNNERS["seg_ufade20k"].load(planned.files, torch.device("cpu"))
    assert isinstance(loaded, Segmenter)
    assert float(loaded.decode_head.conv_seg.bias[SKY]) == 1e4
