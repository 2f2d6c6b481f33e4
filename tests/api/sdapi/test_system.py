from __future__ import annotations

from dataclasses import fields

from fastapi import FastAPI
from fastapi.testclient import TestClient

from modules.api.routes import add_routes
from modules.core.command_line import parse_flags
from modules.core.flags import Flags
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


def test_flags_are_returned_without_secrets(engine: Engine):
    response = client_of(engine).get("/sdapi/v1/cmd-flags")
    flags = response.json()
    assert (flags["ckpt"], flags["data_dir"], flags["listen"], flags["port"]) == (
        "first",
        "/data",
        False,
        None,
    )
    assert flags["api_auth"] == "given"
    assert "hunter2" not in response.text


def test_every_flag_is_returned(engine: Engine):
    flags = client_of(engine).get("/sdapi/v1/cmd-flags").json()
    assert set(flags) == {row.name for row in fields(Flags) if "flag" in row.metadata}


def test_memory_is_returned_in_bytes(engine: Engine):
    memory = client_of(engine).get("/sdapi/v1/memory").json()
    assert memory["ram"]["free"] + memory["ram"]["used"] == memory["ram"]["total"] > 2**20
    assert memory["cuda"] == {"error": "There is no device."}


def test_sysinfo_has_versions_and_no_secret(engine: Engine):
    response = client_of(engine).get("/internal/sysinfo")
    assert response.json()["Checkpoint"] == "first.safetensors"
    assert response.json()["Packages"]["gradio"]
    assert "hunter2" not in response.text
