"""Routes of the page's forms: what they offer, uploads, and jobs."""

from __future__ import annotations

import io
from typing import Any

from fastapi import APIRouter, File, Response, UploadFile
from pydantic import BaseModel, Field

from modules.api.image_files import CACHE_FOREVER, image_path
from modules.api.json_check import CheckedRouter
from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.engine.page.requests import make_page_request
from modules.engine.page.scripts.runs import run_page_script
from modules.engine.page.uploads import Upload, UploadStore, make_upload_store
from modules.models.kinds import UPSCALER
from modules.params.image_decoding import MAX_FILE_BYTES, open_image
from modules.params.requests.base import require_generation

# Lists that fields of the forms are chosen from.
_LISTS = (
    "samplers",
    "schedules",
    "checkpoints",
    "vaes",
    "styles",
    "hires upscalers",
    "image upscalers",
)


class FormValues(BaseModel):
    """A form of the page, and the script that is chosen in it, "" for none."""

    task: str = Field(max_length=200)
    values: dict[str, Any]  # checked as the request declares them
    script_name: str = Field("", max_length=200)
    script_args: dict[str, Any] = {}  # checked as the script declares them


class FinishedImage(BaseModel):
    """The id of a finished image, or of one in the gallery."""

    image: str = Field(max_length=200)


def forms_router(engine: Engine) -> APIRouter:
    """Return the routes of the forms, below /internal."""
    router = CheckedRouter(prefix="/internal", include_in_schema=False)

    @router.get("/choices")
    def choices() -> dict[str, Any]:
        """Return the lists that fields are chosen from, the settings, and what there is to try and to get."""
        return {
            "lists": {name: engine.choices(name) for name in _LISTS},
            "settings": engine.settings.model_dump(mode="json"),
            "demo_prompts": engine.active_checkpoint.demo_prompts(),
            "upscalers_to_get": engine.downloads.missing(UPSCALER),
        }

    @router.post("/jobs")
    def submit(body: FormValues) -> dict[str, Any]:
        request = make_page_request(engine, body.task, body.values)
        if body.script_name:
            args = engine, body.script_name, require_generation(request), body.script_args
            return {"id": run_page_script(*args).id}
        return {"id": engine.submit(request, "page").id}

    _add_uploads(router, engine)
    return router


def _add_uploads(router: APIRouter, engine: Engine) -> None:
    uploads = make_upload_store(engine)

    @router.post("/uploads")
    def upload(file: UploadFile = File()) -> dict[str, Any]:  # noqa: B008 - FastAPI's way
        return _upload_json(uploads.add(file.file.read(MAX_FILE_BYTES + 1)))

    @router.post("/uploads/finished")
    def from_finished(body: FinishedImage) -> dict[str, Any]:
        """Use a finished image as an input."""
        return _upload_json(uploads.add(image_path(engine, body.image).read_bytes()))

    @router.post("/uploads/gallery")
    def from_gallery(body: FinishedImage) -> dict[str, Any]:
        """Use an image of the gallery as an input."""
        return _upload_json(uploads.add(engine.gallery.find(body.image).path.read_bytes()))

    @router.get("/uploads/{upload_id}")
    def description(upload_id: str) -> dict[str, Any]:
        return _upload_json(uploads.find(upload_id))

    @router.get("/uploads/{upload_id}/image")
    def image(upload_id: str) -> Response:
        return _shown_image(uploads, upload_id)


def _shown_image(uploads: UploadStore, upload_id: str) -> Response:
    """Return an upload as every browser can show it."""
    upload, data = uploads.find(upload_id), uploads.read(upload_id)
    if upload.is_shown:
        return Response(data, media_type=upload.media_type, headers=CACHE_FOREVER)
    buffer = io.BytesIO()
    try:
        open_image(data).convert("RGBA").save(buffer, format="PNG", compress_level=1)
    except (OSError, ValueError) as error:
        raise WebUIError(f"The picture cannot be shown: {error}.", "Save it as PNG.") from error
    return Response(buffer.getvalue(), media_type="image/png", headers=CACHE_FOREVER)


def _upload_json(upload: Upload) -> dict[str, Any]:
    return {"id": upload.id, "width": upload.width, "height": upload.height}
