from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.testclient import TestClient

from modules.api.json_check import check_body
from modules.api.security.body_limit import BodyLimit
from modules.api.security.json_body import BodyTooLarge, JsonBodies, JsonReader

MIB = 2**20
LONG = "iVBORw0KGgo" * 1000 + "=="


def read(body: bytes, part: int, **limits: int) -> tuple[Any, bytes]:
    reader = JsonReader(**limits)
    for start in range(0, len(body), part):
        reader.feed(body[start : start + part])
    reader.finish()
    value = json.loads(reader.rest)
    reader.strings.put_back(value)
    return value, bytes(reader.rest)


VALUES: list[Any] = [
    {"image": LONG, "n": 1},
    {"init_images": [LONG, "data:image/png;base64," + LONG, ""], "mask": LONG[:1023], "x": None},
    {"prompt": "a, (b:1.1), " * 500, "negative": 'say "' + LONG + '", ümlaut ' + LONG + "\\"},
    {"a": {"b": [[{"c": "x" + LONG}]]}, "text": "\n".join(["abcdefg" * 10] * 90)},
    [LONG + "\u1234" + LONG, "\\n" * 2000, "C:\\new" * 900, "/" * 3000, "\t\r\n" * 900, "é" * 3000],
    {"escaped": '\\"' * 3000, "tail": LONG + "\\"},
]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("part", [1_000_000, 65_536, 1021, 77])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_body_is_what_it_was(value: Any, part: int, ascii_only: bool):
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    for written in (body, body.replace(b"/", b"\\/"), body.replace(b"+", b"\\u002B")):
        assert read(written, part)[0] == value


def test_any_text_is_read_as_json_reads_it():
    chance = random.Random(3)
    parts = ['"', "\\", "\\\\", "\\u002b", "\\/", "\\n", "A" * 1500, "b", ",", " ", "é", "\\u00e9"]
    for _ in range(3000):
        inner = "".join(chance.choices(parts, k=8))
        body = ('{"a":"' + inner + '","b":["' + "C" * 1200 + '"]}').encode()
        try:
            expected = json.loads(body)
        except ValueError:
            with pytest.raises(ValueError):
                read(body, chance.randrange(1, 3000))
            continue
        assert read(body, chance.randrange(1, 3000))[0] == expected


def test_long_strings_are_not_parsed():
    escaped = LONG.replace("i", "\\/")
    body = json.dumps([LONG, escaped, "data:image/png;base64," + LONG]).replace("\\\\/", "\\/")
    value, rest = read(body.encode(), 5000)
    assert value == [LONG, LONG.replace("i", "/"), "data:image/png;base64," + LONG]
    assert len(rest) < 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'["' + b"A" * 3001, "A picture or a text of the request has more than 3000 characters."),
        (b"[" + b"[]," * 200, "more than 100 values"),
        (b"[" + b"{}," * 200, "more than 100 values"),
        (b'["' + b"\\u1234" * 4000, "more than 20000 bytes besides its pictures"),
        (b" " * 20_001, "more than 20000 bytes besides its pictures"),
    ],
)
def test_too_much_of_one_thing_is_refused_while_it_arrives(body: bytes, said: str):
    with pytest.raises(BodyTooLarge, match=said):
        read(body, 1000, max_length=3000, max_rest_bytes=20_000, max_values=100)


def test_too_many_long_strings_are_refused():
    with pytest.raises(BodyTooLarge, match="more than 4096 pictures or texts"):
        read(json.dumps([LONG] * 4097).encode(), 65_536)


def test_a_long_name_of_a_field_is_refused():
    with pytest.raises(BodyTooLarge, match="name of a field"):
        read(json.dumps({LONG: 1}).encode(), 1000)


def test_a_long_string_is_held_once_and_twice_while_it_ends():
    reader = JsonReader()
    tracemalloc.start()
    try:
        reader.feed(b'{"image":"')
        for _ in range(32 * 16):
            reader.feed(b"A" * 2**16)
        reader.feed(b'"}')
        reader.finish()
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 48 * MIB  # of 32, with room for what other threads allocate meanwhile
    assert peak < 80 * MIB


def make_client(raw: list[bytes]) -> TestClient:
    app, router = FastAPI(), APIRouter()

    @router.post("/sdapi/v1/x")
    def echo(body: dict[str, Any]) -> dict[str, Any]:
        return body

    app.include_router(router, dependencies=[Depends(check_body)])

    async def keep(scope: Any, receive: Any, send: Any) -> None:
        async def kept() -> Any:
            message = await receive()
            raw.append(message.get("body", b""))
            return message

        await app(scope, kept, send)

    return TestClient(BodyLimit(JsonBodies(keep)), base_url="http://127.0.0.1")


def test_a_route_gets_the_whole_body():
    raw: list[bytes] = []
    body = {"image": LONG, "list": [{"data": LONG}], "prompt": "a"}
    assert make_client(raw).post("/sdapi/v1/x", json=body).json() == body
    assert len(raw[0]) < 300


def test_a_refusal_is_a_sentence_and_comes_when_all_was_sent():
    sent = 0

    def parts() -> Iterator[bytes]:
        nonlocal sent
        yield b'{"image":"'
        for _ in range(100):
            sent += 1
            yield b"A" * MIB

    answer = make_client([]).post(
        "/sdapi/v1/x", content=parts(), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413
    assert answer.json()["detail"].startswith("A picture or a text of the request has more than")
    assert sent == 100
