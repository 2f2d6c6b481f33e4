from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from PIL import Image
from starlette.types import ASGIApp, Message

from modules.api.routes import add_routes
from modules.api.security.body_limit import BodyLimit
from modules.api.security.memory_budget import MemoryBudget, Share
from modules.core.errors import Busy
from modules.engine.engine import Engine
from modules.params.image import ImageField

MIB = 2**20


def test_requests_share_the_budget_until_they_are_answered():
    budget = MemoryBudget(4 * MIB)
    first, second = Share(budget), Share(budget)
    first.add_body(3 * MIB)
    with pytest.raises(Busy):
        second.add_body(2 * MIB)
    second.release()
    first.release()
    second = Share(budget)
    second.add_body(2 * MIB)
    with pytest.raises(Busy):
        Share(budget).add_pixels(MIB)


def test_a_request_that_is_alone_and_a_small_one_are_never_refused():
    budget = MemoryBudget(4 * MIB)
    large, small = Share(budget), Share(budget)
    for _ in range(4):
        large.add_body(2 * MIB)
    large.add_pixels(100 * MIB)
    small.add_body(60_000)
    large.release()
    large.add_body(9 * MIB)  # outlives its request: not counted
    Share(budget).add_body(5 * MIB)


def test_only_the_largest_image_of_a_request_counts():
    budget = MemoryBudget(4 * MIB)
    share, other = Share(budget), Share(budget)
    other.add_body(MIB)
    for _ in range(10):
        share.add_pixels(MIB // 2)
    with pytest.raises(Busy):
        share.add_pixels(MIB)


async def call(app: ASGIApp, messages: list[Message], pause_s: float = 0.0) -> list[Message]:
    """Return what the app answers to a body that arrives in these messages."""
    sent: list[Message] = []
    pending = iter(messages)

    async def receive() -> Message:
        await asyncio.sleep(pause_s)
        return next(pending)

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope: dict[str, Any] = {
        "type": "http", "method": "POST", "path": "/x", "headers": headers, "query_string": b""
    }  # fmt: skip
    await app(scope, receive, send)
    return sent


def chunks(count: int, size: int) -> list[Message]:
    return [
        {"type": "http.request", "body": b"x" * size, "more_body": number + 1 < count}
        for number in range(count)
    ]


def reading_app(release: asyncio.Event) -> FastAPI:
    app = FastAPI()

    @app.post("/x")
    async def read(request: Request) -> int:
        size = len(await request.body())
        await release.wait()
        return size

    return app


def test_bodies_that_are_too_much_together_are_answered_503_with_retry_after():
    async def run() -> list[list[Message]]:
        release = asyncio.Event()
        app = BodyLimit(reading_app(release), max_bytes_in_flight=4 * MIB)
        calls = [asyncio.create_task(call(app, chunks(2, 3 * MIB // 2))) for _ in range(3)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        release.set()
        first_answers = list(await asyncio.gather(*calls))
        return [*first_answers, await call(app, chunks(2, 3 * MIB // 2))]

    *together, alone = asyncio.run(run())
    assert sorted(answer[0]["status"] for answer in together) == [200, 503, 503]
    refused = next(answer for answer in together if answer[0]["status"] == 503)
    assert dict(refused[0]["headers"])[b"retry-after"] == b"10"
    assert json.loads(refused[1]["body"])["detail"].startswith("The server is busy")
    assert alone[0]["status"] == 200


def test_of_bodies_that_arrive_together_one_is_answered():
    async def run() -> list[int]:
        release = asyncio.Event()
        release.set()
        app = BodyLimit(reading_app(release), max_bytes_in_flight=4 * MIB)
        calls = (call(app, chunks(30, MIB // 10), 0.01) for _ in range(3))
        return [answer[0]["status"] for answer in await asyncio.gather(*calls)]

    assert asyncio.run(run()).count(200) == 1


def test_a_body_that_does_not_arrive_in_time_is_answered_408():
    async def run(pause_s: float) -> list[Message]:
        release = asyncio.Event()
        release.set()
        app = BodyLimit(reading_app(release), body_patience_s=0.2)
        return await call(app, chunks(50, 1), pause_s)

    assert asyncio.run(run(0.0))[0]["status"] == 200
    for pause_s in (0.1, 10.0):
        assert asyncio.run(run(pause_s))[0]["status"] == 408


def test_an_image_is_not_decoded_while_others_fill_the_memory(engine: Engine):
    buffer = io.BytesIO()
    Image.new("L", (2048, 2048)).save(buffer, "PNG")
    encoded = ImageField.from_bytes(buffer.getvalue()).to_base64()
    app = FastAPI()
    add_routes(app, engine)
    limited = BodyLimit(app, max_bytes_in_flight=8 * MIB)
    with TestClient(limited) as client:
        body = {"image": encoded}
        assert client.post("/sdapi/v1/png-info", json=body).status_code == 200
        limited.budget.change(MIB, 0)  # another request
        answer = client.post("/sdapi/v1/png-info", json=body)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
        assert answer.json()["error"] == "Busy"
        body = {"init_images": [encoded], "width": 64, "height": 64, "steps": 1}
        assert client.post("/sdapi/v1/img2img", json=body).status_code == 503
        limited.budget.change(-MIB, 0)
        assert client.post("/sdapi/v1/img2img", json=body).status_code == 200
