from __future__ import annotations

import json

from fastapi.testclient import TestClient

from modules.engine.engine import Engine


def test_save_images_saves_the_images_and_returns_the_grid_first(
    client: TestClient, engine: Engine
):
    body = {"width": 64, "height": 64, "steps": 1, "n_iter": 2, "seed": 5}
    saved = client.post("/sdapi/v1/txt2img", json={**body, "save_images": True}).json()
    info = json.loads(saved["info"])
    assert (len(saved["images"]), info["index_of_first_image"], len(info["infotexts"])) == (3, 1, 3)
    assert len(list(engine.paths.outputs.rglob("*.png"))) == 3
    unsaved = client.post("/sdapi/v1/txt2img", json=body).json()
    assert (len(unsaved["images"]), json.loads(unsaved["info"])["index_of_first_image"]) == (2, 0)
    assert len(list(engine.paths.outputs.rglob("*.png"))) == 3
