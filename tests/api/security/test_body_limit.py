from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from modules.api.security import body_limit
from modules.api.security.guard import add_guards


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setattr(body_limit, "LARGEST_BODY_BYTES", 2 * 2**20)
    monkeypatch.setattr(body_limit, "LARGEST_UPLOAD_BYTES", 4 * 2**20)
    app = FastAPI()

    @app.post("/{path:path}")
    async def count(path: str, request: Request) -> int:
        return len(await request.body())

    return TestClient(add_guards(app), base_url="http://127.0.0.1")


def pieces(count: int) -> Iterator[bytes]:
    """A body whose length no header tells."""
    yield from [b"x" * 2**20] * count


def test_a_body_within_the_limit_arrives_whole(client: TestClient):
    assert client.post("/sdapi/v1/img2img", content=b"x" * 2**21).json() == 2**21
    assert client.post("/sdapi/v1/img2img", content=pieces(2)).json() == 2**21


def test_a_larger_body_is_refused_with_words(client: TestClient):
    for content in (b"x" * (2**21 + 1), pieces(3)):
        response = client.post("/sdapi/v1/img2img", content=content)
        assert response.status_code == 413
        assert response.json()["detail"].startswith(
            "The request is too large; at most 2 MiB are taken."
        )


def test_uploads_to_the_page_have_a_limit_of_their_own(client: TestClient):
    assert client.post("/gradio_api/upload", content=pieces(4)).json() == 2**22
    assert client.post("/gradio_api/upload", content=pieces(5)).status_code == 413
