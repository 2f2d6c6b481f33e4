"""The recipes of modules/README.md for scripts and for the job database."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel

from modules.api.routes import add_routes
from modules.engine.engine import Engine
from modules.engine.jobs.database.migrations import MIGRATIONS
from modules.engine.jobs.fair_queue import QueuePosition
from modules.engine.jobs.store import JobStore
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.scripts.protocol import Cell, Script, ScriptResult, ScriptRun


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
        assert client.get("/sdapi/v1/scripts").json()["txt2img"] == ["twice"]
    assert len(answer["images"]) == 2
    assert '"all_seeds": [5, 6]' in answer["info"]


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
