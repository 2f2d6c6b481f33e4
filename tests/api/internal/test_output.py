from __future__ import annotations

import io
import time
import zipfile
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from modules.api.routes import add_routes
from modules.engine.engine import Engine
from modules.params.image import ImageField
from modules.params.requests.base import MAX_SEED
from modules.params.requests.depth import DepthRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.work import DescribeImage
from tests.conftest import write_listed_depth
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=96, steps=2, seed=7)


def run(engine: Engine, request: Txt2ImgRequest | DepthRequest = SMALL) -> str:
    job = engine.submit(request, "page")
    assert job.wait(PATIENCE_S)
    return job.id


def result(client: TestClient, job_id: str) -> dict:
    return client.get(f"/internal/jobs/{job_id}/result").json()


def test_the_result_of_a_job_has_its_images_with_all_that_the_page_shows(
    client: TestClient, engine: Engine
):
    job_id = run(engine)
    answer = result(client, job_id)
    (image,) = answer["pictures"]
    saved = engine.status(job_id).images[0]
    assert (answer["state"], answer["notes"], answer["error"]) == ("done", [], "")
    assert image == {
        "id": f"{job_id}.0",
        "position": 0,
        "kind": "image",
        "seed": 7,
        "width": 64,
        "height": 96,
        "infotext": saved.infotext,
        "file": str(saved.path.relative_to(engine.paths.data)),
        "name": saved.path.name,
    }
    assert client.get(f"/internal/images/{image['id']}").content == saved.path.read_bytes()


def test_a_large_seed_is_text_that_javascript_does_not_round(client: TestClient, engine: Engine):
    job_id = run(engine, SMALL.replace(seed=MAX_SEED))
    assert result(client, job_id)["pictures"][0]["seed"] == str(MAX_SEED)
    assert client.get(f"/internal/jobs/{job_id}/values/0").json()["seed"] == str(MAX_SEED)


def test_an_image_whose_file_is_gone_is_left_out_and_the_others_keep_their_ids(
    client: TestClient, engine: Engine
):
    job_id = run(engine, SMALL.replace(n_iter=2))
    engine.status(job_id).images[0].path.unlink()
    assert [image["id"] for image in result(client, job_id)["pictures"]] == [f"{job_id}.1"]
    assert client.get(f"/internal/jobs/{job_id}/values/0").status_code == 404


def test_an_image_that_is_not_saved_is_shown_all_the_same(client: TestClient, engine: Engine):
    engine.change_settings({"samples_save": False})
    job_id = run(engine)
    assert client.get(f"/internal/images/{job_id}.0").status_code == 200


