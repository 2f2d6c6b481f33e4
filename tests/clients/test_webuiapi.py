"""webuiapi, the Python client on PyPI, against a running server."""

from __future__ import annotations

import threading

import pytest
from PIL import Image, ImageChops

webuiapi = pytest.importorskip("webuiapi")

SMALL = {"width": 64, "height": 64, "steps": 2, "seed": 7, "sampler_name": "Euler a"}


@pytest.fixture(scope="module")
def api(address: tuple[str, int]):
    return webuiapi.WebUIApi(host=address[0], port=address[1])


@pytest.fixture(scope="module")
def image(api) -> Image.Image:
    return api.txt2img(prompt="a red circle", **SMALL).image


def test_txt2img(api):
    result = api.txt2img(prompt="a red circle", negative_prompt="blue", batch_size=2, **SMALL)
    assert [image.size for image in result.images] == [(64, 64)] * 2
    assert result.info["all_seeds"] == [7, 8]
    assert result.info["infotexts"][0].startswith(
        "a red circle\nNegative prompt: blue\nSteps: 2, Sampler: Euler a"
    )


def test_txt2img_with_hires_fix(api):
    result = api.txt2img(
        prompt="a red circle", enable_hr=True, hr_scale=2, denoising_strength=0.5, **SMALL
    )
    assert result.image.size == (128, 128)


def test_img2img(api, image: Image.Image):
    result = api.img2img(images=[image], prompt="a blue circle", denoising_strength=0.5, **SMALL)
    assert result.image.size == (64, 64)
    assert ImageChops.difference(result.image.convert("RGB"), image.convert("RGB")).getbbox()


def test_inpainting(api, image: Image.Image):
    mask = Image.new("L", image.size)
    mask.paste(255, (0, 0, 32, 64))
    result = api.img2img(
        images=[image],
        mask_image=mask,
        prompt="green",
        inpainting_fill=1,
        mask_blur=0,
        inpaint_full_res=False,
        denoising_strength=0.75,
        **SMALL,
    )
    difference = ImageChops.difference(result.image.convert("RGB"), image.convert("RGB"))
    box = difference.getbbox()
    assert box is not None and box[2] <= 32, "what is not masked is unchanged"


def test_extras(api, image: Image.Image):
    single = api.extra_single_image(
        image=image, upscaler_1=webuiapi.Upscaler.Lanczos, upscaling_resize=2
    )
    assert single.image.size == (128, 128)
    batch = api.extra_batch_images(images=[image] * 2, upscaler_1="Nearest", upscaling_resize=1.5)
    assert [image.size for image in batch.images] == [(96, 96)] * 2


def test_png_info(api, image: Image.Image):
    assert api.png_info(image).info.startswith("a red circle\nSteps: 2, Sampler: Euler a")


def test_options(api):
    before = api.get_options()["send_seed"]
    api.set_options({"send_seed": not before})
    assert api.get_options()["send_seed"] is not before
    api.set_options(api.get_options())
    api.set_options({"send_seed": before})


def test_models(api):
    first = api.util_get_current_model()
    assert first in api.util_get_model_names()
    api.util_set_model("demo-v2")
    assert "demo-v2" in api.util_get_current_model()
    api.util_set_model(first, find_closest=False)
    assert api.util_get_current_model() == first


def test_lists(api):
    assert "Euler a" in api.util_get_sampler_names()
    assert "karras" in api.util_get_scheduler_names()
    assert "Lanczos" in [row["name"] for row in api.get_upscalers()]
    assert "Latent" in [row["name"] for row in api.get_latent_upscale_modes()]
    assert api.get_hypernetworks() == []
    assert [row["name"] for row in api.get_face_restorers()] == ["CodeFormer", "GFPGAN"]
    assert [row["name"] for row in api.get_realesrgan_models()] == ["R-ESRGAN AnimeVideo"]
    assert [row["name"] for row in api.get_loras()] == ["demo-snow"]
    assert api.get_embeddings()["loaded"] == {}
    assert api.get_prompt_styles() == []
    assert api.get_sd_vae() == []
    assert set(api.get_scripts()) == {"txt2img", "img2img"}
    assert api.get_memory()["ram"]["total"] > 0
    assert api.get_cmd_flags()["nowebui"] is True
    assert api.refresh_checkpoints() is None


def test_progress_and_interrupt(api):
    answers = []
    long = {**SMALL, "steps": 1000}
    caller = threading.Thread(
        target=lambda: answers.append(api.txt2img(prompt="long", n_iter=3, **long))
    )
    caller.start()
    while api.get_progress()["state"]["sampling_step"] == 0:
        assert caller.is_alive()
    progress = api.get_progress()
    assert 0 < progress["progress"] < 1
    assert progress["state"]["job_count"] == 3
    assert api.interrupt() == {}
    caller.join(60)
    assert len(answers[0].images) < 3
    api.util_wait_for_ready(check_interval=0.05)
