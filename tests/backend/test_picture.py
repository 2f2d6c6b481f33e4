from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modules.backend import depth
from modules.backend.cache import LoadedModel
from modules.backend.loader import Components, Precision, load
from modules.backend.picture import look
from modules.backend.vae import encode
from modules.core.errors import NotFinite, UserError
from modules.images.resize import crop_and_resize
from modules.params.image import ImageField
from modules.params.image_kinds import DEPTH
from modules.params.requests.depth import DepthRequest
from modules.params.settings import Settings
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints_depth import tiny_estimator, write_depth
from tests.backend.tiny import tiny_components

SETTINGS = Settings()
FULL = Precision(torch.float32, torch.float32, torch.float32)


def noisy(width: int = 100, height: int = 60, seed: int = 0) -> Image.Image:
    draws = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(draws)


def request_of(**changes: object) -> DepthRequest:
    picture = ImageField.from_pil(noisy())
    return DepthRequest(**{"init_image": picture, "width": 64, "height": 128, **changes})


@pytest.fixture(scope="module")
def components(tmp_path_factory: pytest.TempPathFactory) -> Components:
    path = write_depth(tmp_path_factory.mktemp("depth") / "d.safetensors")
    return load(path, path.with_suffix(".yaml"), FULL)


@pytest.fixture(scope="module")
def without_estimator(tmp_path_factory: pytest.TempPathFactory) -> Components:
    path: Path = tmp_path_factory.mktemp("depth") / "d.safetensors"
    write_depth(path, with_estimator=False)
    return load(path, path.with_suffix(".yaml"), FULL)


@torch.inference_mode()
def test_a_picture_is_cut_encoded_and_its_depth_estimated(components: Components):
    seen = look(components, request_of(), SETTINGS, "d")
    cut = crop_and_resize(noisy(), 64, 128)
    pixels = torch.from_numpy(np.asarray(cut).copy()).permute(2, 0, 1)[None] / 127.5 - 1
    expected = components.vae.encode(pixels).latent_dist.mean * 0.18215
    assert torch.allclose(seen.latents, expected, atol=1e-6)
    estimated = depth.estimate(tiny_estimator(), cut)
    assert torch.allclose(seen.beside, depth.as_channel(estimated, 64, 128), atol=1e-3)
    assert (seen.latents.shape, seen.beside.shape) == ((1, 4, 16, 8), (1, 1, 16, 8))
    assert seen.depth_map.size == (64, 128)


@torch.inference_mode()
def test_a_given_map_is_taken_rather_than_an_estimate(
    components: Components, without_estimator: Components
):
    ramp = Image.linear_gradient("L").rotate(90)
    request = request_of(depth_map=ImageField.from_pil(ramp))
    first, second = (
        look(components, request, SETTINGS, "d"),
        look(without_estimator, request, SETTINGS, "d"),
    )
    assert torch.equal(first.beside, second.beside)
    assert np.array_equal(np.asarray(first.depth_map)[0] // 8, np.arange(64) * 255 // 63 // 8)
    assert (first.beside.min(), first.beside.max()) == (-1, 1)


@torch.inference_mode()
def test_depth_of_16_bits_is_finer_than_256_levels(without_estimator: Components):
    """All of this map lies within one level of 8 bits."""
    fine = Image.fromarray((30000 + np.add.outer(np.zeros(64), np.arange(64))).astype(np.uint16))
    request = request_of(depth_map=ImageField.from_pil(fine, DEPTH), height=64)
    beside = look(without_estimator, request, SETTINGS, "d").beside
    assert beside[0, 0, 0].diff().min() > 0.2


@torch.inference_mode()
def test_depth_is_adjusted_as_asked(without_estimator: Components):
    request = request_of(
        depth_map=ImageField.from_pil(Image.linear_gradient("L").rotate(90)), height=64
    )

    def row(**changes: object) -> torch.Tensor:
        return look(without_estimator, request.replace(**changes), SETTINGS, "d").beside[0, 0, 0]

    plain = row()
    assert torch.allclose(row(depth_invert=True), -plain, atol=1e-6)
    assert torch.allclose(row(depth_contrast=0.5), plain / 2, atol=1e-6)
    assert row(depth_near=0.5)[4:].min() == 1 and row(depth_far=0.5)[:4].max() == -1


@torch.inference_mode()
def test_without_map_and_estimator_there_is_no_depth(without_estimator: Components):
    with pytest.raises(UserError, match=r"'d' carries no depth estimator\. Give a depth map\."):
        look(without_estimator, request_of(), SETTINGS, "d")


@torch.inference_mode()
def test_the_last_picture_is_remembered(components: Components, tokenizer: ClipTokenizer):
    model = LoadedModel(components, tokenizer)
    first = model.see(request_of(), SETTINGS, "d")
    assert model.see(request_of(prompt="other words", seed=3), SETTINGS, "d") is first
    other = model.see(request_of(init_image=ImageField.from_pil(noisy(seed=1))), SETTINGS, "d")
    assert not torch.equal(other.latents, first.latents)
    assert model.see(request_of(width=128), SETTINGS, "d").depth_map.size == (128, 128)


@torch.inference_mode()
def test_a_vae_that_overflows_is_told():
    components = tiny_components(seed=5)
    with torch.no_grad():
        weight = components.vae.encoder.conv_in.weight
        before = weight.clone()
        weight.fill_(torch.inf)
    try:
        with pytest.raises(NotFinite, match="cannot be repainted"):
            encode(components.vae, noisy(64, 64))
    finally:
        weight.copy_(before)
