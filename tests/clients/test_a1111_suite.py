"""Requests of A1111's own HTTP tests: each is answered with 200."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import pytest
from PIL import Image

TXT2IMG: dict[str, Any] = {
    "batch_size": 1,
    "cfg_scale": 7,
    "denoising_strength": 0,
    "enable_hr": False,
    "eta": 0,
    "firstphase_height": 0,
    "firstphase_width": 0,
    "height": 64,
    "n_iter": 1,
    "negative_prompt": "",
    "prompt": "example prompt",
    "restore_faces": False,
    "s_churn": 0,
    "s_noise": 1,
    "s_tmax": 0,
    "s_tmin": 0,
    "sampler_index": "Euler a",
    "seed": -1,
    "seed_resize_from_h": -1,
    "seed_resize_from_w": -1,
    "steps": 3,
    "styles": [],
    "subseed": -1,
    "subseed_strength": 0,
    "tiling": False,
    "width": 64,
}
COMPLEX = "((emphasis)), (emphasis1:1.1), [to:1], [from::2], [from:to:0.3], [alt|alt1]"


def encode_image(mode: str) -> str:
    buffer = io.BytesIO()
    Image.new(mode, (64, 64), "red").save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


RGBA, MASK = encode_image("RGBA"), encode_image("RGB")
IMG2IMG: dict[str, Any] = {
    **{k: v for k, v in TXT2IMG.items() if not k.startswith(("enable", "firstphase"))},
    "init_images": [RGBA],
    "resize_mode": 0,
    "denoising_strength": 0.75,
    "mask": None,
    "mask_blur": 4,
    "inpainting_fill": 0,
    "inpaint_full_res": False,
    "inpaint_full_res_padding": 0,
    "inpainting_mask_invert": False,
    "override_settings": {},
    "include_init_images": False,
}
EXTRAS: dict[str, Any] = {
    "resize_mode": 0,
    "show_extras_results": True,
    "gfpgan_visibility": 0,
    "codeformer_visibility": 0,
    "codeformer_weight": 0,
    "upscaling_resize": 2,
    "upscaling_resize_w": 128,
    "upscaling_resize_h": 128,
    "upscaling_crop": True,
    "upscaler_1": "Lanczos",
    "upscaler_2": "None",
    "extras_upscaler_2_visibility": 0,
    "image": MASK,
}
POSTS: dict[str, tuple[str, dict[str, Any]]] = {
    "simple": ("txt2img", TXT2IMG),
    "negative prompt": ("txt2img", {**TXT2IMG, "negative_prompt": "example negative prompt"}),
    "complex prompt": ("txt2img", {**TXT2IMG, "prompt": COMPLEX}),
    "not square": ("txt2img", {**TXT2IMG, "height": 128}),
    "hires fix without denoising": ("txt2img", {**TXT2IMG, "enable_hr": True}),
    "tiling": ("txt2img", {**TXT2IMG, "tiling": True}),
    "faces": ("txt2img", {**TXT2IMG, "restore_faces": True}),
    "PLMS": ("txt2img", {**TXT2IMG, "sampler_index": "PLMS"}),
    "DDIM": ("txt2img", {**TXT2IMG, "sampler_index": "DDIM"}),
    "UniPC": ("txt2img", {**TXT2IMG, "sampler_index": "UniPC"}),
    "several batches": ("txt2img", {**TXT2IMG, "n_iter": 2}),
    "a batch": ("txt2img", {**TXT2IMG, "batch_size": 2}),
    "img2img": ("img2img", IMG2IMG),
    "inpaint masked": ("img2img", {**IMG2IMG, "mask": MASK}),
    "inpaint not masked": ("img2img", {**IMG2IMG, "mask": MASK, "inpainting_mask_invert": True}),
    "a script": (
        "img2img",
        {**IMG2IMG, "script_name": "sd upscale", "script_args": ["", 8, "Lanczos", 2.0]},
    ),
    "extras": ("extra-single-image", EXTRAS),
    "extras, png info": ("extra-single-image", {"image": MASK}),
    "extras, interrogate": ("extra-single-image", {"image": MASK, "model": "clip"}),
}
GETS = (
    "cmd-flags",
    "samplers",
    "upscalers",
    "sd-models",
    "hypernetworks",
    "face-restorers",
    "realesrgan-models",
    "prompt-styles",
    "embeddings",
)


@pytest.fixture(scope="module")
def client(address: tuple[str, int]):
    with httpx.Client(base_url=f"http://{address[0]}:{address[1]}/sdapi/v1", timeout=60) as client:
        yield client


@pytest.mark.parametrize("name", POSTS)
def test_a_post_request_succeeds(client: httpx.Client, name: str):
    path, body = POSTS[name]
    response = client.post(f"/{path}", json=body)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("path", GETS)
def test_a_get_request_returns_a_list_or_an_object(client: httpx.Client, path: str):
    response = client.get(f"/{path}")
    assert response.status_code == 200
    assert isinstance(response.json(), list | dict)


def test_an_option_is_written_and_read_back(client: httpx.Client):
    before = client.get("/options").json()["send_seed"]
    assert client.post("/options", json={"send_seed": not before}).status_code == 200
    assert client.get("/options").json()["send_seed"] is not before
    assert client.post("/options", json={"send_seed": before}).status_code == 200
