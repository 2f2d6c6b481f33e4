"""The page's cards of extra networks."""

from __future__ import annotations

import base64
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.conftest import write_listed_checkpoint
from tests.models.networks.lora_files import write_lora


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(engine: Engine) -> Path:
    folder = engine.paths.data / "models" / "Lora"
    cover = "data:image/png;base64," + base64.b64encode(png("blue")).decode()
    write_lora(
        folder / "sub" / "ink.safetensors",
        metadata={
            "ss_output_name": "soft ink",
            "modelspec.thumbnail": cover,
            "modelspec.trigger_phrase": "inked",
            "ss_tag_frequency": json.dumps({"1_a": {"ink": 3, "cat": 1}, "2_b": {"ink": 2}}),
        },
    )
    write_lora(folder / "wash.safetensors")
    (folder / "wash.png").write_bytes(png("red"))
    write_listed_checkpoint(
        engine.paths.data / "embeddings" / "easy.pt", "", {"emb_params": [1, 4]}
    )
    hypernetworks = engine.paths.data / "models" / "hypernetworks"
    write_listed_checkpoint(hypernetworks / "anime.pt", "", {"320.0.linear.0.weight": [2, 2]})
    return folder


def cards(client: TestClient) -> dict[str, dict[str, Any]]:
    answer = client.post("/internal/networks/refresh").json()
    assert {kind["name"]: kind["folder"] for kind in answer["kinds"]} == {
        "LoRA": "models/Lora",
        "Embedding": "embeddings",
        "Hypernetwork": "models/hypernetworks",
        "Checkpoint": "models/Stable-diffusion",
    }
    return {card["name"]: card for card in answer["cards"] if card["kind"] != "Checkpoint"}


def colour_of(client: TestClient, card: dict[str, Any]) -> tuple[int, ...]:
    answer = client.get(f"/internal/networks/{card['id']}/thumbnail")
    assert answer.headers["content-type"] == "image/jpeg"
    pixel = Image.open(io.BytesIO(answer.content)).convert("RGB").getpixel((4, 4))
    assert isinstance(pixel, tuple)
    return tuple(round(value / 255) for value in pixel)


def test_cards_of_all_kinds(client: TestClient, folder: Path):
    found = cards(client)
    assert list(found) == ["ink", "wash", "easy", "anime"]
    ink = found["ink"]
    assert (ink["kind"], ink["tag"], ink["prompt_name"], ink["folder"]) == (
        "LoRA",
        "lora",
        "soft ink",
        "sub",
    )
    assert (ink["family"], ink["weight"], ink["error"], ink["hash"]) == ("SD 1.x", 1, "", "")
    assert [found[name]["tag"] for name in ("wash", "easy", "anime")] == ["lora", "", "hypernet"]
    digest = client.post(f"/internal/networks/{ink['id']}/hash").json()["hash"]
    assert len(digest) == 12 and cards(client)["ink"]["hash"] == digest
    assert client.get("/internal/networks/none").status_code == 404


def test_a_card_of_a_checkpoint_has_the_name_that_chooses_it(client: TestClient, engine: Engine):
    write_listed_checkpoint(engine.paths.checkpoint_folders[0] / "sub" / "mine.safetensors")
    rows = client.post("/internal/networks/refresh").json()["cards"]
    mine = next(row for row in rows if row["kind"] == "Checkpoint" and row["name"] == "mine")
    assert (mine["folder"], mine["family"], mine["tag"]) == ("sub", "SD 1.x", "")
    body = {"action": "checkpoint", "value": mine["prompt_name"]}
    state = client.post("/internal/model", json=body).json()
    assert (state["checkpoint"], state["network_family"]) == ("sub/mine.safetensors", "SD 1.x")


def test_cards_tell_when_each_was_used_last(client: TestClient, engine: Engine, folder: Path):
    assert {card["used"] for card in cards(client).values()} == {0}
    started = time.time()
    prompt = "a cat <lora:ink:1> <lyco:soft ink:0.5> <hypernet:anime:0.3>"
    assert engine.submit(Txt2ImgRequest(prompt=prompt, width=64, height=64, steps=1)).wait(20)
    used = {name: card["used"] for name, card in cards(client).items()}
    assert used["wash"] == used["easy"] == 0
    assert started - 1 < used["ink"] == used["anime"] <= time.time()


