"""The lists of sd-webui-controlnet's API."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from modules.engine.engine import Engine
from tests.models.control.control_files import write_tiny_controlnet


def get(client: TestClient, path: str) -> Any:
    response = client.get(f"/controlnet/{path}")
    assert response.status_code == 200
    return response.json()


def test_version_and_settings(client: TestClient, engine: Engine):
    assert get(client, "version") == {"version": 3}
    engine.change_settings({"control_net_unit_count": 5})
    assert get(client, "settings") == {"control_net_unit_count": 5}


def test_models_are_listed_by_name_and_hash_and_by_what_they_are_for(
    client: TestClient, engine: Engine
):
    folder = engine.paths.data / "models" / "ControlNet"
    assert get(client, "model_list?update=false") == {"model_list": ["None"]}
    write_tiny_controlnet(folder / "control_v11p_sd15_canny.safetensors")
    write_tiny_controlnet(folder / "old_canny.safetensors")
    _, first, second = get(client, "model_list")["model_list"]
    assert first.startswith("control_v11p_sd15_canny [") and len(first) == 34
    types = get(client, "control_types")["control_types"]
    assert list(types)[:3] == ["All", "Canny", "Depth"]
    assert types["Canny"] == {
        "module_list": ["none", "canny", "invert (from white bg & black line)"],
        "model_list": ["None", first, second],
        "default_option": "canny",
        "default_model": first,
    }
    assert types["Depth"]["model_list"] == ["None"]
    assert types["All"]["default_model"] == "None" and len(types["All"]["model_list"]) == 3


def test_preprocessors_are_listed_with_their_sliders(client: TestClient):
    answer = get(client, "module_list")
    assert answer["module_list"][0] == "none" and "depth" in answer["module_list"]
    assert answer["module_detail"]["canny"] == {
        "model_free": False,
        "sliders": [
            {"name": "Resolution", "value": 512, "min": 64, "max": 2048, "step": 8},
            {"name": "Low Threshold", "value": 100, "min": 1, "max": 255, "step": 1},
            {"name": "High Threshold", "value": 200, "min": 1, "max": 255, "step": 1},
        ],
    }
    assert answer["module_detail"]["reference_only"]["model_free"]
    assert "depth_midas" in get(client, "module_list?alias_names=true")["module_list"]
