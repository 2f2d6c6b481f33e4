"""A1111's own /internal routes: progress of a job, pending tasks, quicksettings hints."""

from __future__ import annotations

import base64
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from modules.api.json_check import CheckedRouter
from modules.core.errors import NotFound
from modules.engine.engine import Engine
from modules.params.param import params_of


class ProgressBody(BaseModel):
    """A1111's progress request; `id_task` is the id of a job."""

    id_task: str = ""
    id_live_preview: int = -1
    live_preview: bool = True


def a1111_progress_router(engine: Engine) -> APIRouter:
    """Return A1111's routes below /internal."""
    router = CheckedRouter(prefix="/internal", include_in_schema=False)

    @router.post("/progress")
    def progress(body: ProgressBody) -> dict[str, Any]:
        """Return the progress of a job; an unknown job counts as completed."""
        try:
            job = engine.job(body.id_task)
        except NotFound:
            return _progress(completed=True)
        status = job.status()
        if status.has_ended:
            return _progress(completed=True, textinfo=status.error or None)
        if status.state == "queued":
            return _progress(queued=True, textinfo="In queue")
        if body.live_preview:
            job.watch()
        fields = _progress(
            active=True,
            progress=status.progress.fraction,
            eta=status.progress.eta_s,
            textinfo=status.phase,
        )
        preview = job.preview() if body.live_preview else b""
        if preview and status.preview_number != body.id_live_preview:
            encoded = base64.b64encode(preview).decode("ascii")
            fields["live_preview"] = f"data:image/jpeg;base64,{encoded}"
            fields["id_live_preview"] = status.preview_number
        return fields

    @router.get("/pending-tasks")
    def pending_tasks() -> dict[str, Any]:
        """Return the ids of queued and running jobs."""
        ids = [job.id for job in engine.jobs() if not job.status().has_ended]
        return {"size": len(ids), "tasks": ids}

    @router.get("/quicksettings-hint")
    def quicksettings_hint() -> list[dict[str, str]]:
        """Return every option with its label."""
        return [
            {"name": name, "label": param.label}
            for name, param in params_of(type(engine.settings)).items()
        ]

    return router


def _progress(**fields: Any) -> dict[str, Any]:
    defaults = {
        "active": False,
        "queued": False,
        "completed": False,
        "progress": None,
        "eta": None,
        "live_preview": None,
        "id_live_preview": -1,
        "textinfo": None,
    }
    return {**defaults, **fields}
