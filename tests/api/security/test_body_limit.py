from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from modules.api.security.body_limit import MAX_BODY_BYTES, BodyLimit
from modules.api.security.guard import add_guards


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()

    @app.post("/{path:path}")
    async def count(path: str, request: Request) -> int:
        return len(await request.body())

    limited = BodyLimit(app, max_body_bytes=2 * 2**20, max_upload_bytes=4 * 2**20)
    return TestClient(limited, base_url="http://127.0.0.1")


def stream(count: int) -> Iterator[bytes]:
    """A body without a Content-Length header."""
    yield from [b"x" * 2**20] * count


def test_a_body_within_the_limit_is_passed_on(client: TestClient):
    assert client.post("/sdapi/v1/img2img", content=b"x" * 2**21).json() == 2**21
    assert client.post("/sdapi/v1/img2img", content=stream(2)).json() == 2**21


def test_a_larger_body_is_refused_with_a_sentence(client: TestClient):
    for content in (b"x" * (2**21 + 1), stream(3)):
        response = client.post("/sdapi/v1/img2img", content=content)
        assert response.status_code == 413
        assert response.json()["detail"].startswith("The request is too large; the limit is 2 MiB.")


def test_uploads_to_the_page_have_a_separate_limit(client: TestClient):
    assert client.post("/gradio_api/upload", content=stream(4)).json() == 2**22
    assert client.post("/gradio_api/upload", content=stream(5)).status_code == 413


def form(*parts: tuple[str, int]) -> tuple[dict[str, str], Iterator[bytes]]:
    """The header and the body of a form whose parts have these further attributes and sizes in KiB."""

    def body() -> Iterator[bytes]:
        for attributes, size in parts:
            yield f'--x\r\nContent-Disposition: form-data; name="files"{attributes}\r\n\r\n'.encode()
            yield from [b"y" * 2**10] * size
            yield b"\r\n"
        yield b"--x--\r\n"

    return {"content-type": "multipart/form-data; boundary=x"}, body()


def test_an_upload_may_hold_large_files_but_no_large_fields(client: TestClient):
    file, path = '; filename="a.png"', "/gradio_api/upload"
    headers, content = form((file, 2000), ("", 60), (file, 1000))
    assert client.post(path, headers=headers, content=content).json() > 3000 * 2**10
    for parts in ((("", 65),), ((file, 10), ("", 40), ("", 40))):
        headers, content = form(*parts)
        response = client.post(path, headers=headers, content=content)
        assert response.status_code == 413
        assert "has more than 65536 bytes that belong to no file" in response.json()["detail"]


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=x", "text/plain"]
)
def test_what_is_no_form_is_left_to_the_route(client: TestClient, kind: str):
    response = client.post("/gradio_api/upload", headers={"content-type": kind}, content=b"--y\r\n")
    assert response.json() == 5


def test_the_guards_of_every_route_include_the_limit():
    client = TestClient(add_guards(FastAPI()), base_url="http://127.0.0.1")
    headers = {"content-length": str(MAX_BODY_BYTES + 1)}
    assert client.post("/sdapi/v1/txt2img", content=b"", headers=headers).status_code == 413


def test_the_rest_of_a_refused_body_is_read_before_the_answer(client: TestClient):
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(10):
            sent += 1
            yield b"x" * 2**20

    assert client.post("/sdapi/v1/img2img", content=chunks()).status_code == 413
    assert sent == 10
