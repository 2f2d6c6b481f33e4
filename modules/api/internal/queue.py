"""Routes of the Queue tab."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from modules.api.image_files import image_response, thumbnail_response
from modules.api.internal.workers import workers_to_json
from modules.api.job_json import summary_to_json
from modules.api.json_check import CheckedRouter
from modules.engine.engine import Engine
from modules.engine.jobs.fair_queue import Move

_MAX_WAITING = 100
_MAX_PAST = 40


def queue_router(engine: Engine) -> APIRouter:
    """Return the routes of the Queue tab, below /internal."""
    router = CheckedRouter(prefix="/internal", include_in_schema=False)
    queue = engine.queue

    @router.get("/queue")
    def overview() -> dict[str, Any]:
        for job in queue.running_jobs():
            job.watch()  # turns previews on
        return {
            "paused": queue.is_paused,
            "remark": queue.store.warning(),
            "waiting": queue.store.waiting_count(),
            "jobs": [summary_to_json(row, queue) for row in queue.store.active_jobs(_MAX_WAITING)],
            **workers_to_json(engine),
            "past": [summary_to_json(row, queue) for row in queue.store.ended_jobs(_MAX_PAST)],
        }

    @router.post("/queue/pause")
    def pause() -> dict[str, Any]:
        queue.pause()
        return {}

    @router.post("/queue/resume")
    def resume() -> dict[str, Any]:
        queue.resume()
        return {}

    @router.post("/queue/cancel")
    def cancel_all() -> dict[str, Any]:
        queue.cancel_all()
        return {}

    @router.post("/jobs/{job_id}/finish")
    def finish(job_id: str) -> dict[str, Any]:
        queue.cancel(job_id, after_picture=True)
        return {}

    @router.post("/jobs/{job_id}/retry")
    def retry(job_id: str) -> dict[str, Any]:
        return {"id": queue.retry(job_id).id}

    @router.post("/jobs/{job_id}/move/{where}")
    def move(job_id: str, where: Move) -> dict[str, Any]:
        queue.move(job_id, where)
        return {}

    _add_image_routes(router, engine)
    return router


def _add_image_routes(router: APIRouter, engine: Engine) -> None:
    @router.get("/images/{image_id}")
    def image(image_id: str) -> Response:
        return image_response(engine, image_id)

    @router.get("/images/{image_id}/thumbnail")
    def thumbnail(image_id: str) -> Response:
        return thumbnail_response(engine, image_id)
