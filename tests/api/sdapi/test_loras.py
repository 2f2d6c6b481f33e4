"""The lists of LoRA files and what A1111's page asks about cards."""

from __future__ import annotations

import json

from fastapi.testclient import TestClient

from modules.engine.engine import Engine
from tests.models.networks.lora_files import write_lora


def test_loras_are_listed_in_a1111s_shape(client: TestClient, engine: Engine):
    assert client.get("/sdapi/v1/loras").json() == []
    folder = engine.paths.data / "models" / "Lora"
    metadata = {
        "ss_tag_frequency": '{"1_ink": {"ink": 3}}',
        "ss_output_name": "soft ink",
        "ss_sd_model_name": "model.ckpt",
        "ssmd_cover_images": "[]",
    }
    path = write_lora(folder / "ink.safetensors", metadata=metadata)
    (folder / "broken.safetensors").write_bytes(b"x")
    assert client.post("/sdapi/v1/refresh-loras").json() is None
    (row,) = client.get("/sdapi/v1/loras").json()
    assert row == {
        "name": "ink",
        "alias": "soft ink",
        "path": str(path),
        "metadata": {
            "ss_sd_model_name": "model.ckpt",
            "ss_tag_frequency": {"1_ink": {"ink": 3}},
            "ss_output_name": "soft ink",
        },
    }
    assert list(row["metadata"]) == ["ss_sd_model_name", "ss_tag_frequency", "ss_output_name"]


def test_pictures_and_metadata_of_cards(client: TestClient, engine: Engine):
    folder = engine.paths.data / "models" / "Lora"
    write_lora(folder / "ink.safetensors", metadata={"ss_network_dim": "4"})
    (folder / "ink.preview.png").write_bytes(b"\x89PNG")
    client.post("/sdapi/v1/refresh-loras")
    picture = str(folder / "ink.preview.png")
    assert (
        client.get("/sd_extra_networks/thumb", params={"filename": picture}).content == b"\x89PNG"
    )
    for other in (str(folder / "ink.safetensors"), "/etc/passwd", ""):
        answer = client.get("/sd_extra_networks/thumb", params={"filename": other})
        assert answer.status_code == 404
    query = {"page": "lora", "item": "ink"}
    answer = client.get("/sd_extra_networks/metadata", params=query).json()
    assert json.loads(answer["metadata"]) == {"ss_network_dim": "4"}
    query["item"] = "none"
    assert client.get("/sd_extra_networks/metadata", params=query).json() == {}
    assert client.get("/sd_extra_networks/cover-images", params=query).status_code == 404
