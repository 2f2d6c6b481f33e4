from __future__ import annotations

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from modules.api.security.guard import add_guards
from modules.api.security.subpath import Subpath
from modules.core.flags import Credential


def served() -> FastAPI:
    app = FastAPI()

    @app.get("/sdapi/v1/{name}")
    def told(name: str, request: Request) -> list[str]:
        return [name, request.scope["root_path"]]

    return app


@pytest.mark.parametrize("path", ["/sd/sdapi/v1/options", "/sdapi/v1/options"])
def test_a_path_is_found_whether_or_not_the_proxy_left_the_prefix_on(path: str):
    assert TestClient(Subpath(served(), "/sd")).get(path).json() == ["options", "/sd"]


def test_a_path_that_only_begins_like_the_prefix_is_left_alone():
    assert TestClient(Subpath(served(), "/sd")).get("/sdx/sdapi/v1/options").status_code == 404


def test_the_password_of_the_api_is_asked_for_below_the_prefix_too():
    door = Subpath(add_guards(served(), [], [Credential("robot", "beep")]), "/sd")
    client = TestClient(door, base_url="http://127.0.0.1")
    assert client.get("/sd/sdapi/v1/options").status_code == 401
    assert client.get("/sdapi/v1/options").status_code == 401
