"""Many clients at once, on an engine that draws single-colour images."""

from __future__ import annotations

import json
import threading
from typing import Any

from fastapi.testclient import TestClient

from modules.engine.engine import Engine

THREADS, ROUNDS = 50, 4


def test_two_hundred_calls_from_fifty_threads_are_all_answered_while_others_poll(
    client: TestClient, engine: Engine
):
    seeds: list[int] = []
    codes: set[int] = set()

    def call(number: int) -> None:
        for turn in range(ROUNDS):
            body: dict[str, Any] = {
                "width": 64,
                "height": 64,
                "steps": 1,
                "seed": number * ROUNDS + turn,
            }
            answer = client.post("/sdapi/v1/txt2img", json=body)
            codes.add(answer.status_code)
            seeds.append(json.loads(answer.json()["info"])["seed"])

    threads = [threading.Thread(target=call, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for path in ("/sdapi/v1/progress", "/internal/queue", "/api/v1/jobs?limit=5"):
            codes.add(client.get(path).status_code)
    assert codes == {200}
    assert sorted(seeds) == list(range(THREADS * ROUNDS))
    assert engine.queue.store.waiting_count() == 0
