"""Progress, interrupt and skip, compatible with A1111's clients, who know one running job: of several the oldest one."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter

from modules.api.json_check import CheckedRouter
from modules.engine.engine import Engine
from modules.engine.jobs.job import Job

_IDLE_STATE: Mapping[str, Any] = {
    "skipped": False,
    "interrupted": False,
    "stopping_generation": False,
    "job": "",
    "job_count": 0,
    "job_timestamp": "0",
    "job_no": 0,
    "sampling_step": 0,
    "sampling_steps": 0,
}


def progress_router(engine: Engine) -> APIRouter:
    """Return the routes that report, interrupt and skip the oldest running job."""
    router = CheckedRouter(prefix="/sdapi/v1")

    @router.get("/progress")
    def progress(skip_current_image: bool = False) -> dict[str, Any]:
        """Return how far the oldest running job is, its preview, and the seconds that are left."""
        job = engine.running_job()
        if job is None:
            return {
                "progress": 0.0,
                "eta_relative": 0.0,
                "state": _state(None),
                "current_image": None,
                "textinfo": None,
            }
        if not skip_current_image:
            job.watch()  # turns previews on
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
        """Stop the oldest running job at its next step; finished images are kept."""
        engine.interrupt()
        return {}

    @router.post("/skip")
    def skip() -> None:
        """Go on with the next batch, or the next file, of the oldest running job."""
        job = engine.running_job()
        if job is not None:
            job.skip()

    return router


def _state(job: Job | None) -> dict[str, Any]:
    """Return A1111's `state` of a job; of None, that of an idle server."""
    if job is None:
        return dict(_IDLE_STATE)
    status = job.status()
    return {
        "skipped": job.cancel.is_batch_skipped(),
        "interrupted": job.cancel.is_interrupted(),
        "stopping_generation": job.cancel.is_interrupted(),
        "job": status.id,
        "job_count": status.image_count,
        "job_timestamp": job.plan.created_at.strftime("%Y%m%d%H%M%S"),
        "job_no": len(status.images),
        "sampling_step": status.progress.step,
        "sampling_steps": status.progress.steps,
    }
