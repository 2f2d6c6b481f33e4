"""Names that are not UTF-8, as old archives and network disks leave them: shown escaped, and used by that name."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from modules.api.routes import add_routes
from modules.backend.components import Precision
from modules.backend.model_cache import ModelCache
from modules.core.flags import Flags
from modules.core.paths import Paths
from modules.core.text import escape, find_path
from modules.engine.engine import Engine
from modules.engine.extensions.sources import find_extensions
from modules.engine.jobs.batch_folders import list_input_images
from modules.engine.page.model_bar import model_state
from modules.extensions.loader import load_extensions
from modules.models.kinds import ModelKind
from modules.models.model_spec import make_model_spec
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.prompt.tokens import ClipTokenizer
from modules.ui.page import build_page
from tests.backend.checkpoints import write_checkpoint
from tests.conftest import builtin_registries, write_listed_checkpoint
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor
from tests.models.model_files import write_safetensors

CAFE = os.fsdecode(b"caf\xe9")
SHOWN = "caf\\xe9"
FULL = Precision(torch.float32, torch.float32, torch.float32)

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="Other systems refuse names that are not UTF-8."
)


@pytest.fixture
def paths(paths: Paths) -> Paths:
    """A data folder with such a name in every folder that is listed."""
    folder = paths.checkpoint_folders[0]
    for place in (folder, folder / CAFE):
        write_listed_checkpoint(place / f"{CAFE}.safetensors", str(place == folder))
    (folder / f"{CAFE}.yaml").write_bytes((paths.configs / "v1-inference.yaml").read_bytes())
    for kind in builtin_registries().kinds:
        for other in kind.folders(paths):
            other.mkdir(parents=True, exist_ok=True)
            if other not in paths.checkpoint_folders:
                for suffix in kind.suffixes:
                    write_safetensors(other / f"{CAFE}{suffix}", {"x": [1]})
    pictures = paths.data / "inputs" / CAFE
    pictures.mkdir(parents=True)
    Image.new("RGB", (32, 24), "red").save(pictures / f"{CAFE}.png")
    return paths


@pytest.fixture
def client(engine: Engine, tmp_path: Path) -> Iterator[TestClient]:
    app = FastAPI(docs_url=None)
    add_routes(app, engine, Flags(ckpt_dir=tmp_path / CAFE))
    with TestClient(app) as client:
        yield client


def listed_kinds(engine: Engine) -> list[ModelKind]:
    return [kind for kind in engine.models.kinds if kind.suffixes]


def test_files_of_every_kind_are_listed_by_their_escaped_name(engine: Engine):
    for kind in listed_kinds(engine):
        names = [file.name for file in engine.models.files(kind.name)]
        assert SHOWN + kind.suffixes[-1] in names or kind.has_families, kind.name
        json.dumps(names, ensure_ascii=False).encode()
    assert f"{SHOWN}/{SHOWN}.safetensors" in [c.name for c in engine.models.checkpoints()]


@pytest.mark.parametrize(
    "name", [f"{SHOWN}.safetensors", f"{SHOWN}/{SHOWN}.safetensors", f"{SHOWN}/{SHOWN}"]
)
def test_a_checkpoint_is_found_by_its_escaped_name(engine: Engine, name: str):
    found = engine.find_checkpoint(name)
    assert found.path.is_file()
    assert name in found.name
    assert engine.find_checkpoint(found.title) == found
    assert engine.find_checkpoint(found.shown_path) == found
    assert engine.models.sha256(found)


def test_a_file_of_another_kind_is_found_by_its_escaped_name(engine: Engine):
    for kind in listed_kinds(engine):
        suffix = ".safetensors" if kind.has_families else kind.suffixes[-1]
        assert engine.models.find(kind.name, SHOWN + suffix).path.is_file(), kind.name


ROUTES = [
    "/sdapi/v1/sd-models",
    "/sdapi/v1/sd-vae",
    "/sdapi/v1/options",
    "/sdapi/v1/cmd-flags",
    "/sdapi/v1/prompt-styles",
    "/sdapi/v1/progress",
    "/internal/settings",
    "/internal/sysinfo",
    "/internal/status",
    "/api/v1/jobs",
]


def test_every_route_answers(client: TestClient, engine: Engine):
    response = client.post(
        "/sdapi/v1/options", json={"sd_model_checkpoint": f"{SHOWN}.safetensors"}
    )
    assert response.status_code == 200, response.text
    body = {"prompt": "a cat", "steps": 1, "width": 64, "height": 64}
    overrides = {"sd_model_checkpoint": f"{SHOWN}/{SHOWN}", "sd_vae": f"{SHOWN}.safetensors"}
    response = client.post("/sdapi/v1/txt2img", json={**body, "override_settings": overrides})
    assert response.status_code == 200, response.text
    (infotext,) = json.loads(response.json()["info"])["infotexts"]
    assert f"Model: {SHOWN}," in infotext
    assert f"VAE: {SHOWN}.safetensors" in infotext
    statuses = {route: client.get(route).status_code for route in ROUTES}
    assert set(statuses.values()) <= {200, 404}, statuses
    listed = client.get("/sdapi/v1/sd-models").json()
    row = next(row for row in listed if row["model_name"] == SHOWN)
    assert find_path(row["filename"]).is_file()
    assert find_path(row["config"]).is_file()
    missing = client.post("/sdapi/v1/options", json={"sd_model_checkpoint": f"{SHOWN}.pt"})
    assert missing.status_code == 404
    assert engine.jobs()[0].status().images[0].path.is_file()


def test_the_page_is_built_and_marks_the_names(engine: Engine):
    build_page(engine).get_config_file()
    state = model_state(engine)
    labels = [label for label, _ in (*state["checkpoints"], *state["vaes"])]
    sentence = f"⚠ {SHOWN}.safetensors: Its name is not UTF-8; rename the file."
    assert labels.count(sentence) == 2
    json.dumps(labels, ensure_ascii=False).encode()
    assert "first.safetensors" in " ".join(labels)


@pytest.mark.parametrize("text", [f"inputs/{SHOWN}", f"inputs/{CAFE}"])
def test_a_batch_folder_and_its_files_are_read_by_their_escaped_names(
    engine: Engine, executor: FakeExecutor, text: str
):
    files = list_input_images(text, engine.paths)
    args = {"files": tuple(escape(str(file)) for file in files), "output_folder": "zoo"}
    base = Img2ImgRequest(prompt="a hat", width=64, height=64, steps=2, seed=5)
    group = engine.run_script("File batch", base, args)
    assert group.wait(PATIENCE_S)
    status = engine.status(group.id)
    assert (status.state, status.notes, len(status.images)) == ("done", (), 1)
    assert [path.name for path in (engine.paths.outputs / "zoo").glob("*.png")] == ["caf_xe9.png"]


def test_an_extension_is_named_with_its_escaped_name(tmp_path: Path):
    for name, text in ((CAFE, "1 / 0"), (f"{CAFE}2", "def register(webui): pass")):
        folder = tmp_path / "extensions" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(text)
    loaded = load_extensions(builtin_registries(), find_extensions(Paths(tmp_path, tmp_path)))
    (error,) = loaded.extension_errors
    assert error.startswith(f"The extension '{SHOWN}' is not loaded.")


def test_pictures_in_an_outputs_folder_with_such_a_name_are_found_after_a_restart(
    tmp_path: Path, tokenizer: ClipTokenizer
):
    home = tmp_path / CAFE
    write_listed_checkpoint(home / "models" / "Stable-diffusion" / "first.safetensors")
    (home / "configs").symlink_to(Path("configs").absolute())
    statuses = []
    for number in range(2):
        executor = FakeExecutor()
        engine = Engine(Paths(home, home), executor, tokenizer, builtin_registries())
        engine.start()
        if not number:
            job = engine.submit(Txt2ImgRequest(width=64, height=64, steps=1))
            assert job.wait(PATIENCE_S)
        statuses.append(engine.status(job.id))
        engine.stop()
    assert statuses[1].images == statuses[0].images
    assert statuses[1].images[0].path.is_file()


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_checkpoint_with_such_a_name_is_loaded(
    engine: Engine, tokenizer: ClipTokenizer, suffix: str
):
    write_checkpoint(engine.paths.checkpoint_folders[0] / f"{CAFE}-real{suffix}")
    engine.models.refresh()
    checkpoint = engine.find_checkpoint(f"{SHOWN}-real")
    spec = make_model_spec(engine.models, checkpoint, Settings())
    assert ModelCache(torch.device("cpu"), tokenizer).acquire(spec, FULL).components.unet
