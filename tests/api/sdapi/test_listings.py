from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from modules.engine.engine import Engine
from modules.prompt.styles import Style
from tests.conftest import write_listed_checkpoint
from tests.engine.fake_executor import FakeExecutor


def test_samplers_are_listed_in_order_with_their_aliases(client: TestClient, engine: Engine):
    rows = client.get("/sdapi/v1/samplers").json()
    assert [row["name"] for row in rows] == engine.samplers.names()
    assert rows[0] == {
        "name": "DPM++ 2M",
        "aliases": ["k_dpmpp_2m"],
        "options": {"scheduler": "karras"},
    }
    assert all(isinstance(value, str) for row in rows for value in row["options"].values())


def test_a_samplers_options_are_a1111s(client: TestClient):
    options = {row["name"]: row["options"] for row in client.get("/sdapi/v1/samplers").json()}
    assert options["LMS"] == options["PLMS"] == {}
    assert options["Euler a"] == {
        "uses_ensd": "True",
        "settings": "eta_ancestral, eta_noise_seed_delta",
    }
    assert options["DPM++ SDE"] == {
        "scheduler": "karras",
        "brownian_noise": "True",
        "second_order": "True",
        "settings": "eta_ancestral, s_noise",
    }
    assert {name for name, values in options.items() if "uses_ensd" in values} == {
        *("Euler a", "DPM2 a", "DPM++ 2S a", "DPM fast", "DPM adaptive"),
    }


def test_schedules_are_listed_as_a1111_lists_them(client: TestClient, engine: Engine):
    schedulers = {row["name"]: row for row in client.get("/sdapi/v1/schedulers").json()}
    assert [row["label"] for row in schedulers.values()] == engine.schedules.names()
    assert schedulers["karras"] == {
        "name": "karras",
        "label": "Karras",
        "aliases": None,
        "default_rho": 7.0,
        "need_inner_model": False,
    }
    assert schedulers["sgm_uniform"]["aliases"] == ["SGMUniform"]
    assert schedulers["sgm_uniform"]["default_rho"] == -1
    assert [name for name, row in schedulers.items() if row["need_inner_model"]] == [
        *("uniform", "sgm_uniform", "simple", "normal", "ddim", "beta"),
    ]


def test_checkpoints_are_listed_with_a1111s_keys(client: TestClient, engine: Engine):
    sha256 = engine.models.sha256(engine.models.find_checkpoint("second"))
    rows = client.get("/sdapi/v1/sd-models").json()
    assert rows[1] == {
        "title": f"sub/second.safetensors [{sha256[:10]}]",
        "model_name": "second",
        "hash": sha256[:10],
        "sha256": sha256,
        "filename": str(engine.paths.checkpoint_folders[0] / "sub" / "second.safetensors"),
        "config": None,
    }


def test_a_damaged_checkpoint_is_not_listed(client: TestClient, engine: Engine):
    (engine.paths.checkpoint_folders[0] / "broken.safetensors").write_bytes(b"")
    client.post("/sdapi/v1/refresh-checkpoints")
    names = [row["model_name"] for row in client.get("/sdapi/v1/sd-models").json()]
    assert names == ["first", "second"]


def test_refresh_finds_a_new_file(client: TestClient, engine: Engine):
    write_listed_checkpoint(engine.paths.checkpoint_folders[0] / "third.safetensors", "third")
    response = client.post("/sdapi/v1/refresh-checkpoints")
    assert (response.status_code, response.json()) == (200, None)
    assert len(client.get("/sdapi/v1/sd-models").json()) == 3


def test_options_are_read_and_written(client: TestClient, executor: FakeExecutor):
    assert (
        client.get("/sdapi/v1/options")
        .json()["sd_model_checkpoint"]
        .startswith("first.safetensors")
    )
    response = client.post("/sdapi/v1/options", json={"sd_model_checkpoint": "second"})
    assert (response.status_code, response.json()) == (200, None)
    executor.wait_until_idle()
    assert (
        client.get("/sdapi/v1/options")
        .json()["sd_model_checkpoint"]
        .startswith("sub/second.safetensors")
    )
    assert executor.loaded[-1] == "sub/second.safetensors"


