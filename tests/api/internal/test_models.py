from __future__ import annotations

from fastapi.testclient import TestClient

from modules.engine.engine import Engine
from tests.conftest import write_listed_checkpoint


def test_files_are_listed_renamed_deleted_and_restored(client: TestClient, engine: Engine):
    folder = engine.paths.checkpoint_folders[0]
    write_listed_checkpoint(folder / "sub" / "mine.safetensors", "mine")
    (folder / "sub" / "mine.png").write_bytes(b"\x89PNG")
    files = client.post("/internal/models/refresh", json={}).json()["files"]
    mine = next(row for row in files if row["name"] == "sub/mine.safetensors")
    assert (mine["kind"], mine["family"], mine["has_preview"]) == ("Checkpoint", "SD 1.x", True)
    assert client.get(f"/internal/models/files/{mine['id']}/preview").content == b"\x89PNG"
    details = client.get(f"/internal/models/files/{mine['id']}").json()
    assert details["path"].endswith("mine.safetensors")
    assert len(client.post(f"/internal/models/files/{mine['id']}/hash").json()["sha256"]) == 64
    client.post(f"/internal/models/files/{mine['id']}/notes", json={"notes": "for cats"})
    assert (folder / "sub" / "mine.json").exists()
    assert client.get(f"/internal/models/files/{mine['id']}").json()["notes"] == "for cats"
    renamed = client.post(f"/internal/models/files/{mine['id']}/rename", json={"name": "other"})
    trashed = client.post(f"/internal/models/files/{renamed.json()['id']}/delete").json()
    assert trashed["name"] == "sub/other.safetensors"
    client.post(f"/internal/models/trash/{trashed['id']}/restore")
    assert (folder / "sub" / "other.safetensors").exists()


def test_no_path_of_a_request_reaches_the_disk(client: TestClient):
    for path in ("..%2f..%2fetc", "x"):
        for act in ("rename", "delete", "move", "convert", "hash"):
            answer = client.post(f"/internal/models/files/{path}/{act}", json={"name": "x"})
            assert answer.status_code in (404, 405)


def test_downloads_are_offered_and_refused_in_words(client: TestClient):
    overview = client.get("/internal/downloads").json()
    assert overview["catalogue"][0]["id"] == "sd-1.5"
    answer = client.post("/internal/downloads/address", json={"url": "file:///etc/passwd"})
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        "'file:///etc/passwd' is not a web address. Use https://.",
    )
    assert client.post("/internal/downloads/official/x").status_code == 404
    assert client.post("/internal/downloads/items/x/pause").status_code == 404


def test_a_token_is_never_sent_back(client: TestClient):
    body = {"host": "civitai.com", "token": "0123456789abcdef"}
    assert client.post("/internal/downloads/token", json=body).json() == {"tokens": ["civitai.com"]}
    assert "0123456789abcdef" not in client.get("/internal/downloads").text
