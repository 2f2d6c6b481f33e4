from __future__ import annotations

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from modules.api.security.guard import add_guards
from modules.api.security.subpath import Subpath
from modules.core.credentials import Credential


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/sdapi/v1/{name}")
    def echo(name: str, request: Request) -> list[str]:
        return [name, request.scope["root_path"]]

    return app


@pytest.mark.parametrize("path", ["/sd/sdapi/v1/options", "/sdapi/v1/options"])
def test_a_path_is_found_with_and_without_the_prefix(path: str):
    assert TestClient(Subpath(make_app(), "/sd")).get(path).json() == ["options", "/sd"]


def test_a_path_that_only_starts_like_the_prefix_is_unchanged():
    assert TestClient(Subpath(make_app(), "/sd")).get("/sdx/sdapi/v1/options").status_code == 404


def test_the_api_password_is_required_below_the_prefix_too():
    app = Subpath(add_guards(make_app(), [], [Credential("robot", "beep")]), "/sd")
    client = TestClient(app, base_url="http://127.0.0.1")
    assert client.get("/sd/sdapi/v1/options").status_code == 401
    assert client.get("/sdapi/v1/options").status_code == 401
