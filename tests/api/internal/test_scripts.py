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
