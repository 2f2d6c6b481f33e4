from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from starlette.types import Message

from modules.api.security.gradio_ssrf import GradioSsrfGuard

JOIN = "/gradio_api/queue/join"


def echo_app() -> FastAPI:
    app = FastAPI()

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    async def echo(path: str, request: Request) -> Any:
        body = await request.body()
        return json.loads(body) if body else path

    return app


@pytest.fixture
def client() -> TestClient:
    return TestClient(GradioSsrfGuard(echo_app()))


def file(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize(
    "path", ["http://10.0.0.1/x", "HTTPS://a.example", " http://a.example", "http:a", "http://["]
)
def test_a_call_with_a_url_as_a_file_is_refused(client: TestClient, path: str):
    for data in ([file(path)], [[{"image": file(path)}]], {"a": {"b": file(path)}}):
        response = client.post(JOIN, json={"fn_index": 1, "data": data})
        assert response.status_code == 403
        assert "an upload, not a web address" in response.text


@pytest.mark.parametrize("path", ["/tmp/gradio/abc/photo.png", "C:\\photo.png", "photo.png", ""])
def test_a_call_with_an_uploaded_file_is_passed_on(client: TestClient, path: str):
    body = {
        "data": [file(path), "a prompt with http://a.example/ in it", {"url": "http://127.0.0.1/x"}]
    }
    assert client.post(JOIN, json=body).json() == body


@pytest.mark.parametrize(
    "path", ["file=http://a.example/x.html", "file=HTTPS://a.example", "proxy=https://a.example"]
)
def test_urls_of_other_servers_are_not_proxied(client: TestClient, path: str):
    assert client.get(f"/gradio_api/{path}").status_code == 403
    assert client.head(f"/{path}").status_code == 403


def test_a_file_of_this_server_is_served_as_before(client: TestClient):
    assert client.get("/gradio_api/file=/outputs/a.png").json() == "gradio_api/file=/outputs/a.png"


def test_other_routes_are_not_inspected(client: TestClient):
    assert client.post("/sdapi/v1/txt2img", json=file("http://a.example")).status_code == 200


def test_a_call_of_the_page_has_a_size_limit():
    client = TestClient(GradioSsrfGuard(echo_app(), max_call_bytes=10))
    assert client.post(JOIN, content=b"1" * 10).status_code == 200
    refused = client.post(JOIN, content=b"1" * 11)
    assert refused.status_code == 413
    assert refused.json()["detail"].startswith("The page sends at most 10 bytes at once.")


@pytest.mark.parametrize("parts", [[b"1" * 11], [b"1" * 11, b"1"]])
def test_a_refusal_waits_for_the_last_part_and_no_longer(parts: list[bytes]):
    pending, sent = list(parts), []

    async def receive() -> Message:
        return {"type": "http.request", "body": pending.pop(0), "more_body": bool(pending)}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": JOIN, "headers": [], "query_string": b""}
    asyncio.run(GradioSsrfGuard(echo_app(), max_call_bytes=10)(scope, receive, send))
    assert sent[0]["status"] == 413 and not pending


def test_a_call_of_the_page_has_a_number_of_values(client: TestClient):
    refused = client.post(JOIN, content=b"[" + b"[]," * 2**20)
    assert refused.status_code == 413
    assert "more than 262144 values" in refused.json()["detail"]


@pytest.mark.parametrize(
    "path", ["/gradio_api/proxy=a%00b", "/gradio_api/file=%00", "/sdapi/v1/%00", "/%00"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_address_with_the_character_0_is_refused(client: TestClient, path: str, method: str):
    response = client.request(method, path)
    assert (response.status_code, response.text) == (
        400,
        "An address cannot contain the character 0.",
    )


@pytest.mark.parametrize("name", ["1" * 5000, "é" * 200, "/".join(["a" * 200] * 30)])
def test_an_address_that_no_file_can_have_is_refused(client: TestClient, name: str):
    for folder in ("/svelte/", "/assets/", "/static/", "/gradio_api/file="):
        refused = client.get(folder + name)
        assert refused.status_code == 414
        assert refused.text == "A name in the address has more than 255 bytes."
    assert client.get("/svelte/" + "a" * 250).status_code == 200
    assert client.get("/sdapi/v1/" + "a" * 300).status_code == 200
