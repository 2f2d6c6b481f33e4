"""The routes of a ControlNet unit on the page."""

from __future__ import annotations

import io

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from tests.api.internal.test_pictures import upload

SQUARE = Image.new("RGB", (96, 64))
SQUARE.paste("white", (30, 20, 60, 40))


def pixels(client: TestClient, upload_id: str) -> np.ndarray:
    content = client.get(f"/internal/uploads/{upload_id}/image").content
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def test_the_control_picture_is_shown_before_generate(client: TestClient):
    values = {"image": upload(client, SQUARE), "module": "invert (from white bg & black line)"}
    answer = client.post("/internal/control/preview", json=values).json()
    image = answer["image"]
    assert (image["width"], image["height"], answer["pose"]) == (96, 64, None)
    assert np.array_equal(pixels(client, image["id"]), 255 - np.asarray(SQUARE))


def test_pixel_perfect_takes_the_size_of_the_form(client: TestClient):
    values = {
        "image": upload(client, SQUARE),
        "module": "canny",
        "processor_res": 512,
        "pixel_perfect": True,
        "width": 192,
        "height": 192,
    }
    image = client.post("/internal/control/preview", json=values).json()["image"]
    assert (image["width"], image["height"]) == (288, 192)
    fill = {**values, "resize_mode": "Resize and Fill"}
    image = client.post("/internal/control/preview", json=fill).json()["image"]
    assert (image["width"], image["height"]) == (192, 128)


def test_a_unit_without_a_picture_or_with_an_unknown_module_is_told_so(client: TestClient):
    for values, status, words in (
        ({"module": "canny"}, 422, "There is no picture to make a control picture of."),
        ({"image": "0" * 64, "module": "canny"}, 404, "no longer on the server"),
        ({"image": "0" * 64, "module": "cany"}, 404, "Did you mean 'canny'"),
        ({"image": "0" * 64, "module": "depth_hand_refiner"}, 422, "Use depth_midas."),
    ):
        answer = client.post("/internal/control/preview", json=values)
        assert (answer.status_code, words in answer.json()["detail"]) == (status, True), values


def test_a_pose_of_the_editor_becomes_an_upload(client: TestClient):
    person = {"pose_keypoints_2d": [32, 16, 1]}
    pose = {"people": [person], "canvas_width": 64, "canvas_height": 48}
    image = client.post("/internal/control/pose", json={"pose": pose}).json()["image"]
    assert (image["width"], image["height"]) == (64, 48)
    assert pixels(client, image["id"])[16, 32].tolist() == [255, 0, 0]
