"""What the workers are doing, where the executor has several: the list of the page, and its summary in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, get_args

from fastapi import APIRouter

from modules.api.json_check import CheckedRouter
from modules.engine.engine import Engine
from modules.engine.executors import WorkerState, WorkerStatus


def workers_router(engine: Engine) -> APIRouter:
    """Return the route of the list of workers."""
    router = CheckedRouter(prefix="/internal", include_in_schema=False)

    @router.get("/workers")
    def workers() -> dict[str, Any]:
        """Return the summary and the workers; none where there is one device only."""
        return workers_to_json(engine)

    return router


def workers_to_json(engine: Engine) -> dict[str, Any]:
    """Return the workers and one line about them; an empty list and "" where there is one device only."""
    listed = _list_workers(engine)
    return {"workers_text": _summarize(listed), "workers": [asdict(worker) for worker in listed]}


def workers_state(engine: Engine) -> dict[str, Any]:
    """Return what the bar shows of the workers, and the device's phase as failed while none of them can be used."""
    listed = _list_workers(engine)
    state: dict[str, Any] = {"workers": _summarize(listed)}
    if listed and all(worker.state in ("lost", "refused") for worker in listed):
        reasons = " ".join(dict.fromkeys(worker.reason for worker in listed))
        state |= {"phase": "failed", "text": f"No worker is there: {reasons}"}
    return state


def _list_workers(engine: Engine) -> Sequence[WorkerStatus]:
    """Return the workers if there is anything to choose between; one device alone is described elsewhere on the page."""
    workers = engine.executor.workers()
    is_one_device = len(workers) == 1 and workers[0].state != "lost"
    return () if is_one_device else workers


def _summarize(workers: Sequence[WorkerStatus]) -> str:
    if not workers:
        return ""
    counts = Counter(worker.state for worker in workers)
    states = ", ".join(
        f"{counts[state]} {state}" for state in get_args(WorkerState) if counts[state]
    )
    return f"{len(workers)} {'worker' if len(workers) == 1 else 'workers'}: {states}"
