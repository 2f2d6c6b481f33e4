"""The routes of a form's pictures."""

from __future__ import annotations

import io
from typing import Any

from fastapi.testclient import TestClient
from httpx import Response
from PIL import Image

from modules.engine.engine import Engine
from modules.plan.work import EstimateDepth
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor
from tests.params.test_image import make_bomb

RAMP = Image.linear_gradient("L")


def upload(client: TestClient, image: Image.Image, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return client.post("/internal/uploads", files={"file": buffer.getvalue()}).json()["id"]


def preview(client: TestClient, route: str = "preview", **values: Any) -> Response:
    body = {"task": "depth2img", "values": values}
    return client.post(f"/internal/depth/{route}", json=body)


def levels(answer: Response) -> tuple[int, int]:
    """Return the grey at the top and at the bottom."""
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.mode == "L"
        return image.getpixel((0, 0)), image.getpixel((0, image.height - 1))  # pyright: ignore[reportReturnType]


def test_a_picture_that_cannot_be_read_is_refused_when_it_arrives(client: TestClient):
    for data, words in {
        b"a text": "The picture is not a PNG, JPEG, WEBP, AVIF, GIF, BMP or TIFF file.",
        make_bomb(
            9000, 8000
        ): "The largest picture that is read is 8192x8192, and this one is 9000x8000. "
        "Make it smaller.",
    }.items():
        answer = client.post("/internal/uploads", files={"file": data})
        assert (answer.status_code, answer.json()["detail"]) == (422, words)


def test_notes_are_sentences_with_what_their_buttons_do(client: TestClient):
    values = {"init_image": upload(client, Image.new("RGB", (96, 64))), "width": 96, "height": 96}
    answer = client.post("/internal/describe", json={"task": "img2img", "values": values})
    assert answer.json()["notes"]["scale_by"] == {
        "text": "The picture's size is 96x64.",
        "button": "Size from the picture",
        "values": {"width": 96, "height": 64},
        "checkpoint": "",
    }
    unknown = client.post("/internal/describe", json={"task": "dance", "values": {}})
    assert unknown.status_code == 422


def test_an_uploaded_depth_map_is_shown_with_the_adjustments(client: TestClient):
    ramp = upload(client, RAMP)
    assert levels(preview(client, depth_map=ramp)) == (0, 255)
    assert levels(preview(client, depth_map=ramp, depth_invert=True)) == (255, 0)
    assert levels(preview(client, depth_map=ramp, depth_far=0.5, depth_near=0.6)) == (0, 255)
    assert levels(preview(client, depth_map=ramp, depth_contrast=0)) == (128, 128)


def test_a_16_bit_depth_map_is_shown_in_8_bits(client: TestClient):
    deep = RAMP.convert("I").point(lambda level: level * 257).convert("I;16")
    assert levels(preview(client, depth_map=upload(client, deep))) == (0, 255)


def test_an_estimate_is_shown_only_for_its_own_image(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.results[EstimateDepth] = RAMP
    one, other = (upload(client, Image.new("RGB", (64, 64), name)) for name in ("red", "blue"))
    assert preview(client, init_image=one).status_code == 204
    assert levels(preview(client, "estimate", init_image=one, depth_invert=True)) == (255, 0)
    assert levels(preview(client, init_image=one)) == (0, 255)
    assert preview(client, init_image=other).status_code == 204
    assert preview(client).status_code == 204


def test_a_preview_that_cannot_be_made_is_said(client: TestClient):
    for answer, words in (
        (preview(client, "estimate"), "no picture whose depth could be estimated"),
        (preview(client, init_image="0" * 64), "no longer on the server"),
        (
            preview(client, depth_map=upload(client, RAMP), depth_near=0),
            "not larger than depth far",
        ),
    ):
        assert answer.status_code in (404, 422)
        assert words in answer.json()["detail"]


def test_a_batch_is_followed_like_a_job(client: TestClient, engine: Engine):
    files = [{"id": upload(client, RAMP), "name": "ramp.png"}]
    values = {"batch_files": files, "batch_output": "ramps", "width": 64, "height": 64, "steps": 2}
    answer = client.post("/internal/batches", json={"task": "img2img", "values": values})
    batch_id = answer.json()["id"]
    assert engine.job(batch_id).wait(PATIENCE_S)
    status = engine.status(batch_id)
    assert [image.path.name for image in status.images] == ["ramp.png"]
    empty = client.post("/internal/batches", json={"task": "img2img", "values": {}})
    assert empty.json()["detail"].startswith("There are no pictures for a batch.")
