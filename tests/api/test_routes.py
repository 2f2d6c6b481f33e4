from __future__ import annotations

import signal

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from modules.api.routes import add_routes
from modules.engine.engine import Engine


def test_the_api_is_there_only_when_asked_for(engine: Engine):
    app = FastAPI()
    add_routes(app, engine)
    client = TestClient(app)
    assert client.get("/sdapi/v1/samplers").status_code == 404
    assert client.get("/internal/state").status_code == 200


def test_errors_of_the_live_routes_have_a1111s_form_without_the_api(engine: Engine):
    app = FastAPI()
    add_routes(app, engine)
    answer = TestClient(app).get("/internal/jobs/x").json()
    assert answer["error"] == "NotFound"
    assert answer["errors"] == answer["detail"]


def test_the_api_stops_the_server_only_when_allowed(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    raised: list[signal.Signals] = []
    monkeypatch.setattr("signal.raise_signal", raised.append)
    app = FastAPI()
    add_routes(app, engine, with_api=True)
    assert TestClient(app).post("/sdapi/v1/server-stop").status_code == 404
    allowed = FastAPI()
    add_routes(allowed, engine, with_api=True, with_stop=True)
    assert TestClient(allowed).post("/sdapi/v1/server-stop").status_code == 200
    assert raised == [signal.SIGINT]