def test_a_checkpoint_can_be_selected_by_title(client: TestClient, engine: Engine):
    engine.models.sha256(engine.models.find_checkpoint("second"))
    title = client.get("/sdapi/v1/sd-models").json()[1]["title"]
    assert client.post("/sdapi/v1/options", json={"sd_model_checkpoint": title}).status_code == 200
    assert engine.find_checkpoint().model_name == "second"


def test_an_unknown_option_is_refused_with_similar_names(client: TestClient):
    response = client.post("/sdapi/v1/options", json={"sd_model_chekpoint": "second"})
    assert response.status_code == 422
    assert response.json()["detail"] == (
        "There is no option 'sd_model_chekpoint'. Did you mean 'sd_model_checkpoint' or 'sd_checkpoints_limit' or 'sd_noise_schedule'?"
    )


def test_an_unknown_checkpoint_is_refused_and_nothing_changes(client: TestClient, engine: Engine):
    response = client.post("/sdapi/v1/options", json={"sd_model_checkpoint": "thrd"})
    assert response.status_code == 404
    assert response.json()["error"] == "NotFound"
    assert engine.settings.sd_model_checkpoint == "first.safetensors"


@pytest.mark.parametrize("value", [None, ""])
def test_an_empty_checkpoint_option_changes_nothing(
    client: TestClient, engine: Engine, value: str | None
):
    assert client.post("/sdapi/v1/options", json={"sd_model_checkpoint": value}).status_code == 200
    assert engine.settings.sd_model_checkpoint == "first.safetensors"


def test_styles_are_listed_as_in_the_file(client: TestClient, engine: Engine):
    assert client.get("/sdapi/v1/prompt-styles").json() == []
    engine.styles.save(Style("ink", "{prompt}, ink", "photo"))
    assert client.get("/sdapi/v1/prompt-styles").json() == [
        {"name": "ink", "prompt": "{prompt}, ink", "negative_prompt": "photo"}
    ]


def test_the_active_checkpoint_has_the_title_and_hash_of_its_row_in_the_models(
    client: TestClient, engine: Engine
):
    engine.models.sha256(engine.models.find_checkpoint("first"))
    options, (first, _) = (
        client.get("/sdapi/v1/options").json(),
        client.get("/sdapi/v1/sd-models").json(),
    )
    assert options["sd_model_checkpoint"] == first["title"]
    assert options["sd_checkpoint_hash"] == first["sha256"]


def test_all_options_can_be_sent_back_unchanged(client: TestClient, engine: Engine):
    before = engine.settings
    assert (
        client.post("/sdapi/v1/options", json=client.get("/sdapi/v1/options").json()).status_code
        == 200
    )
    assert engine.settings == before


def test_upscalers_are_listed_with_a1111s_keys(client: TestClient):
    rows = client.get("/sdapi/v1/upscalers").json()
    assert [row["name"] for row in rows] == ["None", "Lanczos", "Nearest"]
    assert rows[1] == {
        "name": "Lanczos",
        "model_name": None,
        "model_path": None,
        "model_url": None,
        "scale": 4,
    }


def test_latent_upscale_modes_are_a1111s(client: TestClient):
    rows = client.get("/sdapi/v1/latent-upscale-modes").json()
    assert [row["name"] for row in rows][:2] == ["Latent", "Latent (antialiased)"]
    assert len(rows) == 6


def test_face_restorers_are_listed_without_their_files_as_in_a1111(client: TestClient):
    rows = client.get("/sdapi/v1/face-restorers").json()
    assert rows == [{"name": name, "cmd_dir": None} for name in ("CodeFormer", "GFPGAN")]
