"""Routes of the Extensions tab: who may change what code runs, and what is listed."""

from __future__ import annotations

import io
import json
import os
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from modules import app
from modules.core.flags import Flags
from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.prompt.tokens import ClipTokenizer
from tests.conftest import ROOT
from tests.engine.fake_executor import FakeExecutor

CODE = "def register(webui): ...\n"
FLAGS = Flags(nowebui=True)
MakeClient = Callable[..., TestClient]


@pytest.fixture
def program(paths: Paths, tokenizer: ClipTokenizer) -> MakeClient:
    """Starts the program anew on the data folder; its client is on this machine unless told otherwise."""

    def make(
        flags: Flags = FLAGS, host: str = "127.0.0.1", restart: threading.Event | None = None
    ) -> TestClient:
        engine = Engine(paths, FakeExecutor(), tokenizer, app.make_registries(flags, paths))
        engine.downloads.configure(is_allowed=not flags.no_downloads, proxy=None)
        served = app.make_app(engine, flags, restart)
        return TestClient(served, base_url="http://127.0.0.1:7860", client=(host, 50000))

    return make


def listed(client: TestClient) -> dict[str, dict]:
    rows = client.get("/internal/extensions").json()["extensions"]
    return {row["id"]: row for row in rows}


def zip_of(name: str, code: str = CODE) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(f"{name}/__init__.py", code)
    return data.getvalue()


def test_an_extension_is_installed_disabled_enabled_and_removed(
    program: MakeClient, paths: Paths, tmp_path: Path
):
    client = program()
    assert listed(client) == {}
    refused = client.post("/internal/extensions/upload", files={"file": ("a.zip", zip_of("loud"))})
    assert (refused.status_code, refused.json()["detail"]) == (
        422,
        "An extension runs any code with the rights of the user who started the server. Accept that first.",
    )
    sent = {"files": {"file": ("a.zip", zip_of("loud"))}, "data": {"accepts_code": "true"}}
    assert client.post("/internal/extensions/upload", **sent).json() == {
        "name": "loud",
        "needs": "",
    }
    row = listed(client)["loud"]
    assert (row["state"], row["is_enabled"], row["waits_for_restart"]) == ("installed", True, True)

    client = program()
    assert listed(client)["loud"]["state"] == "loaded"
    assert not listed(client)["loud"]["waits_for_restart"]
    body = {"id": "loud", "is_enabled": False}
    assert client.post("/internal/extensions/enable", json=body).json() == {}
    assert listed(client)["loud"]["waits_for_restart"]
    stored = json.loads(paths.settings_file.read_text(encoding="utf-8"))
    assert stored["disabled_extensions"] == ["loud"]

    client = program()
    row = listed(client)["loud"]
    assert (row["state"], row["reason"]) == ("disabled", "Disabled in the Extensions tab.")
    client.post("/internal/extensions/enable", json={**body, "is_enabled": True})
    assert listed(client)["loud"]["waits_for_restart"]
    kept = client.post("/internal/extensions/remove", json={"id": "loud"}).json()["kept_as"]
    assert Path(kept, "__init__.py").is_file()
    assert listed(client)["loud"]["state"] == "removed"
    assert listed(program()) == {}

    folder = tmp_path / "elsewhere" / "quiet"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(CODE)
    body = {"path": str(folder), "accepts_code": True}
    assert client.post("/internal/extensions/install", json=body).json()["name"] == "quiet"
    gone = client.post("/internal/extensions/remove", json={"id": "../quiet"})
    assert gone.status_code == 404


def test_all_are_disabled_by_the_key_of_a1111_and_by_the_command_line(
    program: MakeClient, paths: Paths
):
    (paths.extensions / "loud").mkdir(parents=True)
    (paths.extensions / "loud" / "__init__.py").write_text(CODE)
    client = program()
    client.post("/internal/extensions/disable-all", json={"are_disabled": True})
    assert listed(client)["loud"]["waits_for_restart"]
    assert client.post("/sdapi/v1/options", json={"samples_format": "webp"}).status_code == 200
    client = program()
    assert listed(client)["loud"]["reason"] == "All extensions are disabled in the Extensions tab."
    client.post("/internal/extensions/disable-all", json={"are_disabled": False})
    stored = json.loads(paths.settings_file.read_text(encoding="utf-8"))
    assert (stored["disable_all_extensions"], stored["samples_format"]) == ("none", "webp")
    row = listed(program(Flags(nowebui=True, disable_all_extensions=True)))["loud"]
    assert row["reason"] == "The command line says to start without extensions."
    assert row["is_enabled"]


