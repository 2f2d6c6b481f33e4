from __future__ import annotations

from fastapi.testclient import TestClient


def test_upscalers_are_listed_with_a1111s_keys(client: TestClient):
    listed = client.get("/sdapi/v1/upscalers").json()
    assert [row["name"] for row in listed] == ["None", "Lanczos", "Nearest"]
    assert listed[1] == {
        "name": "Lanczos",
        "model_name": None,
        "model_path": None,
        "model_url": None,
        "scale": 4,
    }


def test_latent_upscale_modes_are_a1111s(client: TestClient):
    listed = client.get("/sdapi/v1/latent-upscale-modes").json()
    assert [row["name"] for row in listed][:2] == ["Latent", "Latent (antialiased)"]
    assert len(listed) == 6
