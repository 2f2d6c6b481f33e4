from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from modules.api.routes import add_routes
from modules.core.flags import Flags
from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.params.param import params_of
from modules.params.settings import Settings
from modules.params.settings.sections import SECTIONS
from tests.conftest import builtin_registries
from tests.engine.fake_executor import FakeExecutor

URL = "/internal/settings"


def options(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        option["name"]: option for section in answer["sections"] for option in section["options"]
    }


def test_every_option_is_in_the_tab_or_in_the_checkpoint_bar(client: TestClient):
    found = options(client.get(URL).json())
    assert found.keys() | {"sd_model_checkpoint", "sd_predictions"} == Settings.model_fields.keys()
    assert {row.section for row in params_of(Settings).values()} <= set(SECTIONS.names())


def test_an_option_is_described_as_it_is_declared(client: TestClient):
    found = options(client.get(URL).json())
    assert found["jpeg_quality"] == {
        "name": "jpeg_quality",
        "label": "Quality for saved jpeg and webp images",
        "help": "Higher values give larger files that are closer to the picture.",
        "kind": "slider",
        "min": 1,
        "max": 100,
        "step": 1,
        "least": 1,
        "most": 100,
        "lines": 1,
        "value": 80,
        "default": 80,
        "flag": "",
    }
    assert [value for _, value in found["samples_format"]["choices"]] == ["png", "jpg", "webp"]
    assert ["sd_vae", "sd_vae"] in found["quicksettings_list"]["choices"]
    assert [
        found[name]["kind"]
        for name in ("grid_save", "eta_ddim", "samples_filename_pattern", "quicksettings_list")
    ] == ["check", "slider", "text", "choices"]


def test_a_change_is_saved_and_returned(client: TestClient, engine: Engine):
    answer = client.post(URL, json={"changes": {"jpeg_quality": 90}}).json()
    assert options(answer)["jpeg_quality"]["value"] == engine.settings.jpeg_quality == 90
    assert json.loads(engine.settings_path.read_text(encoding="utf-8"))["jpeg_quality"] == 90


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"jpeg_quality": 500}, "the largest valid value is 100"),
        ({"jpeg_qualty": 5}, "There is no field 'jpeg_qualty'."),
        ({"grid_background_color": "red"}, "'red' is not a colour"),
    ],
)
def test_an_invalid_change_is_refused_and_nothing_changes(
    client: TestClient, engine: Engine, changes: Any, message: str
):
    response = client.post(URL, json={"changes": {"send_seed": False, **changes}})
    assert response.status_code == 422
    assert message in response.json()["detail"]
    assert engine.settings.send_seed


def test_one_option_or_all_are_reset_to_their_defaults(client: TestClient, engine: Engine):
    engine.change_settings({"jpeg_quality": 90, "send_seed": False, "CLIP_stop_at_last_layers": 2})
    client.post(f"{URL}/reset", json={"names": ["send_seed"]})
    assert (engine.settings.jpeg_quality, engine.settings.send_seed) == (90, True)
    client.post(f"{URL}/reset", json={})
    assert engine.settings.jpeg_quality == 80
    assert engine.settings.CLIP_stop_at_last_layers == 1
    assert client.post(f"{URL}/reset", json={"names": ["x"]}).status_code == 422


def test_an_option_set_by_a_flag_names_the_flag(paths: Paths, executor: FakeExecutor, tokenizer):
    engine = Engine(
        paths,
        executor,
        tokenizer,
        builtin_registries(),
        {"sd_checkpoints_limit": 2, "sd_model_checkpoint": "second"},
    )
    engine.start()
    executor.wait_until_idle()
    app = FastAPI()
    add_routes(app, engine, Flags(no_api=True))
    answer = TestClient(app).get(URL).json()
    assert options(answer)["sd_checkpoints_limit"]["flag"] == "--sd-checkpoints-limit"
    assert {"flag": "--ckpt", "label": "Stable Diffusion checkpoint", "value": "second"} in answer[
        "flags"
    ]
    engine.stop()


def test_a_damaged_settings_file_is_reported_in_the_tab_and_in_the_banner(
    paths: Paths, executor: FakeExecutor, tokenizer
):
    (paths.data / "config.json").write_text("{")
    engine = Engine(paths, executor, tokenizer, builtin_registries())
    engine.start()
    executor.wait_until_idle()
    app = FastAPI()
    add_routes(app, engine)
    client = TestClient(app)
    assert "it is kept as config.json.unreadable" in client.get(URL).json()["remark"]
    assert "it is kept as config.json.unreadable" in client.get("/internal/state").json()["warning"]
    engine.stop()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/sdapi/v1/options", {"jpeg_quality": 70}),
        ("/internal/settings", {"changes": {"jpeg_quality": 70}}),
        ("/internal/settings/reset", {"names": ["jpeg_quality"]}),
    ],
)
def test_options_that_cannot_be_stored_are_an_error(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, object]
):
    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    answer = client.post(path, json=body)
    assert answer.status_code == 507
    assert "could not be stored" in answer.json()["detail"]
    assert "No space left on device" in answer.json()["detail"]