def test_a_file_in_the_wrong_folder_tells_its_home_and_is_moved_there(
    client: TestClient, engine: Engine, folder: Path
):
    write_listed_checkpoint(folder / "style.pt", "", {"emb_params": [1, 768]})
    style = cards(client)["style"]
    assert style["error"]
    assert client.get(f"/internal/networks/{style['id']}").json()["home"] == "embeddings"
    assert client.post(f"/internal/models/files/{style['id']}/move").status_code == 200
    moved = cards(client)["style"]
    assert (moved["kind"], moved["error"]) == ("Embedding", "")
    assert client.get(f"/internal/networks/{moved['id']}").json()["home"] == ""


def test_the_family_that_a_user_notes_counts(client: TestClient, folder: Path):
    (folder / "wash.json").write_text('{"sd version": "SDXL"}')
    assert cards(client)["wash"]["family"] == "SDXL"


def test_the_name_on_a_card_is_that_of_the_file_by_an_option(
    client: TestClient, engine: Engine, folder: Path
):
    engine.change_settings({"lora_preferred_name": "Filename"})
    assert cards(client)["ink"]["prompt_name"] == "ink"


def test_pictures_beside_the_file_and_in_its_metadata(client: TestClient, folder: Path):
    found = cards(client)
    assert colour_of(client, found["ink"]) == (0, 0, 1)
    assert colour_of(client, found["wash"]) == (1, 0, 0)
    (folder / "sub" / "ink.preview.png").write_bytes(png("lime"))
    changed = cards(client)["ink"]
    assert changed["picture"] != found["ink"]["picture"]
    assert colour_of(client, changed) == (0, 1, 0)
    assert (found["easy"]["picture"], found["anime"]["picture"]) == ("", "")
    assert client.get(f"/internal/networks/{found['easy']['id']}/thumbnail").status_code == 404


def test_details_tell_the_trained_words(client: TestClient, folder: Path):
    ink = cards(client)["ink"]
    details = client.get(f"/internal/networks/{ink['id']}").json()
    assert details["words"] == [["inked", 0], ["ink", 5], ["cat", 1]]
    assert details["metadata"]["ss_output_name"] == "soft ink"
    assert details["path"].endswith("ink.safetensors")


def test_notes_are_kept_as_a1111_keeps_them(client: TestClient, folder: Path):
    theirs = {"description": "brush", "sd version": "SD1", "preferred weight": 0.7, "other": [1]}
    (folder / "wash.json").write_text(json.dumps(theirs))
    wash = cards(client)["wash"]
    assert (wash["description"], wash["noted_family"], wash["weight"]) == ("brush", "SD1", 0.7)
    body = {"activation_text": "wash of colour", "preferred_weight": 0.5, "notes": "mine"}
    answer = client.post(f"/internal/networks/{wash['id']}/notes", json=body).json()
    assert (answer["activation_text"], answer["weight"]) == ("wash of colour", 0.5)
    assert json.loads((folder / "wash.json").read_text()) == {
        "description": "",
        "sd version": "",
        "preferred weight": 0.5,
        "other": [1],
        "activation text": "wash of colour",
        "notes": "mine",
    }


def test_a_file_of_another_program_is_not_overwritten(client: TestClient, folder: Path):
    (folder / "wash.json").write_text("[1, 2]")
    wash = cards(client)["wash"]
    answer = client.post(f"/internal/networks/{wash['id']}/notes", json={"notes": "x"})
    assert answer.status_code == 422
    assert (folder / "wash.json").read_text() == "[1, 2]"
    weight = '{"preferred_weight": 1e999}'
    answer = client.post(f"/internal/networks/{wash['id']}/notes", content=weight)
    assert answer.status_code == 422


def test_a_finished_image_becomes_the_preview(client: TestClient, engine: Engine, folder: Path):
    job = engine.submit(Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=1))
    assert job.wait(20)
    wash = cards(client)["wash"]
    url = f"/internal/networks/{wash['id']}/preview"
    assert client.post(url, json={"image": f"{job.id}.0"}).status_code == 200
    assert Image.open(folder / "wash.preview.png").size == (64, 64)
    assert client.post(url, json={"image": "../x.0"}).status_code == 404


def test_2000_files_are_listed_within_a_second_once_they_are_known(
    client: TestClient, engine: Engine
):
    folder = engine.paths.data / "models" / "Lora"
    for number in range(2000):
        write_lora(folder / f"{number % 20}" / f"{number}.safetensors")
    assert len(cards(client)) == 2000  # reads every header
    started = (
        time.thread_time()
    )  # of this thread only, whatever else the process and the machine do
    engine.networks.refresh()
    assert sum(card.kind == "LoRA" for card in engine.networks.all()) == 2000
    assert time.thread_time() - started < 1
