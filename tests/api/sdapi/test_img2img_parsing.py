from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from modules.api.sdapi.always_on import merge_always_on
from modules.api.sdapi.requests.img2img import choose_request_type, parse_img2img_request
from modules.api.sdapi.requests.parsing import SamplerNames
from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.requests.depth import DepthRequest
from modules.params.requests.img2img import Img2ImgRequest

URL = "/sdapi/v1/img2img"


def encode(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def mask_with_box() -> Image.Image:
    mask = Image.new("RGB", (64, 64))
    mask.paste((255, 255, 255), (16, 16, 48, 48))
    return mask


IMAGE = encode(
    Image.fromarray(np.arange(64 * 64 * 4, dtype=np.uint32).astype(np.uint8).reshape(64, 64, 4))
)
MASK_IMAGE = encode(mask_with_box())
# What A1111's own tests send (its test/test_img2img.py).
A1111 = {
    "batch_size": 1,
    "cfg_scale": 7,
    "denoising_strength": 0.75,
    "eta": 0,
    "height": 64,
    "include_init_images": False,
    "init_images": [IMAGE],
    "inpaint_full_res": False,
    "inpaint_full_res_padding": 0,
    "inpainting_fill": 0,
    "inpainting_mask_invert": False,
    "mask": None,
    "mask_blur": 4,
    "n_iter": 1,
    "negative_prompt": "",
    "override_settings": {},
    "prompt": "example prompt",
    "resize_mode": 0,
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


def parse(**fields: Any) -> tuple[Any, list[str]]:
    return parse_img2img_request({"init_images": [IMAGE], **fields}, Img2ImgRequest)


@pytest.mark.parametrize(
    "change",
    [{}, {"mask": MASK_IMAGE}, {"mask": MASK_IMAGE, "inpainting_mask_invert": True}],
    ids=["simple", "inpainting_masked", "inverted"],
)
def test_requests_of_a1111s_own_tests_succeed(client: TestClient, change: dict[str, Any]):
    answer = client.post(URL, json={**A1111, **change})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["images"]) == 1
    assert ("Mask blur: 4" in answer.json()["info"]) == ("mask" in change)


def test_inpainting_defaults_of_the_api_are_a1111s():
    request, warnings = parse(mask=MASK_IMAGE)
    assert (
        request.inpainting_fill,
        request.inpaint_full_res,
        request.inpaint_full_res_padding,
    ) == (0, True, 0)
    assert (request.mask_blur, request.mask_blur_y, request.mask_round) == (4, -1, True)
    assert (request.task, request.mask) == ("inpaint", ImageField.from_pil(mask_with_box(), MASK))
    assert warnings == []


@pytest.mark.parametrize(
    ("fields", "blurs"),
    [
        ({"mask_blur": 9, "mask_blur_x": 4, "mask_blur_y": 4}, (9, 9)),
        ({"mask_blur_x": 8, "mask_blur_y": 2}, (8, 2)),
        ({"mask_blur_x": 0}, (0, 4)),
        ({"mask_blur": None}, (4, 4)),
    ],
)
def test_mask_blur_has_priority_over_mask_blur_x_and_y(
    fields: dict[str, Any], blurs: tuple[int, int]
):
    assert parse(**fields)[0].mask_blurs == blurs


@pytest.mark.parametrize(
    ("fields", "sampler", "schedule"),
    [
        ({}, "Euler", "Automatic"),
        ({"sampler_index": "Euler a"}, "Euler a", "Automatic"),
        ({"sampler_index": "DDIM", "sampler_name": ""}, "DDIM", "Automatic"),
        ({"sampler_index": "Euler", "sampler_name": "DDIM"}, "DDIM", "Automatic"),
        ({"sampler_index": "DPM++ 2M Karras", "scheduler": "automatic"}, "DPM++ 2M", "Karras"),
    ],
)
@pytest.mark.parametrize("request_type", [Img2ImgRequest, DepthRequest])
def test_the_older_field_of_the_sampler_counts(
    fields: dict[str, Any], sampler: str, schedule: str, request_type: Any
):
    names = SamplerNames(("Euler", "Euler a", "DDIM", "DPM++ 2M"), ("Automatic", "Karras"))
    body = {"init_images": [IMAGE], **fields}
    request, warnings = parse_img2img_request(body, request_type, names)
    assert (request.sampler_name, request.scheduler) == (sampler, schedule)
    assert warnings == []


def test_numbers_are_accepted_as_booleans():
    assert parse(mask=MASK_IMAGE, inpainting_mask_invert=1)[0].inpainting_mask_invert is True
    assert (
        parse(mask=MASK_IMAGE, inpainting_mask_invert=0, inpaint_full_res=0)[0].inpaint_full_res
        is False
    )


def test_a_size_is_rounded_to_multiples_of_8_with_a_warning(client: TestClient):
    request, warnings = parse(width=515, height=517)
    assert (request.width, request.height) == (512, 512)
    assert warnings == ["515x517 is rounded to 512x512: sides are multiples of 8."]
    answer = client.post(URL, json={**A1111, "width": 67}).json()
    assert answer["warnings"][0] == "67x64 is rounded to 64x64: sides are multiples of 8."


def test_a_style_that_does_not_exist_is_left_out_in_img2img_too(client: TestClient):
    answer = client.post(URL, json={**A1111, "styles": ["None"]}).json()
    assert answer["warnings"][0] == "There is no style named 'None'; it is left out."


def test_soft_inpainting_is_accepted_as_a1111s_script_or_as_fields():
    script = {"Soft inpainting": {"args": [True, 2, 0.3]}}
    fields = merge_always_on({"alwayson_scripts": script, "mask": MASK_IMAGE}, "img2img")
    request, warnings = parse(**fields)
    assert request.soft_inpainting_enabled
    assert request.soft_inpainting_schedule_bias == 2
    assert request.soft_inpainting_preservation_strength == 0.3
    assert request.soft_inpainting_transition_contrast_boost == 4
    assert warnings == []
    assert parse(mask=MASK_IMAGE, soft_inpainting_enabled=True)[0].soft_inpainting_enabled


@pytest.mark.parametrize("script", [{"args": "yes"}, {"args": [True] * 9}, None, {}])
def test_invalid_arguments_of_soft_inpainting_are_refused(script: Any):
    with pytest.raises(
        UserError, match=r"The arguments of soft inpainting are .* a list of at most 7 is needed"
    ):
        merge_always_on({"alwayson_scripts": {"soft inpainting": script}}, "img2img")


def test_outpainting_without_a_size_expands_the_init_images_size():
    request, _ = parse(outpaint_right=40)
    assert (request.width, request.height, request.task) == (104, 64, "inpaint")
    assert parse(outpaint_right=40, width=256, height=256)[0].width == 256


def test_a_depth_checkpoint_or_a_depth_map_means_depth2img():
    assert choose_request_type({}, is_depth_checkpoint=True) is DepthRequest
    assert choose_request_type({"depth_map": IMAGE}, is_depth_checkpoint=False) is DepthRequest
    assert choose_request_type({"depth_map": None}, is_depth_checkpoint=False) is Img2ImgRequest


NO_IMAGES = ["", " ", "data:,", "data:image/png;base64,", [""], [], [None], ["", None]]


@pytest.mark.parametrize("nothing", NO_IMAGES)
@pytest.mark.parametrize("field", ["mask", "latent_mask", "depth_map"])
def test_an_image_that_was_not_chosen_is_none(client: TestClient, field: str, nothing: Any):
    answer = client.post(URL, json={**A1111, field: nothing})
    assert answer.status_code == 200, answer.text
    assert not any(field in warning for warning in answer.json()["warnings"])
    assert choose_request_type({field: nothing}, is_depth_checkpoint=True) is DepthRequest
    assert choose_request_type({field: nothing}, is_depth_checkpoint=False) is Img2ImgRequest


@pytest.mark.parametrize("nothing", NO_IMAGES)
def test_init_images_without_an_image_are_not_found(client: TestClient, nothing: Any):
    for images in (nothing, [nothing]):
        answer = client.post(URL, json={**A1111, "init_images": images})
        assert answer.status_code == 404
        assert answer.json()["detail"].startswith("Init image not found")
    assert parse(init_images=[nothing, IMAGE])[0].init_image is not None


@pytest.mark.parametrize("mask", ["x", "data:image/png;base64,x", ["x"], {}, 1, True, " " * 200])
def test_a_mask_that_is_not_an_image_is_refused(client: TestClient, mask: Any):
    assert client.post(URL, json={**A1111, "mask": mask}).status_code == 422


def test_an_empty_mask_is_refused(client: TestClient):
    answer = client.post(URL, json={**A1111, "mask": encode(Image.new("RGB", (64, 64)))})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("The mask is empty: nothing would be repainted.")


def test_bad_images_do_not_stop_the_server(client: TestClient, engine: Engine):
    text = "data:image/png;base64," + base64.b64encode(b"a text").decode()
    for bad in ("data:image/png;base64,", text, "", None):
        assert client.post(URL, json={**A1111, "init_images": [bad]}).status_code in (404, 422)
    assert client.post(URL, json=A1111).status_code == 200
