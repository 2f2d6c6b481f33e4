"""Routes of a form's pictures: notes about them before Generate, their depth, and batches of many."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from modules.api.json_check import CheckedRouter
from modules.engine.engine import Engine
from modules.engine.page.depth_preview import estimate_depth, preview_depth
from modules.engine.page.file_batch import start_file_batch
from modules.engine.page.notes import describe


class FormValues(BaseModel):
    """A form of the page; see `make_page_request`."""

    task: str = Field(max_length=200)
    values: dict[str, Any]  # checked as the request declares them


def pictures_router(engine: Engine) -> APIRouter:
    """Return the routes of the forms' pictures, below /internal."""
    router = CheckedRouter(prefix="/internal", include_in_schema=False)

    @router.post("/describe")
    def notes(body: FormValues) -> dict[str, Any]:
        """Return sentences by the name of the field above them, with what their buttons do."""
        found = describe(engine, body.task, body.values)
        return {"notes": {name: asdict(note) for name, note in found.items()}}

    @router.post("/batches")
    def batch(body: FormValues) -> dict[str, Any]:
        return {"id": start_file_batch(engine, body.task, body.values).id}

    @router.post("/depth/estimate")
    def estimate(body: FormValues) -> Response:
        """Estimate the init image's depth, and answer with the preview."""
        estimate_depth(engine, str(body.values.get("init_image") or ""))
        return preview(body)

    @router.post("/depth/preview")
    def preview(body: FormValues) -> Response:
        """Return a PNG, or 204 if there is no depth yet."""
        png = preview_depth(engine, body.values)
        return Response(png, media_type="image/png") if png else Response(status_code=204)

    return router
