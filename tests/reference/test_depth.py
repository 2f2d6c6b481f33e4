"""MiDaS's DPT hybrid with timm's ViT, compared with the loaded estimator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DPTForDepthEstimation

from modules.models.ldm.depth import DEPTH_PATCH_SIZE
from modules.models.ldm.names import DEPTH_PREFIX
from tests.backend.checkpoints import tiny_description
from tests.backend.checkpoints_sd2 import CHANGES, tiny_sd2_weights
from tests.models.model_files import shapes_of
from tests.reference.compare import agree, difference, load_original, prefixed, randomized

MIDAS = "ldm.modules.midas.midas."
SIDE, WIDTH, LAYERS, FEATURES = 64, 128, 4, 32  # small sizes; published are 384, 768, 12, 256


@pytest.fixture
def small_midas(original: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The original network with a small ViT; the convolutions before it have their original sizes."""
    dpt, vit, blocks = (original(MIDAS + name) for name in ("dpt_depth", "vit", "blocks"))
    channels = [256, 512, WIDTH, WIDTH]

    def encoder(backbone: str, features: int, *args: Any, **named: Any) -> tuple[Any, Any]:
        model = original("timm").create_model(
            "vit_base_r50_s16_384", img_size=SIDE, embed_dim=WIDTH, depth=LAYERS, num_heads=2
        )
        hooks = [0, 1, LAYERS * 2 // 3, LAYERS - 1]  # the same fractions as 8 and 11 of 12
        sizes = {
            "size": [SIDE, SIDE],
            "hooks": hooks,
            "vit_features": WIDTH,
            "use_readout": "project",
        }
        pretrained = vit._make_vit_b_rn50_backbone(model, features=channels, **sizes)
        return pretrained, blocks._make_scratch(channels, features)

    monkeypatch.setattr(dpt, "_make_encoder", encoder)
    return randomized(dpt.DPTDepthModel(features=FEATURES))


def estimator_of(folder: Path, midas: Any) -> DPTForDepthEstimation:
    """Return the estimator loaded with the weights of the original."""
    weights = tiny_sd2_weights(in_channels=5) | prefixed(DEPTH_PREFIX, midas)
    description = tiny_description({**CHANGES, "unet_config.params.in_channels": 5})
    estimator = load_original(folder, weights, description).depth_estimator
    assert estimator is not None
    return estimator


def depth_of(estimator: DPTForDepthEstimation, pixels: Tensor) -> Tensor:
    """Return the depth of an image of any size; transformers' own forward takes squares of one size only."""
    height, width = (side // DEPTH_PATCH_SIZE for side in pixels.shape[-2:])
    estimator.dpt.embeddings.image_size = tuple(pixels.shape[-2:])
    outputs = estimator.dpt(pixels, output_hidden_states=True)
    layers = estimator.config.backbone_out_indices[2:]
    states = [*outputs.intermediate_activations, *(outputs.hidden_states[n + 1] for n in layers)]
    return estimator.head(estimator.neck(states, height, width))


def random_pixels(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


@torch.inference_mode()
@pytest.mark.parametrize("size", [(SIDE, SIDE), (64, 96), (128, 64)])
def test_depth_agrees_with_midas(tmp_path: Path, small_midas: Any, size: tuple[int, int]):
    estimator, pixels = estimator_of(tmp_path, small_midas), random_pixels(*size)
    expected = small_midas(pixels)
    agree(depth_of(estimator, pixels), expected)
    assert difference(small_midas(-pixels), expected) > 0.01
    if size == (SIDE, SIDE):
        agree(estimator(pixels).predicted_depth, expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Mapping deprecated model name")  # MiDaS uses an old timm name
@torch.inference_mode()
def test_depth_of_the_published_size_agrees_with_midas(
    tmp_path: Path, original: Callable[[str], Any]
):
    midas = randomized(original(MIDAS + "dpt_depth").DPTDepthModel())
    assert {name: list(value.shape) for name, value in prefixed(DEPTH_PREFIX, midas).items()} == {
        name: shape
        for name, shape in shapes_of("sd2-depth").items()
        if name.startswith(DEPTH_PREFIX)
    }
    pixels = random_pixels(384, 384)
    agree(estimator_of(tmp_path, midas)(pixels).predicted_depth, midas(pixels))
