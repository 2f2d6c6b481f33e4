"""Routes of the Diffusion process tab's viewer."""

from __future__ import annotations

from fastapi import APIRouter, Response

from modules.engine.engine import Engine

_MEDIA_TYPES = {"WebP": "image/webp", "GIF": "image/gif", "MP4": "video/mp4"}


def process_router(engine: Engine) -> APIRouter:
    """Return the routes of recorded processes, below /internal."""
    router = APIRouter(prefix="/internal/process", include_in_schema=False)

    @router.get("/{process_id}")
    def document(process_id: str) -> Response:
        return Response(engine.processes.read(process_id), media_type="application/json")

    @router.get("/{process_id}/animation/{track}/{view}/{format}")
    def animation(process_id: str, track: int, view: str, format: str) -> Response:
        data = engine.processes.make_animation(process_id, track, view, format)
        return Response(data, media_type=_MEDIA_TYPES[format])

    return router
