"""Lists of embeddings and hypernetworks in A1111's shapes."""

from __future__ import annotations

from fastapi.testclient import TestClient

from modules.core.paths import Paths
from tests.conftest import write_listed_checkpoint


def test_embeddings_are_loaded_or_skipped_by_the_width_of_the_checkpoint(
    client: TestClient, paths: Paths
):
    folder = paths.embeddings
    write_listed_checkpoint(folder / "fits.safetensors", "", {"emb_params": [2, 4]})
    write_listed_checkpoint(
        folder / "sub" / "xl.safetensors", "", {"clip_g": [1, 8], "clip_l": [1, 4]}
    )
    assert client.get("/sdapi/v1/embeddings").json() == {
        "loaded": {
            "fits": {
                "step": None,
                "sd_checkpoint": None,
                "sd_checkpoint_name": None,
                "shape": 4,
                "vectors": 2,
            }
        },
        "skipped": {
            "xl": {
                "step": None,
                "sd_checkpoint": None,
                "sd_checkpoint_name": None,
                "shape": 12,
                "vectors": 1,
            }
        },
    }


def test_a_refresh_lists_new_embeddings(client: TestClient, paths: Paths):
    assert client.get("/sdapi/v1/embeddings").json() == {"loaded": {}, "skipped": {}}
    write_listed_checkpoint(paths.embeddings / "new.safetensors", "", {"emb_params": [1, 4]})
    assert client.post("/sdapi/v1/refresh-embeddings").json() is None
    assert list(client.get("/sdapi/v1/embeddings").json()["loaded"]) == ["new"]


def test_hypernetworks_are_listed_with_their_paths(client: TestClient, paths: Paths):
    path = paths.data / "models" / "hypernetworks" / "sub" / "ink.pt"
    write_listed_checkpoint(path, "", {"8.0.linear.0.weight": [8, 8]})
    assert client.get("/sdapi/v1/hypernetworks").json() == [{"name": "ink", "path": str(path)}]
