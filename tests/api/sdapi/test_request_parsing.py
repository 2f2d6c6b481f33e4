from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient

URL = "/sdapi/v1/txt2img"
TEXT = (
    "a cat\nNegative prompt: a dog\nSteps: 7, Sampler: DDIM, CFG scale: 3, Seed: 3, Size: 64x128, Model: second, "
    "Clip skip: 2, RNG: CPU, Odd key: 1"
)


def generate(client: TestClient, **body: object) -> tuple[str, list[str]]:
    """Return the infotext of the image and the warnings."""
    answer = client.post(URL, json=body).json()
    return json.loads(answer["info"])["infotexts"][0], answer["warnings"]


def test_an_infotext_fills_missing_fields_of_a_request(client: TestClient):
    text, warnings = generate(client, infotext=TEXT)
    assert text.startswith("a cat\nNegative prompt: a dog\nSteps: 7, Sampler: DDIM, ")
    for pair in (
        "CFG scale: 3,",
        "Seed: 3,",
        "Size: 64x128,",
        "Model: second,",
        "Clip skip: 2,",
        "RNG: CPU,",
    ):
        assert pair in text
    assert warnings == ["Odd key (1): this key is unknown."]


def test_fields_of_a_request_have_priority_over_its_infotext(client: TestClient):
    text, _ = generate(
        client,
        infotext=TEXT,
        steps=4,
        sampler_index="Euler a",
        seed=None,
        override_settings={"CLIP_stop_at_last_layers": 3, "sd_model_checkpoint": "first"},
    )
    for pair in (
        "Steps: 4,",
        "Sampler: Euler a,",
        "Seed: 3,",
        "Clip skip: 3,",
        "RNG: CPU,",
        "Model: first,",
    ):
        assert pair in text


def test_a_prompt_alone_is_an_infotext(client: TestClient):
    text, _ = generate(client, infotext="a tree", width=64, height=64, steps=2)
    assert text.startswith("a tree\nSteps: 2, Sampler: Euler, ")


@pytest.mark.parametrize("infotext", ["", None, "  "])
def test_an_empty_infotext_changes_nothing(client: TestClient, infotext: object):
    text, warnings = generate(
        client, infotext=infotext, prompt="a cat", width=64, height=64, steps=2
    )
    assert text.startswith("a cat\nSteps: 2, Sampler: Euler, ")
    assert warnings == []


def test_an_infotext_that_is_not_a_string_is_refused(client: TestClient):
    answer = client.post(URL, json={"infotext": {"a": 1}})
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        "infotext is {'a': 1}; a text is needed.",
    )
