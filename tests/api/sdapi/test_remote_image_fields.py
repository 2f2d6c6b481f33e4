from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from modules.api.sdapi import remote_images
from modules.api.sdapi.remote_images import fetch_remote_images
from modules.engine.engine import Engine
from modules.params.settings import Settings

URL = "https://a.example/x.png"
BODY = {
    "init_images": [URL, "abcd"],
    "mask": URL,
    "prompt": URL,
    "imageList": [{"data": URL, "name": URL}],
}


def test_addresses_stay_while_fetching_is_off():
    assert fetch_remote_images(BODY, Settings()) == BODY


def test_addresses_in_the_places_of_pictures_are_fetched(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote_images, "fetch", lambda url: b"\x00")
    assert fetch_remote_images(BODY, Settings(api_enable_requests=True)) == {
        "init_images": ["AA==", "abcd"],
        "mask": "AA==",
        "prompt": URL,
        "imageList": [{"data": "AA==", "name": URL}],
    }


@pytest.mark.parametrize("path", ["extra-single-image", "png-info"])
def test_an_inner_address_is_refused_even_when_fetching_is_on(
    client: TestClient, engine: Engine, path: str
):
    engine.change_settings({"api_enable_requests": True})
    response = client.post(
        f"/sdapi/v1/{path}", json={"image": "http://169.254.169.254/latest/meta-data"}
    )
    assert response.status_code == 422
    assert "nothing is fetched from there" in response.json()["detail"]
