"""Scripts that are chosen in a form of the page."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from pydantic import BaseModel

from modules.engine.engine import Engine
from modules.params.param import param
from modules.params.requests.base import GenerationRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.scripts.protocol import Cell, Script, ScriptResult, ScriptRun
from modules.ui.forms.schema import script_schemas
from tests.engine.fake_executor import PATIENCE_S

VALUES = {"prompt": "a cat", "width": 64, "height": 64, "steps": 2, "seed": 5}


class CountUp(BaseModel, frozen=True, extra="forbid"):
    """How far to count."""

    count: int = param(2, "Count", help="More make more pictures.", ge=1, le=4, slider=(1, 4, 1))


def run_count_up(request: GenerationRequest, args: CountUp) -> ScriptRun:
    yield [
        Cell(f"number {number}", lambda seed=number: request.replace(seed=seed))
        for number in range(args.count)
    ]
    return ScriptResult()


@pytest.fixture
def counting(engine: Engine) -> Engine:
    tasks = frozenset({"txt2img"})
    engine.registries.scripts.add(
        Script("Count up", run_count_up, CountUp, cell_count=lambda args: args.count, tasks=tasks)
    )
    return engine


def submit(client: TestClient, name: str, task: str = "txt2img", **args: Any) -> Response:
    body = {"task": task, "values": VALUES, "script_name": name, "script_args": args}
    return client.post("/internal/jobs", json=body)


def test_a_script_is_on_the_page_with_its_fields_and_runs_with_them(
    client: TestClient, counting: Engine
):
    scripts = counting.registries.scripts
    (row,) = [row for row in script_schemas(scripts, "txt2img") if row["name"] == "Count up"]
    assert row["fields"]["count"] | {"kind": "slider", "most": 4} == row["fields"]["count"]
    assert "Count up" not in [row["name"] for row in script_schemas(scripts, "img2img")]

    group = counting.job(submit(client, "Count up", count=3).json()["id"])
    assert group.wait(PATIENCE_S)
    assert [image.seed for image in group.status().images] == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "task", "args", "words"),
    [
        ("Count down", "txt2img", {}, "There is no script named 'Count down'."),
        ("Count up", "txt2img", {"count": 9}, "Count is 9; the largest valid value is 4."),
        ("Reproduce", "txt2img", {}, "The script 'Reproduce' cannot be used in txt2img."),
    ],
)
def test_what_cannot_run_is_refused_in_words(
    client: TestClient, counting: Engine, name: str, task: str, args: dict[str, Any], words: str
):
    assert submit(client, name, task, **args).json()["detail"].startswith(words)


def estimate(client: TestClient, values: dict[str, Any], **args: Any) -> dict[str, Any]:
    body = {"task": "txt2img", "values": values, "script_name": "X/Y/Z plot", "script_args": args}
    return client.post("/internal/scripts/estimate", json=body).json()


def test_an_estimate_counts_pictures_and_knows_the_time_once_a_job_has_ended(
    client: TestClient, engine: Engine
):
    axes = {"x_type": "Steps", "x_values": "1-10", "y_type": "Seed", "y_values": "1-11"}
    assert estimate(client, VALUES, **axes) == {
        "count": 110, "seconds": None, "text": "110 pictures", "question": "",
    }  # fmt: skip
    job = engine.submit(Txt2ImgRequest(**VALUES))
    assert job.wait(PATIENCE_S)
    answer = estimate(client, {**VALUES, "n_iter": 2}, **axes)
    assert answer["count"] == 220
    assert answer["seconds"] > 0
    assert answer["question"].startswith("The X/Y/Z plot makes 220 pictures, about ")


def test_an_estimate_counts_the_cells_that_depend_on_the_request(client: TestClient):
    body = {
        "task": "txt2img",
        "values": {**VALUES, "prompt": "a|b|c"},
        "script_name": "Prompt matrix",
        "script_args": {},
    }
    assert client.post("/internal/scripts/estimate", json=body).json()["text"] == "4 pictures"


def test_an_estimate_says_why_a_plot_would_not_start(client: TestClient):
    assert estimate(client, VALUES, x_type="Steps", x_values="x")["problem"] == (
        "X axis (Steps): 'x' is no whole number and no range."
        " Write 10, 20, 10-30 (+5) or 10-30 [5]."
    )
    assert estimate(client, VALUES, x_type="Seed", x_values="1-6000")["problem"].startswith(
        "The X/Y/Z plot would make 6000 pictures; at most 5000 are allowed."
    )


def test_the_axes_of_a_task_have_their_choices(client: TestClient):
    rows = client.get("/internal/scripts/axes", params={"task": "txt2img"}).json()
    axes = {row["name"]: row["choices"] for row in rows}
    assert "Euler" in axes["Sampler"]
    assert (axes["Steps"], axes["SGM noise multiplier"]) == ([], ["true", "false"])
    assert client.get("/internal/scripts/axes", params={"task": "dance"}).status_code == 404
    assert client.get("/internal/jobs/x/cells").status_code == 404
