"""Normals of Bae et al.: the network against the published one, and what it sees and draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from modules.backend.control.annotators.normal_bae import NormalBae, draw_normals
from modules.backend.control.annotators.runners import RUNNERS
from modules.core.errors import Unsupported
from modules.core.paths import Paths
from modules.images.preprocessors.table import default_preprocessor
from modules.models.index import ModelIndex
from modules.plan.units.preprocessing import plan_preprocessing
from tests.backend.control.annotator_weights import noise, seed_weights
from tests.conftest import ROOT


def test_the_network_has_the_published_names_and_shapes():
    with torch.device("meta"):
        network = NormalBae()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    encoder, decoder = "encoder.original_model.", "decoder."
    assert shapes[encoder + "conv_stem.weight"] == (48, 3, 3, 3)
    assert shapes[encoder + "blocks.0.0.conv_pw.weight"] == (24, 48, 1, 1)
    assert shapes[encoder + "blocks.0.2.se.conv_reduce.weight"] == (6, 24, 1, 1)
    assert shapes[encoder + "blocks.1.0.conv_dw.weight"] == (144, 1, 3, 3)
    assert shapes[encoder + "blocks.3.6.conv_pwl.weight"] == (128, 768, 1, 1)
    assert shapes[encoder + "blocks.5.8.conv_dw.weight"] == (1824, 1, 5, 5)
    assert shapes[encoder + "blocks.6.2.se.conv_expand.weight"] == (3072, 128, 1, 1)
    assert shapes[encoder + "blocks.6.2.bn3.running_var"] == (512,)
    assert shapes[encoder + "conv_head.weight"] == (2048, 512, 1, 1)
    assert shapes[decoder + "conv2.weight"] == (2048, 2048, 1, 1)
    assert shapes[decoder + "up1._net.0.weight"] == (1024, 2048 + 176, 3, 3)
    assert shapes[decoder + "up4._net.3.weight"] == (128, 128, 3, 3)
    assert shapes[decoder + "out_conv_res8.weight"] == (4, 512, 3, 3)
    assert shapes[decoder + "out_conv_res4.0.weight"] == (128, 516, 1)
    assert shapes[decoder + "out_conv_res1.6.bias"] == (4,)
    norm = 5  # tensors
    blocks = 3 * (2 + 2 * norm + 4) + 36 * (3 + 3 * norm + 4)
    assert len([name for name in shapes if "blocks" in name]) == blocks
    assert len(shapes) == blocks + 1 + norm + 1 + 2 + 4 * (4 + 2 * norm) + 2 + 3 * 8


@torch.inference_mode()
def test_the_network_computes_what_the_published_one_does():
    # Expected: the class NNET in controlnet_aux 0.0.10 with these weights and this image. With random weights a
    # rounding error of 32 bits grows to the size of the normals, so both compute in 64.
    network = seed_weights(NormalBae()).double()
    pixels = torch.from_numpy(noise(64, 96).transpose(2, 0, 1).copy())[None].double() / 64 - 2
    normals = network(pixels)
    assert normals.shape == (1, 3, 64, 96)
    assert normals.norm(dim=1).sub(1).abs().max() < 1e-5
    assert normals[0, :, 40, 60].tolist() == pytest.approx(
        [0.930788, -0.352224, -0.097839], abs=1e-5
    )
    assert normals[0, :, 3, 90].tolist() == pytest.approx([0.961627, 0.050234, -0.269721], abs=1e-5)


@torch.inference_mode()
def test_the_image_is_seen_with_red_first_and_normals_become_colours():
    class Seeing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.device = nn.Parameter(torch.zeros(1))

        def forward(self, pixels: Tensor) -> Tensor:
            self.seen = pixels
            return torch.tensor([-1.0, 0.0, 0.5])[None, :, None, None].expand(pixels.shape)

    image = np.zeros((64, 128, 3), np.uint8)
    image[:] = (255, 0, 51)
    network = Seeing()
    drawn = draw_normals(network, image)
    assert network.seen[0, :, 5, 5].tolist() == pytest.approx(
        [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225], abs=1e-5
    )
    assert drawn.shape == image.shape
    assert drawn[9, 9].tolist() == [0, 127, 191]


def test_the_file_serves_with_the_wrappers_of_its_training(tmp_path: Path):
    models = ModelIndex.from_paths(Paths(ROOT, tmp_path))
    assert default_preprocessor("NormalMap").name == "normal_bae"
    with pytest.raises(
        Unsupported,
        match=r"'normal_bae' needs the file scannet.pt. Put it from huggingface.co/lllyasviel/Annotators into",
    ):
        plan_preprocessing(models, "normal_bae")
    folder = tmp_path / "models" / "ControlNet" / "annotators"
    folder.mkdir(parents=True)
    with torch.device("meta"):
        network = NormalBae()
    weights = {
        f"module.{name}": torch.zeros(tensor.shape, dtype=torch.float16)
        for name, tensor in network.state_dict().items()
    }
    weights["module.decoder.conv2.bias"][7] = 3
    weights["module.encoder.original_model.bn2.weight"] = torch.zeros(2048)
    torch.save({"model": weights, "iter": 5}, folder / "scannet.pt")
    planned = plan_preprocessing(models, "normal_bae")
    loaded = RUNNERS["normal_bae"].load(planned.files, torch.device("cpu"))
    assert isinstance(loaded, NormalBae)
    assert loaded.decoder.conv2.bias[7] == 3
