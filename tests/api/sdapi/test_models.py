from __future__ import annotations

from fastapi.testclient import TestClient

from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor


def test_a_checkpoint_is_unloaded_and_reloaded(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    assert executor.loaded == ["first.safetensors"]
    assert client.post("/sdapi/v1/unload-checkpoint").json() == {}
    assert executor.loaded == []
    assert engine.device_status.checkpoint == ""
    assert client.post("/sdapi/v1/reload-checkpoint").json() == {}
    assert executor.loaded == ["first.safetensors"]
    assert engine.device_status.checkpoint == "first.safetensors"


def test_reloading_a_loaded_checkpoint_does_nothing(client: TestClient, executor: FakeExecutor):
    client.post("/sdapi/v1/reload-checkpoint")
    assert executor.loaded == ["first.safetensors"]


def test_changing_an_option_does_not_reload_an_unloaded_checkpoint(
    client: TestClient, executor: FakeExecutor
):
    client.post("/sdapi/v1/unload-checkpoint")
    client.post("/sdapi/v1/options", json={"CLIP_stop_at_last_layers": 2})
    executor.wait_until_idle()
    assert executor.loaded == []


def test_an_unloaded_checkpoint_is_loaded_by_the_next_job(client: TestClient, engine: Engine):
    client.post("/sdapi/v1/unload-checkpoint")
    assert engine.submit(Txt2ImgRequest(width=64, height=64, steps=1)).wait(PATIENCE_S)
    assert engine.device_status.checkpoint == "first.safetensors"
