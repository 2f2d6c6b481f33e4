from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modules.backend.components import Components, Precision
from modules.backend.conditioning import depth
from modules.backend.conditioning.init_image import InitImage, InitImageInputs
from modules.backend.conditioning.init_image import encode_init_image as encode_inputs
from modules.backend.loading.layers import circular_padding
from modules.backend.loading.loader import load_components
from modules.backend.model import LoadedModel
from modules.backend.upscale.tiles import ignore_tiles
from modules.backend.vae import encode
from modules.core.errors import NotFinite, UserError
from modules.images.inpaint.canvas import Canvas
from modules.images.inpaint.overlay import Overlay
from modules.images.resize import crop_and_resize
from modules.models.upscaling.upscalers import UPSCALERS
from modules.params.image import ImageField
from modules.params.image_kinds import DEPTH, MASK
from modules.params.requests.depth import DepthRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.init_image import InitImageRequest
from modules.params.settings import Settings
from modules.plan.upscaling import PlannedUpscaler
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints_depth import tiny_estimator, write_depth
from tests.backend.checkpoints_sd2 import write_sd2
from tests.backend.tiny import tiny_components
from tests.backend.upscale.tiny_upscalers import cpu_upscalers

SETTINGS, LANCZOS = Settings(), Image.Resampling.LANCZOS
FULL = Precision(torch.float32, torch.float32, torch.float32)


def noisy(width: int = 100, height: int = 60, seed: int = 0) -> Image.Image:
    draws = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(draws)


def request_of(**changes: object) -> DepthRequest:
    image = ImageField.from_pil(noisy())
    return DepthRequest(**{"init_image": image, "width": 64, "height": 128, **changes})


def encode_init_image(components: Components, request: InitImageRequest) -> InitImage:
    return encode_inputs(components, InitImageInputs.from_request(request, SETTINGS), "d")


@pytest.fixture(scope="module")
def components(tmp_path_factory: pytest.TempPathFactory) -> Components:
    path = write_depth(tmp_path_factory.mktemp("depth") / "d.safetensors")
    return load_components(path, path.with_suffix(".yaml"), FULL)


@pytest.fixture(scope="module")
def inpainting_components(tmp_path_factory: pytest.TempPathFactory) -> Components:
    path = write_sd2(tmp_path_factory.mktemp("inpainting") / "i.safetensors", 9)
    return load_components(path, path.with_suffix(".yaml"), FULL)


@pytest.fixture(scope="module")
def without_estimator(tmp_path_factory: pytest.TempPathFactory) -> Components:
    path: Path = tmp_path_factory.mktemp("depth") / "d.safetensors"
    write_depth(path, with_estimator=False)
    return load_components(path, path.with_suffix(".yaml"), FULL)


@torch.inference_mode()
def test_an_init_image_is_cropped_encoded_and_its_depth_estimated(components: Components):
    encoded = encode_init_image(components, request_of())
    cropped = crop_and_resize(noisy(), 64, 128)
    pixels = torch.from_numpy(np.asarray(cropped).copy()).permute(2, 0, 1)[None] / 127.5 - 1
    expected = components.vae.encode(pixels).latent_dist.mean * 0.18215
    assert torch.allclose(encoded.latents, expected, atol=1e-6)
    estimated = depth.estimate(tiny_estimator(), cropped)
    assert torch.allclose(encoded.concat_cond, depth.to_concat_cond(estimated, (16, 8)), atol=1e-3)
    assert (encoded.latents.shape, encoded.concat_cond.shape) == ((1, 4, 16, 8), (1, 1, 16, 8))
    assert encoded.depth_map.size == (64, 128)


