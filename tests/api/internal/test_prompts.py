from __future__ import annotations

import io

from fastapi.testclient import TestClient
from PIL import Image

from modules.engine.engine import Engine
from modules.prompt.styles import Style

TEXT = "a cat\nNegative prompt: a dog\nSteps: 7, Seed: 9, Clip skip: 2"
INK = {"name": "ink", "prompt": "{prompt}, ink", "negative_prompt": "photo"}


def upload(client: TestClient, data: bytes) -> str:
    return client.post("/internal/uploads", files={"file": ("a.png", data)}).json()["id"]


def test_tokens_of_both_prompts_are_counted(client: TestClient):
    body = {"prompt": "a cat", "negative_prompt": "dog", "styles": [], "steps": 20}
    counts = client.post("/internal/tokens", json=body).json()
    assert counts == {"prompt": "2/75", "negative_prompt": "1/75", "drawn": ""}


def test_an_infotext_fills_a_form(client: TestClient):
    body = {"task": "txt2img", "text": TEXT, "controls": ["img2img_fix_steps", "nonsense"]}
    filling = client.post("/internal/infotext", json=body).json()
    assert (filling["values"]["steps"], filling["values"]["styles"]) == (7, [])
    assert filling["values"]["override_settings"] == {"img2img_fix_steps": False}
    assert filling["chips"] == ["Clip skip: 2"]
    assert filling["messages"] == []


def test_an_uploaded_image_is_read_for_its_infotext(client: TestClient):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", comment=TEXT)
    body = {"task": "txt2img", "upload": upload(client, buffer.getvalue())}
    assert client.post("/internal/infotext", json=body).json()["values"]["prompt"] == "a cat"


def test_what_cannot_be_read_is_refused_in_words(client: TestClient):
    answer = client.post("/internal/infotext", json={"task": "txt2img", "upload": "../x"})
    assert answer.status_code == 404
    assert "Upload it again." in answer.json()["detail"]
    body = {"task": "nonsense", "text": TEXT}
    assert client.post("/internal/infotext", json=body).status_code == 404


def test_styles_are_saved_applied_and_deleted(client: TestClient, engine: Engine):
    saved = client.post("/internal/styles", json={**INK, "name": " ink "}).json()
    assert saved["message"] == "Saved the style 'ink'."
    assert client.get("/internal/styles").json() == [INK]
    assert client.get("/internal/choices").json()["lists"]["styles"] == ["ink"]
    body = {"prompt": "a cat", "negative_prompt": "", "styles": ["ink"]}
    styled = client.post("/internal/styles/apply", json=body).json()
    assert styled == {"prompt": "a cat, ink", "negative_prompt": "photo", "styles": []}
    client.post("/internal/styles/delete", json={"name": "ink"})
    assert engine.styles.names() == []
    assert client.post("/internal/styles/apply", json=body).status_code == 404


def test_a_style_shows_what_it_makes_of_the_prompts_before_it_is_saved(
    client: TestClient, engine: Engine
):
    engine.styles.save(Style("old", "old paper"))
    body = {"prompt": "a cat", "styles": ["old"], "unsaved": {**INK, "name": ""}}
    styled = client.post("/internal/styles/apply", json=body).json()
    assert (styled["prompt"], styled["negative_prompt"]) == ("a cat, old paper, ink", "photo")


def test_a_style_without_a_name_is_refused(client: TestClient):
    answer = client.post("/internal/styles", json={**INK, "name": " "})
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        "A style needs a name. Type one and save again.",
    )


def test_demo_prompts_are_offered_with_a_demo_checkpoint_alone(client: TestClient):
    assert client.get("/internal/choices").json()["demo_prompts"] == []
