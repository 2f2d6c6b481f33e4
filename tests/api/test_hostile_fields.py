from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image, PngImagePlugin

from modules.api.json_check import MAX_DEPTH, MAX_TEXT_LENGTH, check_json, shorten_texts
from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.prompt.styles import Style
from tests.api.late_client import LateClient, Routes

BIG = "@@BIG@@"


def nested(depth: int, kind: type) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


def make_png(**texts: str) -> str:
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_itxt(key, text)
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG", pnginfo=info)
    return base64.b64encode(buffer.getvalue()).decode()


PNG = make_png()
SMALL = {"prompt": "a", "width": 64, "height": 64, "steps": 1}
BODIES: dict[str, dict[str, Any]] = {
    "/sdapi/v1/txt2img": SMALL,
    "/sdapi/v1/img2img": {**SMALL, "init_images": [PNG]},
    "/api/v1/jobs": {"task": "txt2img", **SMALL},
    "/sdapi/v1/extra-single-image": {"image": PNG},
    "/sdapi/v1/extra-batch-images": {"imageList": [{"data": PNG, "name": "a"}]},
    "/sdapi/v1/options": {},
    "/sdapi/v1/png-info": {"image": PNG},
    "/internal/progress": {"id_task": "a"},
    "/internal/settings": {},
    "/internal/settings/reset": {},
}
OTHER_FIELDS = ("changes", "names", "x", "\ud800", "styles", "override_settings", "infotext")
VALUES = [
    None, BIG, float("nan"), float("inf"), "\ud800", [], {}, [[[1]]], "", -1, "x" * 70000, True, 1e308,
    "../../etc/passwd", "\0", {"a": {"b": [None]}}, nested(450, list), nested(450, dict), nested(80, dict),
    ["\ud800"], {"\ud800": 1}, "\u202e", 10**30,
]  # fmt: skip


@pytest.fixture
def hostile(engine: Engine, known_routes: Routes) -> Iterator[TestClient]:
    """A client that sees 500 where a route raises."""
    with LateClient(engine, known_routes, raise_server_exceptions=False) as client:
        yield client


def fields_of(schema: dict[str, Any], path: str) -> list[str]:
    operation: dict[str, Any] = schema["paths"].get(path, {}).get("post", {})
    if "requestBody" not in operation:
        return []
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    if "$ref" in body:
        body = schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    return list(body.get("properties", {}))


def status_of(client: TestClient, path: str, body: Any) -> int:
    text = json.dumps(body).replace(f'"{BIG}"', "1" + "0" * 400)
    headers = {"content-type": "application/json"}
    return client.post(path, content=text.encode(), headers=headers).status_code


@pytest.mark.parametrize("path", BODIES)
def test_no_field_makes_the_server_fail(hostile: TestClient, path: str):
    every = [*BODIES[path], *OTHER_FIELDS, *fields_of(hostile.get("/openapi.json").json(), path)]
    sample = list(dict.fromkeys(every))
    bodies = [
        {**BODIES[path], field: value}
        for number, field in enumerate(sample)
        for value in VALUES[number % 12 :: 12]
    ]
    failed = [
        body
        for body in (*bodies, *VALUES, *({"x": value} for value in VALUES))
        if status_of(hostile, path, body) >= 500
    ]
    assert failed == []


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"alwayson_scripts": {"a": "\ud83d"}}, "Alwayson scripts contains half a character"),
        ({"unknown": nested(450, dict)}, "Unknown is nested more than 64 deep"),
        ({"\udfff": 1}, "The name of a field contains half a character"),
        ({"unknown": [float("nan")]}, "The request contains NaN or Infinity"),
        ([nested(450, list)], "The request is nested more than 64 deep"),
    ],
)
def test_a_body_that_no_answer_can_repeat_is_refused_in_a_sentence(
    hostile: TestClient, body: Any, sentence: str
):
    text = json.dumps(body)
    for path in BODIES:
        headers = {"content-type": "application/json"}
        response = hostile.post(path, content=text, headers=headers)
        assert response.status_code == 422
        if isinstance(body, dict):
            assert response.json()["detail"].startswith(sentence)


def test_json_is_checked_down_to_the_depth_that_is_allowed():
    check_json(nested(MAX_DEPTH, list))
    check_json({"prompt": "😀 ümlaut", "n": [1, 1.5, None, True]})
    with pytest.raises(UserError, match="nested"):
        check_json(nested(MAX_DEPTH + 1, dict))
    with pytest.raises(UserError, match="Negative prompt contains half"):
        check_json({"negative_prompt": "a\ud83d"})


def test_a_long_text_is_refused_where_no_image_is_expected():
    long = "A" * (MAX_TEXT_LENGTH + 1)
    for body in ({"prompt": long}, {"styles": [long]}, {"override_settings": {"eta": long}}):
        with pytest.raises(UserError, match=f"has {len(long)} characters; at most"):
            check_json(body)
    for name in ("init_images", "mask", "image", "imageList", "alwayson_scripts", "depth_map"):
        check_json({name: [{"data": long}]})


def test_an_answer_repeats_no_more_than_some_megabytes():
    echo = {"prompt": "a", "x": ["b" * 600, {"c": "d" * 600}], "n": 1, "last": "e"}
    shortened = {**echo, "x": ["b" * 600, {"c": "d" * 100 + "…"}]}
    assert shorten_texts(echo, max_length=1000) == shortened
    assert shorten_texts(echo) == echo


def test_thousands_of_unknown_names_are_answered_at_once(hostile: TestClient, engine: Engine):
    engine.styles.save(Style("ink", "ink", ""))
    names = [f"foreign_{number}" for number in range(50_000)]
    answer = hostile.post("/sdapi/v1/options", json=dict.fromkeys(names, 1))
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("50000 options do not exist here; at most 1000")
    answer = hostile.post("/sdapi/v1/txt2img", json={**SMALL, "styles": names})
    assert answer.json()["warnings"][-1] == "49980 more styles do not exist."


def test_half_a_character_in_a_file_is_answered_as_a_question_mark(
    hostile: TestClient, engine: Engine
):
    engine.paths.styles_file.write_text("name,prompt,negative_prompt\nink,ink,\n")
    graph = json.dumps({"positive_prompt": "a \ud83d cat", "seed": 1, "steps": 3})
    body = {"image": make_png(invokeai_metadata=graph)}
    response = hostile.post("/sdapi/v1/png-info", json=body)
    assert response.status_code == 200, response.text
    assert "a ? cat" in response.json()["info"]


@pytest.mark.parametrize(("body", "status"), [("[" * 5000 + "]" * 5000, 422), ("{", 200)])
def test_a_body_that_a_route_does_not_read_is_no_internal_error(
    client: TestClient, body: str, status: int
):
    headers = {"content-type": "application/json"}
    response = client.post("/sdapi/v1/interrupt", content=body, headers=headers)
    assert response.status_code == status
