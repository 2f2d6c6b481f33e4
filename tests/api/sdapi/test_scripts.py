from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.params.param import param
from modules.params.requests.base import GenerationRequest
from modules.scripts.protocol import Cell, Script, ScriptResult, ScriptRun

SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 2, "seed": 5}


class Steps(BaseModel, frozen=True, extra="forbid"):
    """One image for each number of steps."""

    steps: tuple[int, ...] = param((1, 2), "Steps", help="One picture for each.")
    title: str = param("", "Title", help="Written nowhere.")


def run_steps(request: GenerationRequest, args: Steps) -> ScriptRun:
    for steps in args.steps:
        yield [make_cell(request, steps)]
    return ScriptResult(notes=("All steps are done.",))


def make_cell(request: GenerationRequest, steps: int) -> Cell:
    return Cell(str(steps), lambda: request.replace(steps=steps, prompt=f"{steps} cats"))


@pytest.fixture
def engine(engine: Engine) -> Engine:
    """An engine with a script for txt2img."""
    script = Script("Steps Plot", run_steps, Steps, tasks=frozenset(("txt2img",)))
    engine.registries.scripts.add(script)
    return engine


def post(client: TestClient, status_code: int = 200, **body: Any) -> dict[str, Any]:
    response = client.post("/sdapi/v1/txt2img", json={**SMALL, **body})
    assert response.status_code == status_code, response.text
    return response.json()


@pytest.mark.parametrize("args", [[[3, 4]], {"steps": [3, 4]}])
def test_a_script_returns_the_images_of_all_cells(client: TestClient, args: Sequence[Any]):
    answer = post(client, script_name="steps plot", script_args=args)
    info = json.loads(answer["info"])
    assert (len(answer["images"]), answer["warnings"]) == (2, ["All steps are done."])
    assert info["all_prompts"] == ["3 cats", "4 cats"]
    assert (info["all_seeds"], info["seed"], info["sd_model_name"]) == ([5, 5], 5, "first")
    assert "Steps: 4" in info["infotexts"][1]
    assert answer["parameters"]["script_name"] == "steps plot"


def test_without_arguments_a_script_takes_its_defaults(client: TestClient):
    assert len(post(client, script_name="Steps Plot")["images"]) == 2


@pytest.mark.parametrize("name", ["stepsplot", "File batch"])
def test_a_script_that_cannot_be_chosen_is_named_in_a_warning(client: TestClient, name: str):
    answer = post(client, script_name=name, script_args=["/etc/passwd"])
    assert len(answer["images"]) == 1
    (warning,) = answer["warnings"]
    assert warning.startswith(
        f"There is no script named '{name}' for txt2img. The pictures were made without it."
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([1, 2, 3], "a list of at most 2 is needed"),
        ("one", "a list of at most 2 is needed"),
        ([["one"]], "Steps is "),
        ({"step": 1}, "There is no field 'step'"),
    ],
)
def test_invalid_arguments_are_refused(client: TestClient, args: Any, message: str):
    answer = post(client, 422, script_name="steps plot", script_args=args)
    assert message in answer["detail"]


def test_a_script_without_an_image_fails_with_the_reasons(client: TestClient, executor):
    executor.failures += [UserError("Too large."), UserError("Too small.")]
    answer = post(client, 500, script_name="steps plot")
    assert "1: Too large. 2: Too small." in answer["detail"]


def test_scripts_are_listed_with_their_arguments(client: TestClient):
    names = client.get("/sdapi/v1/scripts").json()
    assert "x/y/z plot" in names["txt2img"]
    assert ("steps plot" in names["txt2img"], "steps plot" in names["img2img"]) == (True, False)
    infos = client.get("/sdapi/v1/script-info").json()
    (info,) = [info for info in infos if info["name"] == "steps plot"]
    assert not info["is_img2img"]
    assert [(arg["label"], arg["value"]) for arg in info["args"]] == [
        ("Steps", [1, 2]),
        ("Title", ""),
    ]
