from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from modules.api.security.guard import LOOPBACK_NAMES, add_guards
from modules.core.credentials import Credential

ME = Credential("me", "s3cret:with:colons")
SOCKET = "ws://127.0.0.1:7860/ws"  # the test client otherwise calls another host
ROBOT = Credential("robot", "beep")


def client_of(
    credentials: Sequence[Credential] = (),
    api_credentials: Sequence[Credential] = (),
    hosts: frozenset[str] | None = LOOPBACK_NAMES,
    base_url: str = "http://127.0.0.1:7860",
) -> TestClient:
    app = FastAPI()

    @app.get("/{path:path}")
    def anything(path: str) -> str:
        return path

    @app.websocket("/ws")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    guarded = add_guards(app, credentials, api_credentials, hosts, wrong_password_delay_s=0)
    return TestClient(guarded, base_url=base_url)


def basic(user: str, password: str) -> dict[str, str]:
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"authorization": f"Basic {encoded}"}


def test_without_credentials_no_password_is_needed():
    assert client_of().get("/").status_code == 200


def test_without_a_password_the_response_requests_one():
    response = client_of([ME]).get("/")
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Basic ")


def test_the_right_password_is_accepted():
    client = client_of([ME, Credential("you", "pässwörd")])
    assert client.get("/", headers=basic("me", "s3cret:with:colons")).status_code == 200
    assert client.get("/", headers=basic("you", "pässwörd")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        basic("me", "wrong"),
        basic("me", ""),
        basic("", ""),
        basic("you", "s3cret:with:colons"),
        {"authorization": "Basic !!!"},
        {"authorization": "Basic"},
        {"authorization": "Bearer s3cret"},
        {"authorization": ""},
    ],
)
def test_any_other_authorization_is_refused(headers: dict[str, str]):
    assert client_of([ME]).get("/", headers=headers).status_code == 401


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH"])
def test_every_method_is_guarded(method: str):
    assert client_of([ME]).request(method, "/sdapi/v1/txt2img").status_code == 401


def test_api_credentials_are_accepted_for_the_api_only():
    client = client_of([ME], [ROBOT])
    robot = basic("robot", "beep")
    assert client.get("/sdapi/v1/options", headers=robot).status_code == 200
    assert client.get("/api/v1/jobs", headers=robot).status_code == 200
    assert (
        client.get("/sdapi/v1/options", headers=basic("me", "s3cret:with:colons")).status_code
        == 200
    )
    assert client.get("/", headers=robot).status_code == 401
    assert client.get("/internal/state", headers=robot).status_code == 401
    assert client.get("/sdapi", headers=robot).status_code == 401


def test_api_credentials_alone_protect_only_the_api():
    client = client_of([], [ROBOT])
    assert client.get("/").status_code == 200
    assert client.get("/sdapi/v1/options").status_code == 401


def test_a_websocket_is_guarded_too():
    client = client_of([ME])
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(SOCKET):
        pass
    with client.websocket_connect(SOCKET, headers=basic("me", "s3cret:with:colons")) as socket:
        assert socket.receive_text() == "hello"


def test_a_websocket_of_the_same_origin_is_accepted():
    with client_of().websocket_connect(
        SOCKET, headers={"origin": "http://127.0.0.1:7860"}
    ) as socket:
        assert socket.receive_text() == "hello"


def test_a_websocket_of_a_foreign_origin_is_refused():
    with (
        pytest.raises(WebSocketDisconnect),
        client_of().websocket_connect(SOCKET, headers={"origin": "http://evil.example"}),
    ):
        pass


@pytest.mark.parametrize(
    "host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "localhost", "LOCALHOST:7860"]
)
def test_loopback_names_are_accepted(host: str):
    assert client_of().get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7860",
        "127.0.0.1.evil.example",
        "",
        "[",
        "[::1",
        "localhost.",
        "::1",
    ],
)
def test_other_names_are_refused_against_dns_rebinding(host: str):
    response = client_of().get("/", headers={"host": host})
    assert response.status_code == 403
    assert "does not answer to the name" in response.text


def test_a_call_without_a_host_is_refused():
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def never(*_: Any) -> Any:
        raise AssertionError("the call got through")

    asyncio.run(add_guards(never)({"type": "http", "path": "/", "headers": []}, never, send))
    assert sent[0]["status"] == 403


def test_any_host_name_is_accepted_with_hosts_none():
    client = client_of([ME], hosts=None)
    headers = basic("me", "s3cret:with:colons")
    assert client.get("/", headers={**headers, "host": "my-server:7860"}).status_code == 200


def test_the_same_origin_may_call():
    client = client_of()
    assert client.get("/", headers={"origin": "http://127.0.0.1:7860"}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "http://127.0.0.1:8000", "http://127.0.0.1", "null", "", "http://["],
)
def test_a_foreign_origin_may_not_call(origin: str):
    response = client_of().get("/", headers={"origin": origin})
    assert response.status_code == 403
    assert "may not call this server" in response.text


def test_the_host_is_checked_before_the_password():
    response = client_of([ME]).get("/", headers={"host": "evil.example"})
    assert response.status_code == 403


def test_the_lifespan_of_the_server_is_not_guarded():
    types: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        types.append(scope["type"])

    asyncio.run(add_guards(app, [ME])({"type": "lifespan"}, None, None))  # pyright: ignore[reportArgumentType]
    assert types == ["lifespan"]
