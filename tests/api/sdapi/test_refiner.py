"""The refiner's fields of A1111's API, with tiny checkpoints that the real backend loads one after the other."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from modules.api.routes import add_routes
from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.engine.executors.local import LocalExecutor
from modules.params.device_options import DeviceOptions
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import write_checkpoint
from tests.conftest import builtin_registries

SMALL = {
    "prompt": "a cat",
    "width": 64,
    "height": 64,
    "steps": 4,
    "seed": 5,
    "override_settings": {"sd_model_checkpoint": "first"},
}


@pytest.fixture(scope="module")
def client(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: ClipTokenizer
) -> Iterator[TestClient]:
    home: Path = tmp_path_factory.mktemp("webui")
    for seed, name in enumerate(("first", "second")):
        path = home / "models" / "Stable-diffusion" / f"{name}.safetensors"
        write_checkpoint(path, seed=seed)
    device = LocalExecutor(DeviceOptions(use_cpu=True), tokenizer)
    engine = Engine(Paths(home, home), device, tokenizer, builtin_registries())
    engine.start()
    app = FastAPI()
    add_routes(app, engine)
    with TestClient(app) as client:
        yield client
    engine.stop()


def post(client: TestClient, **fields: Any) -> tuple[np.ndarray, str]:
    response = client.post("/sdapi/v1/txt2img", json={**SMALL, **fields})
    assert response.status_code == 200, response.text
    with Image.open(io.BytesIO(base64.b64decode(response.json()["images"][0]))) as image:
        return np.asarray(image), image.text["parameters"]


def test_the_refiner_makes_the_steps_from_the_switch_on_and_without_one_all(client: TestClient):
    first, text = post(client)
    second, _ = post(client, override_settings={"sd_model_checkpoint": "second"})
    assert "Refiner" not in text
    refined, text = post(client, refiner_checkpoint="second", refiner_switch_at=0.5)
    assert "Refiner: second [" in text and "Refiner switch at: 0.5" in text
    assert not np.array_equal(refined, first) and not np.array_equal(refined, second)
    # As in A1111: without a value the switch comes at once, and at 1 never.
    from_the_start, _ = post(client, refiner_checkpoint="second")
    again, _ = post(client, refiner_checkpoint="second", refiner_switch_at=0)
    assert np.array_equal(from_the_start, again)
    never, text = post(client, refiner_checkpoint="second", refiner_switch_at=1)
    assert np.array_equal(never, first)


@pytest.mark.parametrize("none", ["", None, "None"])
def test_no_refiner_is_said_in_each_way_that_clients_know(client: TestClient, none: str | None):
    picture, text = post(client, refiner_checkpoint=none, refiner_switch_at=0.5)
    assert "Refiner" not in text
    assert np.array_equal(picture, post(client)[0])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"refiner_checkpoint": "missing"}, "missing"),
        ({"refiner_checkpoint": "second", "refiner_switch_at": 1.5}, "Switch at is 1.5"),
        ({"refiner_checkpoint": 7}, "Refiner is 7"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_name(
    client: TestClient, fields: dict[str, Any], said: str
):
    response = client.post("/sdapi/v1/txt2img", json={**SMALL, **fields})
    assert response.status_code in (404, 422)
    assert said in response.json()["errors"]
