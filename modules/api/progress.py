"""How far the running job is, and how to stop it, as A1111's clients ask."""

from __future__ import annotations

import base64
from typing import Any

from fastapi import APIRouter

from modules.engine.engine import Engine


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
                "state": _state("", 0, 0, 0, False),
                "current_image": None,
                "textinfo": None,
            }
        job.watch()
        status = job.status()
        preview = b"" if skip_current_image else job.preview()
        return {
            "progress": max(0.01, status.progress.fraction),
            "eta_relative": status.progress.eta_s or 0.0,
            "state": _state(
                status.id,
                status.image_count,
                len(status.images),
                status.progress.step,
                job.is_interrupted(),
                status.progress.steps,
                skipped=job.is_skipped(),
            ),
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


def _state(
    job: str,
    count: int,
    number: int,
    step: int,
    interrupted: bool,
    steps: int = 0,
    *,
    skipped: bool = False,
) -> dict[str, Any]:
    return {
        "skipped": skipped,
        "interrupted": interrupted,
        "stopping_generation": interrupted,
        "job": job,
        "job_count": count,
        "job_no": number,
        "sampling_step": step,
        "sampling_steps": steps,
    }
