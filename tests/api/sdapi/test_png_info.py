from __future__ import annotations

import base64
import io
import json

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from modules.images.metadata import make_exif_bytes, make_png_info

URL = "/sdapi/v1/png-info"
TEXT = "a cat\nNegative prompt: a dog\nSteps: 7, Sampler: Euler a, CFG scale: 7, Seed: 3, Size: 64x128, Odd key: 1"


def encode(format: str = "PNG", **options: object) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format=format, **options)
    return base64.b64encode(buffer.getvalue()).decode()


def test_an_images_infotext_is_returned_as_text_items_and_parameters(client: TestClient):
    answer = client.post(URL, json={"image": encode(pnginfo=make_png_info(TEXT))}).json()
    assert answer["info"] == TEXT
    assert answer["items"] == {}
    parameters = answer["parameters"]
    assert (parameters["Prompt"], parameters["Negative prompt"], parameters["Steps"]) == (
        "a cat",
        "a dog",
        "7",
    )
    assert (parameters["Size-1"], parameters["Size-2"], parameters["Seed"]) == ("64", "128", "3")
    assert answer["warnings"] == ["Odd key (1): this key is unknown."]


def test_a_jpegs_infotext_is_read_with_a_prefix_before_its_base64(client: TestClient):
    image = f"data:image/jpeg;base64,{encode('JPEG', exif=make_exif_bytes(TEXT))}"
    assert client.post(URL, json={"image": image}).json()["info"] == TEXT


def test_another_programs_json_is_returned_as_an_infotext(client: TestClient):
    comment = json.dumps(
        {"steps": 28, "sampler": "k_euler", "seed": 1, "scale": 5, "width": 64, "height": 64}
    )
    info = make_png_info("")
    info.add_text("Software", "NovelAI")
    info.add_text("Description", "a girl")
    info.add_text("Comment", comment)
    answer = client.post(URL, json={"image": encode(pnginfo=info)}).json()
    assert (
        answer["info"] == "a girl\nSteps: 28, Sampler: k_euler, CFG scale: 5, Seed: 1, Size: 64x64"
    )
    assert answer["items"]["Software"] == "NovelAI"


def test_an_image_without_metadata_has_an_empty_infotext(client: TestClient):
    assert client.post(URL, json={"image": encode()}).json() == {
        "info": "",
        "items": {},
        "parameters": {},
        "warnings": [],
    }


@pytest.mark.parametrize(
    ("image", "status", "sentence"),
    [
        ("", 404, "Image not found: image is empty."),
        (None, 404, "Image not found: image is empty."),
        (5, 404, "Image not found: image is empty."),
        ("no base64!", 422, "The picture is not base64."),
        ("https://example.com/a.png", 422, "The picture is a URL, and the server fetches none."),
        (base64.b64encode(b"a cat").decode(), 422, "The picture is not a PNG"),
    ],
)
def test_an_invalid_image_is_refused_with_a_sentence(
    client: TestClient, image: object, status: int, sentence: str
):
    answer = client.post(URL, json={"image": image})
    assert answer.status_code == status
    assert answer.json()["detail"].startswith(sentence)
