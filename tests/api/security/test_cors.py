from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from modules.api.security.cors import Origins
from modules.api.security.guard import add_guards
from modules.core.flags import Credential

FRIEND = "https://friend.example"


def client_of(origins: Origins, *credentials: Credential) -> TestClient:
    app = FastAPI()

    @app.post("/sdapi/v1/txt2img")
    def made() -> str:
        return "a picture"

    return TestClient(
        add_guards(app, credentials, origins=origins), base_url="http://127.0.0.1:7860"
    )


@pytest.mark.parametrize(
    "origins",
    [Origins((FRIEND,)), Origins(("*",)), Origins(pattern=r"https://(friend|other)\.example")],
)
def test_an_allowed_page_may_call_and_read(origins: Origins):
    response = client_of(origins).post("/sdapi/v1/txt2img", headers={"origin": FRIEND})
    assert response.json() == "a picture"
    assert response.headers["access-control-allow-origin"] in (FRIEND, "*")


@pytest.mark.parametrize("origin", ["https://friend.example.evil", "http://friend.example", "null"])
def test_any_other_page_may_not(origin: str):
    for origins in (Origins((FRIEND,)), Origins(pattern="https://friend.example")):
        response = client_of(origins).post("/sdapi/v1/txt2img", headers={"origin": origin})
        assert response.status_code == 403
        assert "access-control-allow-origin" not in response.headers


def test_a_browser_may_ask_beforehand_without_a_password_but_not_call():
    client = client_of(Origins((FRIEND,)), Credential("me", "s3cret"))
    asking = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    asked = client.options("/sdapi/v1/txt2img", headers={"origin": FRIEND, **asking})
    assert (asked.status_code, asked.content) == (200, b"OK")
    assert asked.headers["access-control-allow-headers"] == "authorization"
    assert asked.headers["access-control-allow-credentials"] == "true"
    assert client.post("/sdapi/v1/txt2img", headers={"origin": FRIEND}).status_code == 401
    assert (
        client.options(
            "/sdapi/v1/txt2img", headers={"origin": "https://evil.example", **asking}
        ).status_code
        == 403
    )


def test_just_any_page_gets_no_password_of_the_browsers():
    response = client_of(Origins(("*",))).post("/sdapi/v1/txt2img", headers={"origin": FRIEND})
    assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in response.headers


def test_a_proxy_may_hand_on_the_name_of_an_allowed_page():
    client = client_of(Origins((FRIEND,)))
    response = client.post(
        "/sdapi/v1/txt2img", headers={"host": "friend.example", "origin": FRIEND}
    )
    assert response.status_code == 200
    assert client.post("/sdapi/v1/txt2img", headers={"host": "evil.example"}).status_code == 403
