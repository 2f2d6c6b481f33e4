"""How far the running job is, and how to stop it, as A1111's clients ask."""

from __future__ import annotations

import base64
from typing import Any

from fastapi import APIRouter

from modules.engine.engine import Engine
from modules.engine.jobs.job import Job


def progress_router(engine: Engine) -> APIRouter:
    """Return the routes that follow and stop the running job."""
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
        told = "", 0, "0", 0, 0, 0
    else:
        status, made_at = job.status(), job.plan.created_at.strftime("%Y%m%d%H%M%S")
        done = status.progress
        told = status.id, status.image_count, made_at, len(status.images), done.step, done.steps
    name, count, timestamp, number, step, steps = told
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
