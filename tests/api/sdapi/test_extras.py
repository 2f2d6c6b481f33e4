from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def encode(size: tuple[int, int] = (8, 4), text: str = "") -> str:
    info = PngInfo()
    if text:
        info.add_text("parameters", text)
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, format="PNG", pnginfo=info)
    return base64.b64encode(buffer.getvalue()).decode()


def decode(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_one_image_is_upscaled_and_keeps_its_infotext(client: TestClient):
    body = {
        "image": f"data:image/png;base64,{encode(text='a cat')}",
        "upscaler_1": "Lanczos",
        "model": "clip",
    }
    answer = client.post("/sdapi/v1/extra-single-image", json=body).json()
    image = decode(answer["image"])
    assert image.size == (16, 8)
    assert image.info["parameters"] == "a cat"
    assert (
        image.info["postprocessing"] == "Postprocess upscale by: 2.0, Postprocess upscaler: Lanczos"
    )
    assert "Lanczos" in answer["html_info"]
    assert answer["warnings"] == []


def test_several_images_are_upscaled_with_the_same_settings(client: TestClient):
    images = [{"data": encode(), "name": "a.png"}, {"data": encode((8, 8)), "name": "b.png"}]
    body = {"imageList": images, "upscaler_1": "Nearest", "upscaling_resize": 3}
    answer = client.post("/sdapi/v1/extra-batch-images", json=body).json()
    assert [decode(image).size for image in answer["images"]] == [(24, 8), (24, 24)]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("single-image", {}, 404, "Image not found"),
        ("single-image", {"image": "???"}, 422, "not base64"),
        ("single-image", {"image": 3}, 422, "A picture in base64 is needed, not int."),
        ("single-image", {"image": "http://127.0.0.1/x.png"}, 422, "the server fetches none"),
        ("single-image", {"image": encode(), "upscaling_resize": 0}, 422, "Resize is 0"),
        (
            "single-image",
            {"image": encode(), "upscaler_1": "ESRGAN_4x"},
            404,
            "no upscaler named 'ESRGAN_4x'",
        ),
        ("batch-images", {}, 422, "imageList is missing"),
        ("batch-images", {"imageList": [3]}, 422, "A picture in base64 is needed"),
        ("batch-images", {"imageList": [{}] * 257}, 422, "at most 256"),
    ],
)
def test_an_invalid_request_is_refused_with_a_sentence(
    client: TestClient, path: str, body: dict[str, Any], status: int, message: str
):
    response = client.post(f"/sdapi/v1/extra-{path}", json=body)
    assert response.status_code == status
    assert message in response.json()["detail"]


def test_an_unknown_field_is_a_warning(client: TestClient):
    answer = client.post(
        "/sdapi/v1/extra-single-image", json={"image": encode(), "sharpness": 3}
    ).json()
    assert answer["warnings"] == ["The field 'sharpness' has no effect in this version."]