def test_the_size_that_the_images_will_have_is_that_of_the_hires_pass(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(1)
    job = engine.submit(SMALL.replace(enable_hr=True, hr_scale=2.0, denoising_strength=0.5))
    assert executor.held.wait(PATIENCE_S)
    assert result(client, job.id)["size"] == [128, 192]
    executor.release()
    assert job.wait(PATIENCE_S)


def test_the_grid_is_shown_unless_the_settings_say_otherwise(client: TestClient, engine: Engine):
    job_id = run(engine, SMALL.replace(n_iter=2))
    grid = engine.queue.job(job_id).grid_path
    assert grid is not None
    assert result(client, job_id)["grid"] == str(grid.relative_to(engine.paths.data))
    assert client.get(f"/internal/jobs/{job_id}/grid").content == grid.read_bytes()
    engine.change_settings({"return_grid": False})
    assert result(client, job_id)["grid"] == ""
    assert client.get(f"/internal/jobs/{job_id}/grid").status_code == 404


def test_a_depth_map_is_shown_and_not_saved(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    write_listed_depth(engine.paths.checkpoint_folders[0] / "depth.safetensors")
    engine.models.refresh()
    init_image = ImageField.from_pil(Image.new("RGB", (8, 8)))
    job_id = run(
        engine,
        DepthRequest(
            init_image=init_image, width=64, height=64, steps=2, sd_model_checkpoint="depth"
        ),
    )
    answer = result(client, job_id)
    assert (answer["has_depth_map"], len(answer["pictures"])) == (True, 1)
    depth_map = client.get(f"/internal/jobs/{job_id}/depth-map")
    with Image.open(io.BytesIO(depth_map.content)) as image:
        assert image.format == "PNG"
    other = run(engine)
    assert not result(client, other)["has_depth_map"]
    assert client.get(f"/internal/jobs/{other}/depth-map").status_code == 404


def test_another_form_takes_over_prompts_sampling_and_the_size_and_seed_of_the_image(
    client: TestClient, engine: Engine
):
    request = SMALL.replace(
        negative_prompt="a dog", sampler_name="Euler", scheduler="Karras", cfg_scale=5.5, n_iter=2
    )
    job_id = run(engine, request)
    assert client.get(f"/internal/jobs/{job_id}/values/1").json() == {
        "prompt": "a cat",
        "negative_prompt": "a dog",
        "styles": [],
        "steps": 2,
        "sampler_name": "Euler",
        "scheduler": "Karras",
        "cfg_scale": 5.5,
        "seed": 8,
        "width": 64,
        "height": 96,
    }
    engine.change_settings({"send_seed": False, "send_size": False})
    values = client.get(f"/internal/jobs/{job_id}/values/1").json()
    assert not {"seed", "width", "height"} & set(values)


def test_the_chosen_images_come_in_one_archive(client: TestClient, engine: Engine):
    job_id = run(engine, SMALL.replace(n_iter=3))
    paths = [image.path for image in engine.status(job_id).images]
    response = client.get(f"/internal/jobs/{job_id}/zip?images=0,2")
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            path.name: path.read_bytes() for path in (paths[0], paths[2])
        }
    assert client.get(f"/internal/jobs/{job_id}/zip?images=7").status_code == 404


def test_an_unknown_job_has_no_result(client: TestClient):
    for path in ("result", "values/0", "grid", "depth-map", "zip?images=0"):
        assert client.get(f"/internal/jobs/nothing/{path}").status_code == 404


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that gets the name of each folder that is opened."""
    seen = tmp_path / "opened"
    program = tmp_path / "programs" / "xdg-open"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf %s "$1" > {seen}.part && mv {seen}.part {seen}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("DISPLAY", ":0")
    return seen


def client_from(engine: Engine, address: str, host: str = "127.0.0.1") -> TestClient:
    app = FastAPI(docs_url=None)
    add_routes(app, engine)
    return TestClient(app, base_url=f"http://{host}", client=(address, 5000))


def test_a_browser_on_this_machine_opens_the_folder_of_an_image(engine: Engine, screen: Path):
    job_id = run(engine)
    with client_from(engine, "127.0.0.1") as client:
        assert result(client, job_id)["opens_folders"]
        assert client.post("/internal/open-folder", json={"image": f"{job_id}.0"}).json() == {}
    folder = engine.status(job_id).images[0].path.parent
    deadline = time.monotonic() + PATIENCE_S
    while not screen.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert screen.read_text() == str(folder)


@pytest.mark.parametrize(
    ("address", "host", "headers"),
    [
        ("192.168.1.9", "127.0.0.1", {}),
        ("127.0.0.1", "pictures.example", {}),
        ("127.0.0.1", "127.0.0.1", {"x-forwarded-for": "192.168.1.9"}),
    ],
)
def test_a_browser_elsewhere_opens_no_folder(
    engine: Engine, screen: Path, address: str, host: str, headers: dict[str, str]
):
    job_id = run(engine)
    with client_from(engine, address, host) as client:
        client.headers.update(headers)
        assert not result(client, job_id)["opens_folders"]
        response = client.post("/internal/open-folder", json={"image": f"{job_id}.0"})
    assert response.status_code == 422
    assert "only on the machine that the server runs on" in response.json()["detail"]
    assert not screen.exists()


def test_only_the_folder_of_an_image_is_opened(engine: Engine, screen: Path):
    with client_from(engine, "127.0.0.1") as client:
        response = client.post("/internal/open-folder", json={"image": "/etc"})
    assert response.status_code == 404
    assert not screen.exists()


def upload_red_image(client: TestClient) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, format="PNG")
    files = {"file": ("red.png", buffer.getvalue(), "image/png")}
    return client.post("/internal/uploads", files=files).json()["id"]


def test_an_upload_is_described_by_the_model_in_models_blip(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    folder = engine.paths.data / "models" / "BLIP" / "blip-image-captioning-base"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    executor.results[DescribeImage] = "a red square"
    answer = client.post("/internal/interrogate", json={"upload": upload_red_image(client)})
    assert answer.json() == {"prompt": "a red square"}


def test_without_a_captioning_model_it_is_told_which_to_install_and_where(client: TestClient):
    answer = client.post("/internal/interrogate", json={"upload": upload_red_image(client)})
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith(
        "There is no model that describes pictures: put all files of Salesforce/blip-image-captioning-base "
    )
    assert "models/BLIP" in answer.json()["detail"]
