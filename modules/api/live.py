"""What the page watches: the device's state, a job's progress and preview, and the way to stop it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from modules.engine.batch import Batch
from modules.engine.engine import Engine
from modules.engine.job import Job, JobStatus

DEMO_WORDS = (
    "Demo model: it draws coloured shapes (“a red circle on a blue background”) and simple landscapes "
    "(“mountains at sunset”). To add a real one, put a checkpoint into models/Stable-diffusion and press ↻; "
    "the README names the official ones."
)
_POLL_S = 0.2
# A sign of life, so that proxies keep a silent stream open.
_HEARTBEAT_POLLS = 50


def live_router(engine: Engine) -> APIRouter:
    """Return the routes below /internal."""
    router = APIRouter(prefix="/internal", include_in_schema=False)

    @router.get("/ping")
    def ping() -> dict[str, Any]:
        return {}

    @router.get("/state")
    def state() -> dict[str, Any]:
        return {**asdict(engine.state), "demo": DEMO_WORDS if engine.shows_demo() else ""}

    @router.get("/jobs/{job_id}")
    def job(job_id: str) -> dict[str, Any]:
        return describe(engine.job(job_id).status())

    @router.post("/jobs/{job_id}/interrupt")
    def interrupt(job_id: str) -> dict[str, Any]:
        engine.interrupt(job_id)
        return {}

    @router.post("/jobs/{job_id}/skip")
    def skip(job_id: str) -> dict[str, Any]:
        engine.job(job_id).skip()
        return {}

    @router.get("/jobs/{job_id}/preview")
    def preview(job_id: str) -> Response:
        return Response(engine.job(job_id).preview(), media_type="image/jpeg")

    @router.get("/jobs/{job_id}/events")
    def events(job_id: str) -> StreamingResponse:
        return StreamingResponse(_events(engine.job(job_id)), media_type="text/event-stream")

    return router


def describe(status: JobStatus) -> dict[str, Any]:
    """Return what the page shows of a job."""
    return {
        "id": status.id,
        "state": status.state,
        "phase": status.phase,
        "fraction": status.progress.fraction,
        "step": status.progress.step,
        "steps": status.progress.steps,
        "steps_per_second": status.progress.steps_per_second,
        "eta_s": status.progress.eta_s,
        "images": len(status.images),
        "image_count": status.image_count,
        "notes": status.notes,
        "error": status.error,
        "preview": status.preview_number,
    }


async def _events(job: Job | Batch) -> AsyncIterator[str]:
    """Yield the job's description whenever it has changed, until it has ended."""
    told: dict[str, Any] = {}
    silent_polls = 0
    while True:
        job.watch()
        status = job.status()
        now = describe(status)
        if now != told:
            yield f"data: {json.dumps(now)}\n\n"
            told, silent_polls = now, 0
        elif (silent_polls := silent_polls + 1) % _HEARTBEAT_POLLS == 0:
            yield ": still here\n\n"
        if status.has_ended:
            return
        await asyncio.sleep(_POLL_S)
