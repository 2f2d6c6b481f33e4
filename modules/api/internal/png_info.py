"""Routes of the PNG Info tab."""

from __future__ import annotations

import io
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from modules.api.job_json import make_image_id
from modules.api.json_check import CheckedRouter
from modules.core.errors import NotFound
from modules.engine.engine import Engine
from modules.engine.page.png_info import (
    compare_with_upload,
    read_image_facts,
    start_reproduction,
)
from modules.engine.page.uploads import make_upload_store


class UploadId(BaseModel):
    """The id of an uploaded image."""

    upload: str = Field(max_length=200)


def png_info_page_router(engine: Engine) -> APIRouter:
    """Return the routes of the tab, below /internal."""
    router = CheckedRouter(prefix="/internal", include_in_schema=False)
    uploads = make_upload_store(engine)

    @router.post("/png_info")
    def facts(body: UploadId) -> dict[str, Any]:
        return asdict(read_image_facts(engine, uploads.read(body.upload)))

    @router.post("/reproduce")
    def reproduce(body: UploadId) -> dict[str, Any]:
        return {"id": start_reproduction(engine, uploads, body.upload)}

    @router.get("/reproduce/{job_id}")
    def verdict(job_id: str) -> dict[str, Any]:
        status = engine.status(job_id)
        reproduction = compare_with_upload(engine, uploads, job_id, status)
        comparison = reproduction.result.comparison
        return {
            "sentence": reproduction.result.sentence,
            "caveats": [*status.notes, *reproduction.result.caveats],
            "upload": reproduction.upload_id,
            "image": make_image_id(job_id, 0),
            "has_difference": comparison is not None,
            "gain": comparison.gain if comparison else 1,
            "is_identical": comparison is not None and comparison.is_identical,
        }

    @router.get("/reproduce/{job_id}/difference")
    def difference(job_id: str) -> Response:
        comparison = compare_with_upload(
            engine, uploads, job_id, engine.status(job_id)
        ).result.comparison
        if comparison is None:
            raise NotFound("The two pictures have different sizes; there is no difference to show.")
        buffer = io.BytesIO()
        comparison.difference_image.save(buffer, format="PNG")
        return Response(buffer.getvalue(), media_type="image/png")

    return router
