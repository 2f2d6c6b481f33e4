"""The recipes of modules/README.md for tasks, scripts and the job database."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from pydantic import BaseModel

from modules.api.routes import add_routes
from modules.engine.engine import Engine
from modules.engine.jobs.database.migrations import MIGRATIONS
from modules.engine.jobs.fair_queue import QueuePosition
from modules.engine.jobs.store import JobStore
from modules.engine.page.scripts.plot_axes import list_axes
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.param import param
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.tasks import TASKS, Task
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.scripts.protocol import Cell, Script, ScriptResult, ScriptRun
from modules.scripts.xyz_plot.arguments import XyzPlotArgs
from modules.scripts.xyz_plot.plot import make_cell_request, order_places, prepare_plot
from tests.conftest import SD1_SHAPES, write_listed_checkpoint, write_listed_depth
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor
from tests.engine.jobs.test_job_kinds import CountRequest, add_count

INPAINT_SHAPES = {**SD1_SHAPES, "model.diffusion_model.input_blocks.0.0.weight": [4, 9, 1, 1]}


class RestoreRequest(Img2ImgRequest):
    """Inpainting with a parameter of its own."""

    year: int = param(1900, "Year", help="When the photo was taken.", infotext="Year", ge=1800)

    @property
    def task(self) -> str:
        """Return the name of its row."""
        return "restore"


def test_a_task_is_a_class_and_a_row(engine: Engine):
    engine.registries.tasks.add(
        Task(
            "restore",
            RestoreRequest,
            needs=("init image", "mask"),
            refuses={"depth": "cannot restore"},
        )
    )
    folder = engine.paths.checkpoint_folders[0]
    write_listed_depth(folder / "depth.safetensors")
    write_listed_checkpoint(folder / "inpaint.safetensors", shapes=INPAINT_SHAPES)
    engine.models.refresh()
    app = FastAPI()
    add_routes(app, engine)
    photo = ImageField.from_pil(Image.new("RGB", (64, 64), "red"))
    mask = ImageField.from_pil(Image.linear_gradient("L").resize((64, 64)), MASK)
    body = {
        "task": "restore",
        "init_image": photo.to_base64(),
        "mask": mask.to_base64(),
        "year": 1923,
        "steps": 2,
        "sd_model_checkpoint": "inpaint",
        "override_settings": {"inpainting_mask_weight": 0.5, "sgm_noise_multiplier": True},
    }
    with TestClient(app) as client:
        job = client.post("/api/v1/jobs", json=body).json()
        refused = client.post("/api/v1/jobs", json={**body, "sd_model_checkpoint": "depth"}).json()
    assert engine.job(job["id"]).wait(PATIENCE_S)
    (image,) = engine.status(job["id"]).images
    assert job["task"] == "restore"
    assert "Year: 1923" in image.infotext
    assert "Mask blur: 4" in image.infotext
    assert "Conditional mask weight: 0.5" in image.infotext, "it needs a mask"
    assert "SGM noise multiplier" not in image.infotext, "it needs an init image"
    assert refused["detail"].startswith("'depth.safetensors' cannot restore.")
    assert "restore" not in TASKS.names(), "each engine has tables of its own"


def test_a_kind_of_job_is_a_request_a_plan_and_a_row(engine: Engine, executor: FakeExecutor):
    add_count(engine, executor)
    job = engine.submit(CountRequest(up_to=2))
    assert job.wait(PATIENCE_S)
    status = job.status()
    assert (status.state, status.notes[-1]) == ("done", "Counted to 2 of 2.")
    assert engine.queue.record(job.id).stored_request.task == "count"


def test_a_script_is_a_generator_and_a_row(engine: Engine):
    def run_twice(request: Txt2ImgRequest, args: BaseModel) -> ScriptRun:
        (first,) = yield [Cell("first", lambda: request)]
        seed = first.images[0].seed + 1
        yield [Cell("second", lambda: request.replace(seed=seed))]
        return ScriptResult()

    engine.registries.scripts.add(Script("Twice", run_twice, tasks=frozenset(("txt2img",))))
    app = FastAPI()
    add_routes(app, engine)
    body = {"width": 64, "height": 64, "steps": 2, "seed": 5, "script_name": "Twice"}
    with TestClient(app) as client:
        answer = client.post("/sdapi/v1/txt2img", json=body).json()
        assert "twice" in client.get("/sdapi/v1/scripts").json()["txt2img"]
    assert len(answer["images"]) == 2
    assert '"all_seeds": [5, 6]' in answer["info"]


def test_an_axis_of_a_plot_is_a_declared_field(engine: Engine):
    class Dotted(Txt2ImgRequest):
        dots: int = param(0, "Dots", help="More make more dots.", ge=0, le=9)

    args = XyzPlotArgs(x_type="Dots", x_values="1, 9")
    request, prepared = prepare_plot(Dotted(), args)
    made = [make_cell_request(request, prepared, place) for place in order_places(prepared)]
    assert [dict(one)["dots"] for one in made] == [1, 9]
    row = next(axis for axis in list_axes(engine, "txt2img") if axis["name"] == "RNG source")
    assert row["choices"] == ["GPU", "CPU", "NV"]


def test_a_version_of_the_job_database_is_a_function(tmp_path: Path):
    def add_stars(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE images ADD COLUMN stars INTEGER NOT NULL DEFAULT 3")

    old = JobStore(tmp_path)
    with old.hold_request(Txt2ImgRequest(), Settings()) as stored:
        old.add(QueuePosition(0, 0, "one", "page"), stored, 1)
    old.close()
    new = JobStore(tmp_path, migrations=(*MIGRATIONS, add_stars))
    assert [record.id for record in new.active_jobs(9)] == ["one"]
    new.close()
    connection = sqlite3.connect(tmp_path / "jobs.sqlite")
    columns = [row[1] for row in connection.execute("PRAGMA table_info(images)")]
    version = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    assert (columns[-1], version) == ("stars", (len(MIGRATIONS) + 1,))