@torch.inference_mode()
def test_a_depth_map_replaces_the_estimate(components: Components, without_estimator: Components):
    ramp = Image.linear_gradient("L").rotate(90)
    request = request_of(depth_map=ImageField.from_pil(ramp))
    first, second = (
        encode_init_image(components, request),
        encode_init_image(without_estimator, request),
    )
    assert torch.equal(first.concat_cond, second.concat_cond)
    assert np.array_equal(np.asarray(first.depth_map)[0] // 8, np.arange(64) * 255 // 63 // 8)
    assert (first.concat_cond.min(), first.concat_cond.max()) == (-1, 1)


@torch.inference_mode()
def test_16_bit_depth_is_finer_than_8_bits(without_estimator: Components):
    """All values of this map round to a single 8-bit value."""
    fine = Image.fromarray((30000 + np.add.outer(np.zeros(64), np.arange(64))).astype(np.uint16))
    request = request_of(depth_map=ImageField.from_pil(fine, DEPTH), height=64)
    concat_cond = encode_init_image(without_estimator, request).concat_cond
    assert concat_cond[0, 0, 0].diff().min() > 0.2


@torch.inference_mode()
def test_depth_is_adjusted_by_the_request(without_estimator: Components):
    request = request_of(
        depth_map=ImageField.from_pil(Image.linear_gradient("L").rotate(90)), height=64
    )

    def row(**changes: object) -> torch.Tensor:
        encoded = encode_init_image(without_estimator, request.replace(**changes))
        return encoded.concat_cond[0, 0, 0]

    plain = row()
    assert torch.allclose(row(depth_invert=True), -plain, atol=1e-6)
    assert torch.allclose(row(depth_contrast=0.5), plain / 2, atol=1e-6)
    assert row(depth_near=0.5)[4:].min() == 1 and row(depth_far=0.5)[:4].max() == -1


@torch.inference_mode()
def test_without_depth_map_and_estimator_encoding_fails(without_estimator: Components):
    with pytest.raises(UserError, match=r"'d' has no depth estimator\. Provide a depth map\."):
        encode_init_image(without_estimator, request_of())


def test_soft_inpainting_compares_each_image_with_its_own_masked_content():
    image, result = noisy(64, 64), noisy(64, 64, seed=1)
    overlay = Overlay(image, (0, 0, 64, 64), Image.new("L", (64, 64), 255))
    noise = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(2))
    init_image = InitImage(
        torch.zeros(1, 4, 8, 8),
        Canvas(image, overlay=overlay),
        latent_mask=torch.ones(1, 1, 8, 8),
        masked_content=2,
    ).with_masked_content(lambda: noise)
    request = Img2ImgRequest(soft_inpainting_enabled=True)
    for row, other in ((0, 1), (1, 0)):
        of_image = init_image.of_image(row)
        unchanged, changed = (
            of_image.composite(request, SETTINGS, noise[index : index + 1], result)
            for index in (row, other)
        )
        assert unchanged.tobytes() == image.tobytes()
        assert np.abs(np.asarray(changed).astype(int) - np.asarray(result)).mean() < 5


@torch.inference_mode()
def test_the_last_init_image_is_cached(components: Components, tokenizer: ClipTokenizer):
    model = LoadedModel(components, tokenizer)
    first = model.encode_init_image(request_of(), SETTINGS, "d")
    assert model.encode_init_image(request_of(prompt="other words", seed=3), SETTINGS, "d") is first
    other = model.encode_init_image(
        request_of(init_image=ImageField.from_pil(noisy(seed=1))), SETTINGS, "d"
    )
    assert not torch.equal(other.latents, first.latents)
    assert model.encode_init_image(request_of(width=128), SETTINGS, "d").depth_map.size == (
        128,
        128,
    )


def half_mask(size: tuple[int, int] = (100, 60)) -> ImageField:
    mask = Image.new("L", size)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return ImageField.from_pil(mask, MASK)


@pytest.mark.parametrize(
    "changes",
    [
        {"tiling": True},
        {"inpainting_mask_weight": 0.5},
        {"init_image": ImageField.from_pil(noisy(seed=2))},
        {"mask": half_mask((60, 60))},
        {"latent_mask": half_mask((30, 60))},
        {"width": 128},
        {"height": 128},
        {"resize_mode": 1},
        {"resize_mode": 3},
        {"mask_blur": 0},
        {"mask_blur_y": 9},
        {"inpainting_mask_invert": True},
        {"inpainting_fill": 0},
        {"inpaint_full_res": True},
        {"inpaint_full_res_padding": 2, "inpaint_full_res": True},
        {"mask_round": False},
        {"soft_inpainting_enabled": True},
        {"outpaint_left": 32},
        {"sd_model_checkpoint": "other", "prompt": "words", "seed": 4, "denoising_strength": 0.1},
    ],
    ids=str,
)
@torch.inference_mode()
def test_a_cached_init_image_is_the_one_that_would_be_encoded(
    inpainting_components: Components, tokenizer: ClipTokenizer, changes: dict[str, object]
):
    """With 9 channels, so that the concat cond is compared, too."""
    components = inpainting_components
    options = {name: changes[name] for name in changes if name in Settings.model_fields}
    fields = {name: changes[name] for name in changes if name not in options}
    image = ImageField.from_pil(noisy())
    request = Img2ImgRequest(init_image=image, mask=half_mask(), width=64, height=64)
    one, other = (request, SETTINGS), (request.replace(**fields), SETTINGS.replace(**options))
    model = LoadedModel(components, tokenizer)
    for request, settings in (one, other, one):
        cached = model.encode_init_image(request, settings, "d")
        inputs = InitImageInputs.from_request(request, settings)
        encoded = encode_inputs(components, inputs, "d")
        assert torch.equal(cached.latents, encoded.latents)
        assert torch.equal(cached.concat_cond, encoded.concat_cond)
        assert torch.equal(cached.latent_mask, encoded.latent_mask)
        assert cached.canvas.overlay == encoded.canvas.overlay


