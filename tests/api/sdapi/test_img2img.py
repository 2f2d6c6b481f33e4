from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from modules.api.sdapi.requests.img2img import parse_img2img_request
from modules.core.errors import NotFound
from modules.engine.engine import Engine
from modules.params.image import ImageField
from modules.params.requests.depth import DepthRequest
from modules.params.requests.img2img import Img2ImgRequest
from tests.api.late_client import LateClient, Routes
from tests.conftest import write_listed_depth
from tests.engine.fake_executor import FakeExecutor

URL = "/sdapi/v1/img2img"
IMAGE = ImageField.from_pil(Image.new("RGB", (48, 32), "red")).to_base64()
DEPTH_MAP = ImageField.from_pil(Image.linear_gradient("L")).to_base64()
SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 3, "seed": 5}
DEPTH = {"override_settings": {"sd_model_checkpoint": "depth"}}


@pytest.fixture
def client(idle_engine: Engine, executor: FakeExecutor, known_routes: Routes) -> TestClient:
    folder = idle_engine.paths.checkpoint_folders[0]
    write_listed_depth(folder / "depth.safetensors")
    write_listed_depth(folder / "pruned.safetensors", with_estimator=False)
    idle_engine.start()
    executor.wait_until_idle()
    return LateClient(idle_engine, known_routes)


def post(client: TestClient, **body: Any) -> dict[str, Any]:
    response = client.post(URL, json={**SMALL, **DEPTH, "init_images": [IMAGE], **body})
    assert response.status_code == 200, response.text
    return response.json()


def post_refused(client: TestClient, **body: Any) -> tuple[int, str]:
    response = client.post(URL, json={**SMALL, **DEPTH, "init_images": [IMAGE], **body})
    return response.status_code, response.json()["detail"]


def test_images_are_returned_with_their_infotext(client: TestClient):
    answer = post(client, denoising_strength=0.6, batch_size=2)
    with Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))) as image:
        assert (image.format, image.size) == ("PNG", (64, 64))
        assert "Denoising strength: 0.6" in image.info["parameters"]
    assert len(answer["images"]) == 2
    assert answer["warnings"] == []


def test_info_has_the_denoising_strength_and_no_image(client: TestClient):
    info = json.loads(post(client)["info"])
    assert info["denoising_strength"] == 0.75
    assert {"init_image", "depth_map"} & info.keys() == set()


def test_the_echo_nulls_the_images_unless_requested(client: TestClient):
    echo = post(client, depth_map=DEPTH_MAP)["parameters"]
    assert (echo["init_images"], echo["mask"], echo["depth_map"]) == (None, None, None)
    assert echo["prompt"] == "a cat"
    full_echo = post(client, include_init_images=True)["parameters"]
    assert full_echo["init_images"] == [IMAGE]


def test_defaults_of_the_api_are_a1111s():
    request, warnings = parse_img2img_request(
        {"init_images": [f"data:image/png;base64,{IMAGE}"]}, DepthRequest
    )
    assert (request.steps, request.denoising_strength, request.sampler_name) == (50, 0.75, "Euler")
    assert request.init_image == ImageField.from_base64(IMAGE)
    assert warnings == []


@pytest.mark.parametrize("images", [None, []])
def test_without_an_init_image_the_request_is_refused(client: TestClient, images: Any):
    status, detail = post_refused(client, init_images=images)
    assert status == 404
    assert detail.startswith("Init image not found")
    with pytest.raises(NotFound):
        parse_img2img_request({"init_images": images}, Img2ImgRequest)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"init_images": ["no picture"]}, "Picture: The picture is not base64."),
        ({"init_images": IMAGE}, "init_images is not a list."),
        (
            {"init_images": [{"path": "/etc/passwd"}]},
            "Picture: A picture in base64 is needed, not dict.",
        ),
        ({"init_images": ["http://127.0.0.1/x.png"]}, "Picture: The picture is a URL"),
        ({"init_images": ["/etc/passwd"]}, "Picture: The picture is no"),
        (
            {"depth_map": "AAAA"},
            "Depth map (optional): The picture is not a PNG, JPEG, WEBP, AVIF, GIF, BMP or TIFF file.",
        ),
        ({"denoising_strength": 1.5}, "Denoising strength is 1.5; the largest valid value is 1."),
        (
            {"override_settings": {"sd_model_checkpoint": "first"}, "depth_map": DEPTH_MAP},
            "'first.safetensors' is not a depth checkpoint",
        ),
        (
            {"override_settings": {"sd_model_checkpoint": "pruned"}},
            "'pruned.safetensors' has no depth estimator",
        ),
    ],
)
def test_an_invalid_request_is_refused_with_a_sentence(
    client: TestClient, body: dict[str, Any], message: str
):
    status, detail = post_refused(client, **body)
    assert status == 422
    assert detail.startswith(message)


def test_a_depth_map_replaces_the_estimator(client: TestClient):
    pruned = {"override_settings": {"sd_model_checkpoint": "pruned"}}
    assert len(post(client, depth_map=DEPTH_MAP, **pruned)["images"]) == 1


def test_fields_without_effect_are_warned_about(client: TestClient):
    warnings = post(client, resize_mode=0, mask=None)["warnings"]
    assert warnings == ["The field 'resize_mode' has no effect in this version."]


def test_several_init_images_are_a_batch_with_seeds_that_count_up(client: TestClient):
    other = ImageField.from_pil(Image.new("RGB", (64, 64), "red")).to_base64()
    answer = post(client, init_images=[IMAGE, other, ""], seed=7, n_iter=2, batch_size=5)
    assert len(answer["images"]) == 4 and answer["warnings"] == []
    assert json.loads(answer["info"])["all_seeds"] == [7, 8, 9, 10]
    status, detail = post_refused(client, init_images=[IMAGE, "xx"])
    assert status == 422 and detail.startswith("Picture 2 of init_images: The picture")
    status, detail = post_refused(client, init_images=[IMAGE] * 65)
    assert status == 422 and detail.startswith("init_images has 65 images; at most 64")


def test_txt2img_ignores_init_images_with_a_warning(client: TestClient):
    answer = client.post("/sdapi/v1/txt2img", json={**SMALL, "init_images": [IMAGE]}).json()
    assert answer["warnings"] == ["The field 'init_images' has no effect in this version."]


def test_a_mask_on_a_depth_checkpoint_is_refused_by_name(client: TestClient):
    white = ImageField.from_pil(Image.new("RGB", (48, 32), "white")).to_base64()
    status, detail = post_refused(client, mask=white)
    assert status == 422
    assert "'depth.safetensors'" in detail
