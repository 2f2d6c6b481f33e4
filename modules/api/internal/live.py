"""Live routes of the page: device status, and progress, preview, interrupt and skip of a job."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from modules.api.event_stream import stream_job
from modules.api.internal.workers import workers_state
from modules.api.job_json import progress_to_json
from modules.api.json_check import CheckedRouter
from modules.engine.engine import Engine


def live_router(engine: Engine) -> APIRouter:
    """Return the routes below /internal."""
    router = CheckedRouter(prefix="/internal", include_in_schema=False)

    @router.get("/ping")
    def ping() -> dict[str, Any]:
        return {}

    @router.get("/state")
    def state() -> dict[str, Any]:
        return {
            **asdict(engine.device_status),
            "demo": engine.active_checkpoint.demo_notice(),
            "extension_errors": engine.registries.extension_errors,
            **workers_state(engine),
        }

    @router.get("/jobs/{job_id}")
    def job(job_id: str) -> dict[str, Any]:
        return progress_to_json(engine.status(job_id), engine.queue)

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
        return stream_job(engine, job_id)

    return router
