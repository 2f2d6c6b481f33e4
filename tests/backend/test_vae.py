"""The VAE against itself in float64, on the images that suffer most from rounding: those with little on them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from modules.backend.components import Precision
from modules.backend.loading.loader import load_components
from modules.backend.vae import encode_pixels, image_to_pixels
from tests.backend.checkpoints import write_checkpoint
from tests.backend.demo import ROOT

FULL = Precision(torch.float32, torch.float32, torch.float32)
SIZE = (256, 192)
RELATIVE = 1e-5


def half_black() -> Image.Image:
    image = Image.new("RGB", SIZE, "white")
    image.paste("black", (0, 0, SIZE[0] // 2, SIZE[1]))
    return image


IMAGES = {
    "black": Image.new("RGB", SIZE, "black"),
    "white": Image.new("RGB", SIZE, "white"),
    "grey": Image.new("RGB", SIZE, (127, 127, 127)),
    "orange": Image.new("RGB", SIZE, (250, 120, 3)),
    "half black": half_black(),
}


@pytest.fixture(scope="module", params=["tiny", "demo"])
def vae(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AutoencoderKL:
    path: Path = ROOT / "models" / "Stable-diffusion" / "demo" / "demo.safetensors"
    if request.param == "tiny":
        path = write_checkpoint(tmp_path_factory.mktemp("models") / "tiny.safetensors")
    return load_components(path, path.with_suffix(".yaml"), FULL).vae


@pytest.fixture(scope="module")
def exact(vae: AutoencoderKL) -> AutoencoderKL:
    return copy.deepcopy(vae).double()


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def relative_error(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).abs().max() / exact.abs().max())


@torch.inference_mode()
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("name", IMAGES)
def test_an_image_of_one_colour_is_encoded_and_decoded_exactly(
    vae: AutoencoderKL, exact: AutoencoderKL, name: str
):
    pixels = image_to_pixels(IMAGES[name])
    encoded, latents = encode_pixels(vae, pixels), encode_pixels(exact, pixels)
    decoded = [
        network.decode(latents.to(network.dtype), return_dict=False)[0] for network in (vae, exact)
    ]
    errors = relative_error(encoded, latents), relative_error(*decoded)
    print(f"relative errors: encode {errors[0]:.1e}, decode {errors[1]:.1e}")  # shown by -rP
    assert max(errors) < RELATIVE
