"""Progress, interrupt and skip of the running job, compatible with A1111's clients."""

from __future__ import annotations

import base64
from typing import Any

from fastapi import APIRouter

from modules.engine.engine import Engine
from modules.engine.jobs.job import Job


def progress_router(engine: Engine) -> APIRouter:
    """Return the routes that report, interrupt and skip the running job."""
    router = APIRouter(prefix="/sdapi/v1")

    @router.get("/progress")
    def progress(skip_current_image: bool = False) -> dict[str, Any]:
        job = engine.running_job()
        if job is None:
            return {
                "progress": 0.0,
                "eta_relative": 0.0,
                "state": _state(None),
                "current_image": None,
                "textinfo": None,
            }
        job.watch()
        status = job.status()
        preview = b"" if skip_current_image else job.preview()
        return {
            "progress": max(0.01, status.progress.fraction),
            "eta_relative": status.progress.eta_s or 0.0,
            "state": _state(job),
            "current_image": base64.b64encode(preview).decode("ascii") if preview else None,
            "textinfo": status.phase,
        }

    @router.post("/interrupt")
    def interrupt() -> dict[str, Any]:
        engine.interrupt()
        return {}

    @router.post("/skip")
    def skip() -> None:
        job = engine.running_job()
        if job is not None:
            job.skip()

    return router


def _state(job: Job | None) -> dict[str, Any]:
    if job is None:
        values = "", 0, "0", 0, 0, 0
    else:
        status, created = job.status(), job.plan.created_at.strftime("%Y%m%d%H%M%S")
        progress = status.progress
        values = (
            *(status.id, status.image_count, created),
            *(len(status.images), progress.step, progress.steps),
        )
    name, count, timestamp, number, step, steps = values
    interrupted = job is not None and job.is_interrupted()
    return {
        "skipped": job is not None and job.is_skipped(),
        "interrupted": interrupted,
        "stopping_generation": interrupted,
        "job": name,
        "job_count": count,
        "job_timestamp": timestamp,
        "job_no": number,
        "sampling_step": step,
        "sampling_steps": steps,
    }
