from __future__ import annotations

import pytest
from fastapi import FastAPI, Response
from fastapi.testclient import TestClient

from modules.api.security.guard import add_guards
from modules.core.credentials import Credential


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()

    @app.get("/{path:path}")
    def anything(path: str, response: Response) -> str:
        response.set_cookie("plain", "1", samesite=None)
        response.set_cookie("strict", "2", samesite="strict", httponly=True)
        if path.endswith("policy"):
            response.headers["content-security-policy"] = "img-src 'self'"
        if path.endswith("image"):
            response.headers["cache-control"] = "private"
        return path

    return app


@pytest.mark.parametrize("path", ["/", "/sdapi/v1/options", "/internal/ping"])
@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 200), ("evil.example", 403)])
def test_no_other_site_may_frame_a_response(app: FastAPI, path: str, host: str, status: int):
    answer = TestClient(add_guards(app), base_url=f"http://{host}").get(path)
    assert answer.status_code == status
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"


def test_a_policy_of_the_page_is_kept_beside_that_of_frames(app: FastAPI):
    answer = TestClient(add_guards(app), base_url="http://127.0.0.1").get("/policy")
    policies = answer.headers.get_list("content-security-policy")
    assert policies == ["img-src 'self'", "frame-ancestors 'self'"]


def test_a_refused_password_has_the_headers_too(app: FastAPI):
    client = TestClient(add_guards(app, [Credential("a", "b")]), base_url="http://127.0.0.1")
    answer = client.get("/")
    assert (answer.status_code, answer.headers["x-frame-options"]) == (401, "SAMEORIGIN")


def test_answers_of_the_api_are_not_stored_unless_their_route_says_so(app: FastAPI):
    client = TestClient(add_guards(app), base_url="http://127.0.0.1")
    assert client.get("/sdapi/v1/options").headers["cache-control"] == "no-store"
    assert client.get("/api/v1/image").headers["cache-control"] == "private"
    assert "cache-control" not in client.get("/").headers


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_cookies_are_out_of_reach_of_scripts_and_other_sites(app: FastAPI, scheme: str):
    answer = TestClient(add_guards(app), base_url=f"{scheme}://127.0.0.1").get("/")
    plain, strict = (cookie.lower() for cookie in answer.headers.get_list("set-cookie"))
    assert "httponly" in plain
    assert "samesite=lax" in plain
    assert (strict.count("samesite"), strict.count("httponly")) == (1, 1)
    assert ("secure" in plain, "secure" in strict) == (scheme == "https",) * 2