CHANGES = (
    ("enable", {"id": "loud", "is_enabled": False}),
    ("disable-all", {"are_disabled": True}),
    ("install", {"address": "https://example.org/x", "accepts_code": True}),
    ("install", {"path": "/tmp", "accepts_code": True}),
    ("remove", {"id": "loud"}),
    ("restart", {}),
)


def test_another_machine_changes_nothing(program: MakeClient, paths: Paths):
    (paths.extensions / "loud").mkdir(parents=True)
    (paths.extensions / "loud" / "__init__.py").write_text(CODE)
    restart = threading.Event()
    remote, local = program(host="192.168.1.7", restart=restart), program(restart=restart)
    proxied = program(Flags(nowebui=True, subpath="sd"), restart=restart)
    upload = {"files": {"file": ("a.zip", zip_of("new"))}, "data": {"accepts_code": "true"}}
    answers = [
        answer
        for path, body in CHANGES
        for answer in (
            remote.post(f"/internal/extensions/{path}", json=body),
            remote.post("/internal/extensions/upload", **upload),
            local.post(
                f"/internal/extensions/{path}", json=body, headers={"x-forwarded-for": "10.0.0.1"}
            ),
            local.post(f"/internal/extensions/{path}", json=body, headers={"host": "evil.example"}),
            proxied.post(f"/internal/extensions/{path}", json=body),
        )
    ]
    assert {answer.status_code for answer in answers} == {403}
    assert answers[0].json()["detail"].startswith("Extensions run any code, so they are installed")
    assert not restart.is_set()
    assert list(listed(remote)) == ["loud"]
    assert listed(remote)["loud"]["is_enabled"]
    assert remote.get("/internal/extensions").json()["may_change"] is False
    assert not paths.settings_file.exists()


def test_a_flag_lets_other_machines_install(program: MakeClient):
    client = program(Flags(nowebui=True, enable_insecure_extension_access=True), "192.168.1.7")
    sent = {"files": {"file": ("a.zip", zip_of("loud"))}, "data": {"accepts_code": "true"}}
    assert client.post("/internal/extensions/upload", **sent).status_code == 200
    assert client.get("/internal/extensions").json()["may_change"] is True


def test_nothing_is_installed_by_the_public_api(program: MakeClient):
    paths = program().get("/openapi.json").json()["paths"]
    assert [path for path in paths if "extension" in path] == ["/sdapi/v1/extensions"]
    assert list(paths["/sdapi/v1/extensions"]) == ["get"]


def test_nothing_is_cloned_where_downloads_are_off(program: MakeClient):
    client = program(Flags(nowebui=True, no_downloads=True))
    body = {"address": "https://example.org/x", "accepts_code": True}
    refused = client.post("/internal/extensions/install", json=body)
    assert refused.json()["detail"].startswith("This server was started with --no-downloads.")


@pytest.mark.skipif(os.name == "nt", reason="a process cannot replace itself there")
def test_the_page_restarts_the_server(program: MakeClient, monkeypatch: pytest.MonkeyPatch):
    raised: list[int] = []
    monkeypatch.setattr("signal.raise_signal", raised.append)
    restart = threading.Event()
    assert program(restart=restart).post("/internal/extensions/restart", json={}).json() == {}
    assert restart.is_set()
    assert len(raised) == 1


def test_the_example_serves_its_files_and_nothing_else(program: MakeClient, paths: Paths):
    folder = paths.extensions / "latent_contrast"
    folder.parent.mkdir(parents=True)
    example = ROOT / "docs" / "extensions" / "latent_contrast"
    for name in ("__init__.py", "steps.py", "pyproject.toml", "assets/panel.js"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((example / name).read_bytes())
    (folder / "assets" / "secret").symlink_to("/etc/passwd")
    client = program()
    row = listed(client)["latent_contrast"]
    assert (row["version"], row["state"]) == ("1.2", "loaded")
    (of_the_api,) = client.get("/sdapi/v1/extensions").json()
    assert (of_the_api["name"], of_the_api["version"], of_the_api["enabled"]) == (
        "latent_contrast",
        "1.2",
        True,
    )
    assert row["adds"] == [
        "sampler: Euler damped",
        "step extension: Latent contrast",
        "recipe: Model contrast",
        "settings section: latent_contrast",
        "tab: Latent contrast",
        "router: latent contrast",
    ]
    script = client.get("/extensions/latent_contrast/panel.js")
    assert script.text == (example / "assets" / "panel.js").read_text()
    assert script.headers["content-type"].startswith("text/javascript")
    assert client.get("/latent-contrast").json() == {"contrast": 0.0}
    for name in ("secret", "../steps.py", "%2e%2e/steps.py", "", "nothing.js", "%00"):
        assert client.get(f"/extensions/latent_contrast/{name}").status_code == 404
    assert client.get("/extensions/other/panel.js").status_code == 404
