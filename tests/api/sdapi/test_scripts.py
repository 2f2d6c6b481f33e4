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


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("steps plots", "There is no script named 'steps plots'. Did you mean 'Steps Plot'?"),
        ("File batch", "There is no script named 'File batch'."),
        (
            "loopback",
            "The script 'Loopback' is for img2img and inpaint and depth2img, not for txt2img.",
        ),
    ],
)
def test_a_script_that_cannot_be_chosen_is_refused(client: TestClient, name: str, message: str):
    answer = post(client, 422, script_name=name, script_args=["/etc/passwd"])
    assert answer["detail"].startswith(message)


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


def test_scripts_are_listed_as_in_a1111(client: TestClient):
    lists = client.get("/sdapi/v1/scripts").json()
    always_on = ["extra options", "Hypertile", "controlnet", "refiner", "sampler", "seed"]
    assert lists["txt2img"] == [
        "prompt matrix",
        "prompts from file or textbox",
        "steps plot",
        "x/y/z plot",
        *always_on,
    ]
    assert {"loopback", "outpainting mk2", "poor man's outpainting", "sd upscale"} < set(
        lists["img2img"]
    )
    assert lists["img2img"][-7:] == [*always_on[:3], "soft inpainting", *always_on[3:]]


def test_arguments_are_described_in_a1111s_shape(client: TestClient):
    infos = client.get("/sdapi/v1/script-info").json()
    by_name = {(info["name"], info["is_img2img"]): info for info in infos}
    assert by_name["prompt matrix", False]["args"][3:] == [
        {
            "label": "Select joining char",
            "value": "comma",
            "minimum": None,
            "maximum": None,
            "step": None,
            "choices": ["comma", "space"],
        },
        {
            "label": "Grid margins (px)",
            "value": 0,
            "minimum": 0,
            "maximum": 500,
            "step": 2,
            "choices": None,
        },
    ]
    upscale = by_name["sd upscale", True]["args"]
    assert [arg["label"] for arg in upscale] == ["", "Tile overlap", "Upscaler", "Scale Factor"]
    assert upscale[2]["choices"][:3] == ["None", "Lanczos", "Nearest"]
    assert by_name["outpainting mk2", True]["args"][3]["choices"] == ["left", "right", "up", "down"]
    by_number = by_name["x/y/z plot", False]["args"][3]["choices"]
    assert by_number[:3] == ["Nothing", "Seed", "Var. seed"] and by_number[9] == "Sampler"
    assert by_name["x/y/z plot", True]["args"][0]["choices"][6] == "Image CFG Scale"
    seed = by_name["seed", False]
    assert seed["is_alwayson"] and [arg["label"] for arg in seed["args"]][:3] == [
        "Seed",
        "Extra",
        "Variation seed",
    ]


def test_arguments_of_always_on_scripts_are_fields_that_the_body_does_not_state(client: TestClient):
    scripts = {
        "Sampler": {"args": [3, "Heun", "Karras"]},
        "seed": {"args": [7, True, 9, 0.25]},
        "refiner": {"args": [False, "second", 0.5]},
        "extra options": {"args": []},
    }
    answer = post(client, alwayson_scripts=scripts)
    (text,) = json.loads(answer["info"])["infotexts"]
    assert "Steps: 2, Sampler: Heun, Schedule type: Karras" in text and "Seed: 5" in text
    assert "Variation seed: 9, Variation seed strength: 0.25" in text and "Refiner" not in text


@pytest.mark.parametrize(
    ("scripts", "message"),
    [
        (
            {"Dynamic Thresholding (CFG Scale Fix)": {"args": []}},
            "There is no always-on script named 'Dynamic Thresholding (CFG Scale Fix)' for txt2img. Available: ",
        ),
        ({"Soft inpainting": {"args": []}}, "There is no always-on script named 'Soft inpainting'"),
        (
            {"X/Y/Z plot": {"args": []}},
            "'X/Y/Z plot' is no always-on script. Choose it with script_name and script_args.",
        ),
        ({"Hypertile": {"args": []}, "extra options": {}}, None),
        (
            {"hypertile": {"args": [True]}},
            "Hypertile has no arguments, and these were sent: [True]",
        ),
        ({"seed": {"args": [1] * 7}}, "a list of at most 6 is needed"),
        ({"seed": {"args": {"sed": 1}}}, "'seed' has no argument 'sed'. It has seed, subseed"),
        ({"seed": {"args": ["x"]}}, None),
        (["seed"], "an object of names is needed"),
    ],
)
def test_what_is_no_always_on_script_is_refused(client: TestClient, scripts: Any, message: str):
    if message is None:  # the body's own seed counts
        assert post(client, alwayson_scripts=scripts)["images"]
        return
    assert message in post(client, 422, alwayson_scripts=scripts)["detail"]


def test_a_plot_answers_with_its_grid_alone_and_tells_of_all_cells(client: TestClient):
    listed = [1, "7, 8", [], 0, "", [], 0, "", [], False, False]
    answer = post(client, 200, script_name="x/y/z plot", script_args=listed)
    info = json.loads(answer["info"])
    assert (len(answer["images"]), len(info["infotexts"]), info["index_of_first_image"]) == (
        1,
        3,
        1,
    )
    assert (info["all_seeds"], len(info["all_prompts"])) == ([7, 8], 2)
    plain = json.loads(post(client)["info"])
    assert plain.keys() <= info.keys()
    listed[-1] = True
    answer = post(client, 200, script_name="x/y/z plot", script_args=listed)
    assert len(answer["images"]) == 3
