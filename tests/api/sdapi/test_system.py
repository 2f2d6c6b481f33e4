from __future__ import annotations

from dataclasses import fields

from fastapi import FastAPI
from fastapi.testclient import TestClient

from modules.api.routes import add_routes
from modules.core.flags import Flags, parse_flags
from modules.engine.engine import Engine

SECRETS = [
    "--gradio-auth",
    "me:hunter2",
    "--api-auth",
    "bot:hunter2",
    "--gradio-auth-path",
    "/home/me/hunter2",
]


def client_of(engine: Engine) -> TestClient:
    app = FastAPI()
    add_routes(app, engine, parse_flags([*SECRETS, "--ckpt", "first", "--data-dir", "/data"]))
    return TestClient(app)


def test_flags_are_told_but_no_secret(engine: Engine):
    response = client_of(engine).get("/sdapi/v1/cmd-flags")
    told = response.json()
    assert (told["ckpt"], told["data_dir"], told["listen"], told["port"]) == (
        "first",
        "/data",
        False,
        None,
    )
    assert told["api_auth"] == "given"
    assert "hunter2" not in response.text


def test_every_flag_is_told(engine: Engine):
    told = client_of(engine).get("/sdapi/v1/cmd-flags").json()
    assert set(told) == {row.name for row in fields(Flags) if "flag" in row.metadata}


def test_memory_is_told_in_bytes(engine: Engine):
    told = client_of(engine).get("/sdapi/v1/memory").json()
    assert told["ram"]["free"] + told["ram"]["used"] == told["ram"]["total"] > 2**20
    assert told["cuda"] == {"error": "There is no device."}


def test_sysinfo_tells_versions_and_no_secret(engine: Engine):
    response = client_of(engine).get("/internal/sysinfo")
    assert response.json()["Checkpoint"] == "first.safetensors"
    assert response.json()["Packages"]["gradio"]
    assert "hunter2" not in response.text