def test_the_encoder_sees_no_field_that_is_not_compared():
    request = Img2ImgRequest(prompt="words", seed=3, denoising_strength=0.1, mask_blur=7, width=64)
    inputs = InitImageInputs.from_request(request, SETTINGS)
    assert inputs.request == Img2ImgRequest(mask_blur=7, width=64)
    assert inputs == InitImageInputs.from_request(request.replace(prompt="others"), SETTINGS)
    assert inputs != InitImageInputs.from_request(request.replace(mask_blur=8), SETTINGS)


@torch.inference_mode()
@pytest.mark.parametrize("tiling", [False, True])
def test_an_init_image_is_encoded_with_its_own_tiling(components: Components, tiling: bool):
    """Not with that of the caller, which would not be compared."""
    inputs = InitImageInputs(request_of(), 1.0, tiling)
    with circular_padding(components.vae, enabled=not tiling):
        within = encode_inputs(components, inputs, "d").latents
    assert torch.equal(within, encode_inputs(components, inputs, "d").latents)
    other = encode_inputs(components, replace(inputs, tiling=not tiling), "d").latents
    assert (within - other).abs().max() > 1e-3


@torch.inference_mode()
def test_previews_do_not_depend_on_the_tiling_of_the_first_job(tokenizer: ClipTokenizer):
    components = tiny_components()
    latents = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    tiled, plain = LoadedModel(components, tokenizer), LoadedModel(components, tokenizer)
    with circular_padding(components.vae, enabled=True):
        preview = tiled.latent_to_rgb(latents)
    assert preview.tobytes() == plain.latent_to_rgb(latents).tobytes()


@torch.inference_mode()
@pytest.mark.parametrize("size", [(64, 64), (96, 64), (64, 128)])
@pytest.mark.parametrize("image_size", [(96, 64), (61, 103), (8, 8), (15, 40), (200, 9), (3, 90)])
def test_latents_are_resized_instead_of_the_image(
    inpainting_components: Components, image_size: tuple[int, int], size: tuple[int, int]
):
    """A1111's "latent upscale": encoded at the image's size, interpolated, upwards and downwards alike."""
    components = inpainting_components
    request = Img2ImgRequest(
        init_image=ImageField.from_pil(noisy(*image_size)),
        resize_mode=3,
        width=size[0],
        height=size[1],
    )
    encoded = encode_init_image(components, request)
    width, height = max(image_size[0], 8), max(image_size[1], 8)
    own = encode(components.vae, noisy(*image_size).resize((width, height), LANCZOS))
    assert own.shape == (1, 4, height // 8, width // 8)
    rows, columns = size[1] // 8, size[0] // 8
    expected = torch.nn.functional.interpolate(own, size=(rows, columns), mode="bilinear")
    assert torch.equal(encoded.latents, expected)
    assert encoded.concat_cond.shape == (1, 5, rows, columns)


@torch.inference_mode()
def test_a_vae_that_overflows_is_reported():
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


@torch.inference_mode()
@pytest.mark.parametrize("resize_mode", [0, 1, 2])
def test_an_init_image_is_enlarged_by_the_chosen_upscaler(components: Components, resize_mode: int):
    image = noisy(40, 32)
    request = Img2ImgRequest(
        init_image=ImageField.from_pil(image), width=80, height=64, resize_mode=resize_mode
    )
    sharp = PlannedUpscaler(UPSCALERS.get("Nearest"))
    inputs = InitImageInputs.from_request(request, SETTINGS, sharp)
    scale = cpu_upscalers().stretch_by(sharp, ignore_tiles)
    canvas = encode_inputs(components, inputs, "d", scale).canvas
    assert canvas.image.tobytes() == image.resize((80, 64), Image.Resampling.NEAREST).tobytes()
