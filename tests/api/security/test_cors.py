from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from modules.api.security.cors import Origins
from modules.api.security.guard import add_guards
from modules.core.credentials import Credential

ALLOWED = "https://friend.example"


def client_of(origins: Origins, *credentials: Credential) -> TestClient:
    app = FastAPI()

    @app.post("/sdapi/v1/txt2img")
    def generate() -> str:
        return "an image"

    return TestClient(
        add_guards(app, credentials, origins=origins), base_url="http://127.0.0.1:7860"
    )


@pytest.mark.parametrize(
    "origins",
    [Origins((ALLOWED,)), Origins(("*",)), Origins(pattern=r"https://(friend|other)\.example")],
)
def test_an_allowed_origin_may_call_and_read(origins: Origins):
    response = client_of(origins).post("/sdapi/v1/txt2img", headers={"origin": ALLOWED})
    assert response.json() == "an image"
    assert response.headers["access-control-allow-origin"] in (ALLOWED, "*")


@pytest.mark.parametrize("origin", ["https://friend.example.evil", "http://friend.example", "null"])
def test_any_other_origin_is_refused(origin: str):
    for origins in (Origins((ALLOWED,)), Origins(pattern="https://friend.example")):
        response = client_of(origins).post("/sdapi/v1/txt2img", headers={"origin": origin})
        assert response.status_code == 403
        assert "access-control-allow-origin" not in response.headers


def test_a_preflight_request_needs_no_password_but_the_call_does():
    client = client_of(Origins((ALLOWED,)), Credential("me", "s3cret"))
    preflight = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    response = client.options("/sdapi/v1/txt2img", headers={"origin": ALLOWED, **preflight})
    assert (response.status_code, response.content) == (200, b"OK")
    assert response.headers["access-control-allow-headers"] == "authorization"
    assert response.headers["access-control-allow-credentials"] == "true"
    assert client.post("/sdapi/v1/txt2img", headers={"origin": ALLOWED}).status_code == 401
    assert (
        client.options(
            "/sdapi/v1/txt2img", headers={"origin": "https://evil.example", **preflight}
        ).status_code
        == 403
    )


def test_an_arbitrary_origin_gets_no_credentials_of_the_browser():
    response = client_of(Origins(("*",))).post("/sdapi/v1/txt2img", headers={"origin": ALLOWED})
    assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in response.headers


def test_a_proxy_may_forward_the_host_name_of_an_allowed_origin():
    client = client_of(Origins((ALLOWED,)))
    response = client.post(
        "/sdapi/v1/txt2img", headers={"host": "friend.example", "origin": ALLOWED}
    )
    assert response.status_code == 200
    assert client.post("/sdapi/v1/txt2img", headers={"host": "evil.example"}).status_code == 403
