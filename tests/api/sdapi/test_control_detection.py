"""The routes of sd-webui-controlnet that make control pictures."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from modules.engine.engine import Engine
from modules.plan.units.preprocessing import ControlImage
from modules.plan.work import MakeControlImage

SQUARE = Image.new("RGB", (96, 64))
SQUARE.paste("white", (30, 20, 60, 40))


def encode(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def decode(text: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.asarray(image)


def detect(client: TestClient, **values: Any) -> Any:
    return client.post("/controlnet/detect", json={f"controlnet_{k}": v for k, v in values.items()})


def test_each_picture_gets_its_control_picture(client: TestClient):
    images = [encode(SQUARE), f"data:image/png;base64,{encode(SQUARE)}"]
    answer = detect(client, module="canny", input_images=images, processor_res=64).json()
    assert (answer["info"], len(answer["images"])) == ("Success", 2)
    assert "poses" not in answer
    edges = decode(answer["images"][0])
    assert edges.shape == (64, 96, 3)
    rows = np.nonzero(edges[:, :, 0])[0]
    assert 18 <= rows.min() <= rows.max() <= 41


def test_defaults_count_for_what_is_left_out_or_out_of_range(client: TestClient):
    answer = detect(client, module="threshold", input_images=[encode(SQUARE)], threshold_a=999)
    assert answer.status_code == 200
    assert decode(answer.json()["images"][0]).shape == (512, 768, 3)
    plain = detect(client, input_images=[encode(SQUARE)]).json()
    assert np.array_equal(decode(plain["images"][0]), np.asarray(SQUARE))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"module": "cany", "input_images": ["x"]}, "Module not available: There is no preproc"),
        ({"module": "canny"}, "No image selected."),
        ({"module": "canny", "input_images": ["/etc/passwd"]}, "base64"),
        ({"module": "depth_hand_refiner", "input_images": ["x"]}, "Use depth_midas."),
        ({"module": "instant_id_face_embedding", "input_images": ["x"]}, "Use an IP-Adapter."),
        ({"module": "clip_vision", "input_images": ["x"]}, "makes no picture"),
        ({"module": "inpaint_only", "input_images": ["x"]}, "makes no picture"),
        ({"module": "hed", "input_images": ["x"]}, "needs the file ControlNetHED.pth. Put it from"),
        ({"module": "mobile_sam", "input_images": ["x"]}, "needs the file mobile_sam.pt. Put it"),
        ({"module": "canny", "input_images": ["x"] * 65}, "65 pictures in one request"),
        ({"module": "openpose_full", "input_images": ["x"]}, "Get them in the Models tab"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    client: TestClient, values: dict[str, Any], words: str
):
    answer = detect(client, **values)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_a_network_runs_on_the_device_and_tells_the_pose(
    client: TestClient, engine: Engine, executor, tmp_path
):
    folder = engine.paths.model_folders("ControlNet")[0] / "annotators"
    folder.mkdir(parents=True)
    for name in ("pose_detection", "pose_landmark_full"):
        (folder / f"{name}.tflite").write_bytes(b"")
    pose = {"people": [], "canvas_width": 8, "canvas_height": 8}
    executor.results[MakeControlImage] = ControlImage(Image.new("RGB", (8, 8), "blue"), pose)
    answer = detect(client, module="openpose", input_images=[encode(SQUARE)]).json()
    assert answer["poses"] == [pose]
    assert decode(answer["images"][0])[0, 0].tolist() == [0, 0, 255]


def test_a_pose_is_drawn(client: TestClient):
    numbers = [0.5, 0.25, 1.0, 0.5, 0.5, 1.0]
    pose = {
        "people": [
            {
                "pose_keypoints_2d": numbers,
                "hand_right_keypoints_2d": None,
                "hand_left_keypoints_2d": None,
                "face_keypoints_2d": None,
            }
        ],
        "canvas_width": 64,
        "canvas_height": 96,
    }
    answer = client.post("/controlnet/render_openpose_json", json=[pose]).json()
    drawn = decode(answer["images"][0])
    assert (answer["info"], drawn.shape) == ("Success", (96, 64, 3))
    assert drawn[24, 32].tolist() == [255, 0, 0]
    assert drawn[48, 32].tolist() == [255, 85, 0]
    assert client.post("/controlnet/render_openpose_json", json=[]).json() == {
        "info": "No pose data detected."
    }
    assert client.post("/controlnet/render_openpose_json", json=[{}]).status_code == 422
