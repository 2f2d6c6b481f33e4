from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from modules.engine.engine import Engine

# A document of one track with two frames of one pixel, as the routes need it.
PIXEL = "data:image/webp;base64,UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA=="
DOCUMENT = {
    "tracks": [{"frames": [{"images": {"x": PIXEL}}, {"images": {"x": PIXEL}}]}],
    "prompt": "</script>",
}


def test_a_recorded_process_is_sent_once_with_all_its_frames(client: TestClient, engine: Engine):
    process_id = engine.processes.add(DOCUMENT)
    answer = client.get(f"/internal/process/{process_id}")
    assert answer.json() == DOCUMENT
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(("format", "media_type"), [("GIF", "image/gif"), ("WebP", "image/webp")])
def test_an_animation_is_an_image(client: TestClient, engine: Engine, format: str, media_type: str):
    process_id = engine.processes.add(DOCUMENT)
    answer = client.get(f"/internal/process/{process_id}/animation/0/x/{format}")
    assert answer.headers["content-type"] == media_type
    assert answer.content


def test_what_is_not_there_is_said(client: TestClient, engine: Engine):
    process_id = engine.processes.add(DOCUMENT)
    unknown = client.get("/internal/process/unknown")
    assert (unknown.status_code, unknown.json()["detail"]) == (
        404,
        "The server no longer has these steps. Show the process again.",
    )
    for path in ("0/x/exe", "0/y/GIF", "7/x/GIF"):
        answer = client.get(f"/internal/process/{process_id}/animation/{path}")
        assert answer.status_code == 422
        assert "Choose" in answer.json()["detail"]
