from __future__ import annotations

import os
import signal
import threading

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from modules.api.json_check import check_body
from modules.api.routes import add_routes
from modules.core.flags import Flags
from modules.engine.engine import Engine


def client_of(
    engine: Engine, flags: Flags, restart_requested: threading.Event | None = None
) -> TestClient:
    app = FastAPI()
    add_routes(app, engine, flags, restart_requested)
    return TestClient(app, raise_server_exceptions=False)


def test_the_api_is_on_unless_no_api(engine: Engine):
    without_api = client_of(engine, Flags(no_api=True))
    assert client_of(engine, Flags()).get("/sdapi/v1/samplers").status_code == 200
    assert without_api.get("/sdapi/v1/samplers").status_code == 404
    assert without_api.get("/internal/state").status_code == 200


def test_errors_of_the_live_routes_have_a1111s_format_without_the_api(engine: Engine):
    answer = client_of(engine, Flags(no_api=True)).get("/internal/jobs/x").json()
    assert answer["error"] == "NotFound"
    assert answer["errors"] == answer["detail"]


def test_fastapi_analyses_each_route_once_and_none_with_the_first_request(engine: Engine):
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_routes(app, engine)
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    # An included router would be analysed when it is asked.
    assert len(routes) == len(app.routes)
    assert all(check_body in [one.dependency for one in route.dependencies] for route in routes)


@pytest.mark.parametrize("content", [b"[NaN]", b"{", b'"words"', b"\xff", b"[" * 100_000])
def test_a_body_that_is_not_an_object_is_refused_in_a1111s_format(
    client: TestClient, content: bytes
):
    response = client.post(
        "/sdapi/v1/txt2img", content=content, headers={"content-type": "application/json"}
    )
    assert 400 <= response.status_code < 500
    assert "detail" in response.json()


def test_an_unexpected_exception_is_answered_with_500_in_a1111s_format(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    client = client_of(engine, Flags())
    monkeypatch.delattr(engine, "samplers")
    response = client.get("/sdapi/v1/samplers")
    assert response.status_code == 500
    assert response.json()["error"] == "AttributeError"
    assert response.json()["detail"] == "Internal error: AttributeError. The log has the details."


def test_every_response_has_its_process_time(client: TestClient):
    for path in ("/sdapi/v1/samplers", "/sdapi/v1/nothing", "/internal/ping"):
        assert float(client.get(path).headers["x-process-time"]) >= 0


def test_the_api_stops_the_server_only_when_allowed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    raised: list[signal.Signals] = []
    monkeypatch.setattr("signal.raise_signal", raised.append)
    assert client_of(engine, Flags()).post("/sdapi/v1/server-stop").status_code == 404
    allowed = client_of(engine, Flags(api_server_stop=True))
    assert allowed.post("/sdapi/v1/server-stop").json() == "Stopping."
    assert raised == [signal.SIGINT]


@pytest.mark.skipif(os.name == "nt", reason="a process cannot replace itself there")
def test_a_restart_stops_the_server_and_requests_another_start(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    raised: list[signal.Signals] = []
    monkeypatch.setattr("signal.raise_signal", raised.append)
    restart_requested = threading.Event()
    client = client_of(engine, Flags(api_server_stop=True), restart_requested)
    assert client.post("/sdapi/v1/server-restart").status_code == 200
    assert restart_requested.is_set()
    assert raised == [signal.SIGINT]
