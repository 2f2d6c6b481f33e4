from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient

from modules.engine.engine import Engine
from tests.engine.fake_executor import FakeExecutor


def write_vae(engine: Engine) -> None:
    folder = engine.paths.vae_folders[0]
    folder.mkdir(parents=True)
    (folder / "mse.pt").write_bytes(b"a VAE")


def test_vaes_are_listed_after_a_refresh(client: TestClient, engine: Engine):
    assert client.get("/sdapi/v1/sd-vae").json() == []
    write_vae(engine)
    assert client.post("/sdapi/v1/refresh-vae").status_code == 200
    path = engine.paths.vae_folders[0] / "mse.pt"
    assert client.get("/sdapi/v1/sd-vae").json() == [
        {"model_name": "mse.pt", "filename": str(path)}
    ]


def test_model_options_are_set_and_null_changes_nothing(client: TestClient, engine: Engine):
    write_vae(engine)
    client.post("/sdapi/v1/refresh-vae")
    body = {"sd_vae": "mse.pt", "sd_checkpoints_limit": 2, "sd_use_ema": None}
    assert client.post("/sdapi/v1/options", json=body).status_code == 200
    options = client.get("/sdapi/v1/options").json()
    assert (options["sd_vae"], options["sd_checkpoints_limit"], options["sd_use_ema"]) == (
        "mse.pt",
        2,
        False,
    )


def test_a_missing_vae_is_refused(client: TestClient):
    response = client.post("/sdapi/v1/options", json={"sd_vae": "gone.pt"})
    assert response.status_code == 404
    assert "no VAE named 'gone.pt'" in response.json()["detail"]


def test_changing_clip_skip_reloads_nothing(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    loaded = list(executor.loaded)
    body = {"CLIP_stop_at_last_layers": 2}
    assert client.post("/sdapi/v1/options", json=body).status_code == 200
    executor.wait_until_idle()
    assert client.get("/sdapi/v1/options").json()["CLIP_stop_at_last_layers"] == 2
    assert executor.loaded == loaded
    answer = client.post("/sdapi/v1/txt2img", json={"width": 64, "height": 64, "steps": 1}).json()
    assert "Clip skip: 2" in json.loads(answer["info"])["infotexts"][0]


FOREIGN = [
    "live_preview_content",
    "live_preview_fast_interrupt",
    "sd_unet",
    "upcast_attn",
    "face_restoration_model",
    "grid_save_to_dirs",
    "save_images_before_highres_fix",
    "CLIP_ignore_last_layers",
    "sd_vae_encode_method",
    "forge_preset",
    "forge_additional_modules",
    "textual_inversion_print_at_load",
    "x" * 70000,
]


@pytest.mark.parametrize("name", FOREIGN)
def test_an_option_of_another_program_is_ignored_and_the_rest_is_set(client: TestClient, name: str):
    body = {name: True, "jpeg_quality": 70, "sd_checkpoint_hash": ""}
    response = client.post("/sdapi/v1/options", json=body)
    assert (response.status_code, response.json()) == (200, None)
    options = client.get("/sdapi/v1/options").json()
    assert (options["jpeg_quality"], name in options) == (70, False)


def test_options_of_another_program_stay_in_the_file(client: TestClient, engine: Engine):
    engine.settings_path.write_text('{"sd_unet": "Automatic"}')
    client.post("/sdapi/v1/options", json={"sd_unet": "None", "jpeg_quality": 70})
    stored = json.loads(engine.settings_path.read_text())
    assert (stored["sd_unet"], stored["jpeg_quality"]) == ("Automatic", 70)


@pytest.mark.parametrize("name", ["jpeg_qualty", "clip_stop_at_last_layers", "sd_vea", "s_chrn"])
def test_a_misspelt_option_is_refused_and_nothing_is_set(
    client: TestClient, engine: Engine, name: str
):
    response = client.post("/sdapi/v1/options", json={"jpeg_quality": 70, name: 1})
    assert response.status_code == 422
    assert response.json()["detail"].startswith(f"There is no option '{name}'. Did you mean")
    assert engine.settings.jpeg_quality == 80


def test_whole_numbers_among_the_options_are_integers(client: TestClient):
    changes = {"CLIP_stop_at_last_layers": 2.0, "jpeg_quality": "70", "s_churn": 1.0, "rho": 1.5}
    assert client.post("/sdapi/v1/options", json=changes).status_code == 200
    options = client.get("/sdapi/v1/options").json()
    assert [repr(options[name]) for name in changes] == ["2", "70", "1", "1.5"]
    numbers = [value for value in options.values() if isinstance(value, float)]
    assert not any(number.is_integer() for number in numbers)


def test_a_clip_skip_out_of_range_is_refused(client: TestClient):
    response = client.post("/sdapi/v1/options", json={"CLIP_stop_at_last_layers": 13})
    assert response.status_code == 422
    assert "Clip skip is 13; the largest valid value is 12." in response.json()["detail"]
