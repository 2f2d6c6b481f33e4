"""Inpainting, InstructPix2Pix and depth checkpoints, and SD 2.x, in txt2img."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from modules.backend import vae
from modules.backend.components import Components, Precision
from modules.backend.conditioning.concat import make_empty_concat_cond
from modules.backend.conditioning.init_image import InitImageInputs, encode_init_image
from modules.backend.hires import Upscaled, encode_upscaled
from modules.backend.loading.loader import load_components
from modules.backend.runner import Runner
from modules.core.errors import UserError
from modules.params.device_options import DeviceOptions
from modules.params.image import ImageField
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import HiresSize, Txt2ImgRequest
from modules.params.settings import Settings
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import write_checkpoint
from tests.backend.checkpoints_sd2 import write_sd2
from tests.backend.test_runner import plan_of
from tests.backend.tiny import RecordingListener

FULL = Precision(torch.float32, torch.float32, torch.float32)
SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=128, steps=2, seed=7, batch_size=2)


@pytest.mark.parametrize("in_channels", [4, 8, 9])
@pytest.mark.parametrize("cfg_scale", [1.0, 7.0])
def test_txt2img_works_for_every_unet_input(
    tokenizer: ClipTokenizer, tmp_path: Path, in_channels: int, cfg_scale: float
):
    write_sd2(tmp_path / "tiny.safetensors", in_channels)
    listener = RecordingListener()
    request = SMALL.replace(cfg_scale=cfg_scale, negative_prompt="a dog, " * 60)
    Runner(DeviceOptions(use_cpu=True), tokenizer).run(plan_of(tmp_path, request), listener)
    assert [(index, image.size) for index, image in listener.images] == [
        (0, (64, 128)),
        (1, (64, 128)),
    ]


def test_an_inpainting_unet_gets_a_mask_of_ones(tmp_path: Path):
    path = write_sd2(tmp_path / "tiny.safetensors", 9)
    components = load_components(path, path.with_suffix(".yaml"), FULL)
    with torch.inference_mode():
        concat_cond = make_empty_concat_cond(components, 64, 128)
        grey = components.vae.encode(torch.zeros(1, 3, 128, 64)).latent_dist.mean
    assert concat_cond.shape == (1, 5, 16, 8)
    assert (concat_cond[:, :1] == 1).all()
    assert torch.equal(concat_cond[:, 1:], grey * 0.18215)


@pytest.fixture(scope="module")
def inpainting(tmp_path_factory: pytest.TempPathFactory) -> Components:
    path = write_sd2(tmp_path_factory.mktemp("inpainting") / "tiny.safetensors", 9)
    return load_components(path, path.with_suffix(".yaml"), FULL)


def encode_mean(components: Components, pixels: Tensor) -> Tensor:
    return components.vae.encode(pixels).latent_dist.mean * 0.18215


@torch.inference_mode()
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_img2img_shows_an_inpainting_unet_the_image_through_the_mask(
    inpainting: Components, weight: float
):
    image = Image.radial_gradient("L").resize((64, 128)).convert("RGB")
    request = Img2ImgRequest(init_image=ImageField.from_pil(image), width=64, height=128)
    settings = Settings(inpainting_mask_weight=weight)
    concat_cond = encode_init_image(
        inpainting, InitImageInputs.from_request(request, settings), "tiny"
    ).concat_cond
    expected = encode_mean(inpainting, vae.image_to_pixels(image) * (1 - weight))
    assert (concat_cond[:, :1] == 1).all(), "without a mask all is repainted"
    assert torch.allclose(concat_cond[:, 1:], expected, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_a_hires_pass_of_latents_shows_each_decoded_image_through_the_mask(
    inpainting: Components, weight: float
):
    latents = torch.randn((2, 4, 16, 8), generator=torch.Generator().manual_seed(0))
    upscaled = Upscaled(HiresSize(64, 128, 2, 4), latents=latents)
    concat_cond = encode_upscaled(inpainting, upscaled, weight).concat_cond
    decoded = [inpainting.vae.decode(row / 0.18215).sample for row in latents.split(1)]
    expected = [encode_mean(inpainting, pixels * (1 - weight)) for pixels in decoded]
    assert concat_cond.shape == (2, 5, 12, 6)
    assert (concat_cond[:, :1] == 1).all()
    middle = torch.cat(expected)[:, :, 2:14, 1:7]
    assert torch.allclose(concat_cond[:, 1:], middle, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_a_hires_pass_of_images_shows_them_with_values_of_0_to_1_as_a1111_does(
    inpainting: Components, weight: float
):
    images = (Image.radial_gradient("L").convert("RGB"), Image.new("RGB", (256, 256), "red"))
    images = tuple(image.resize((70, 133)) for image in images)
    upscaled = Upscaled(HiresSize(70, 133), images=images)
    concat_cond = encode_upscaled(inpainting, upscaled, weight).concat_cond
    expected = [
        encode_mean(inpainting, (vae.image_to_pixels(image) + 1) / 2 * (1 - weight))
        for image in images
    ]
    assert concat_cond.shape == (2, 5, 16, 8)
    assert torch.allclose(concat_cond[:, 1:], torch.cat(expected), atol=1e-5)


@torch.inference_mode()
def test_a_hires_pass_with_all_masked_gets_grey_of_the_upscaled_size(inpainting: Components):
    images = (Image.new("RGB", (70, 133), "red"),)
    upscaled = Upscaled(HiresSize(70, 133), images=images)
    concat_cond = encode_upscaled(inpainting, upscaled, 1.0).concat_cond
    assert torch.equal(concat_cond[:, 1:], encode_mean(inpainting, torch.zeros(1, 3, 133, 70)))


@pytest.mark.parametrize("upscaler", ["Latent", "Lanczos"])
def test_the_mask_weight_changes_the_hires_images_of_an_inpainting_unet(
    tokenizer: ClipTokenizer, tmp_path: Path, upscaler: str
):
    write_sd2(tmp_path / "tiny.safetensors", 9)
    request = SMALL.replace(
        height=64, enable_hr=True, hr_upscaler=upscaler, hr_resize_x=80, hr_resize_y=64
    )
    runner = Runner(DeviceOptions(use_cpu=True), tokenizer)

    def generate(weight: float, count: int, seed: int) -> list[NDArray[np.int16]]:
        options = {"inpainting_mask_weight": weight}
        listener = RecordingListener()
        one = request.replace(override_settings=options, batch_size=count, seed=seed)
        runner.run(plan_of(tmp_path, one), listener)
        return [np.asarray(image, np.int16) for _, image in listener.images]

    first, second = generate(0.2, 2, 7)
    assert np.abs(first - generate(1.0, 1, 7)[0]).max() > 1
    alone = generate(0.2, 1, 8)[0]
    assert np.abs(second - alone).max() <= 1, "each image of a batch is shown its own"


def test_instruct_pix2pix_gets_zeros(tmp_path: Path):
    path = write_sd2(tmp_path / "tiny.safetensors", 8)
    components = load_components(path, path.with_suffix(".yaml"), FULL)
    concat_cond = make_empty_concat_cond(components, 64, 128)
    assert components.family == "InstructPix2Pix"
    assert torch.equal(concat_cond, torch.zeros(1, 4, 16, 8))


def test_an_ordinary_unet_gets_no_concat_cond(tmp_path: Path):
    path = write_checkpoint(tmp_path / "tiny.safetensors")
    assert (
        make_empty_concat_cond(load_components(path, path.with_suffix(".yaml"), FULL), 64, 64)
        is None
    )


def test_a_depth_checkpoint_is_refused_in_txt2img(tmp_path: Path):
    write_sd2(tmp_path / "tiny.safetensors", 5)
    with pytest.raises(
        UserError, match=r"'tiny\.safetensors' generates from the depth of an image"
    ):
        plan_of(tmp_path, SMALL)
