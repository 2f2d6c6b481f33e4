"""Routes of the Diffusion process tab: runs that are recorded, and their documents."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from modules.api.json_check import CheckedRouter
from modules.engine.engine import Engine
from modules.engine.page.forward_process import show_forward
from modules.engine.page.process_runs import ProcessRuns
from modules.engine.page.uploads import make_upload_store
from modules.engine.reproduce import find_image_request
from modules.params.param import validate
from modules.params.requests.base import Seed
from modules.params.requests.txt2img import Txt2ImgRequest

_MEDIA_TYPES = {"WebP": "image/webp", "GIF": "image/gif", "MP4": "video/mp4"}


class ForwardValues(BaseModel):
    """The form of the forward half."""

    upload: str = Field(max_length=200)
    count: int
    seed: Seed
    in_pixels: bool


class ReverseValues(BaseModel):
    """The form of the reverse half."""

    values: dict[str, Any]  # checked as the request declares them
    other_sampler: str = Field("", max_length=200)


class FinishedImage(BaseModel):
    """One image of a job."""

    job: str = Field(max_length=200)
    index: int = Field(ge=0, le=100_000)


def process_router(engine: Engine) -> APIRouter:
    """Return the routes of recorded processes, below /internal/process."""
    router = CheckedRouter(prefix="/internal/process", include_in_schema=False)
    runs = ProcessRuns(engine)
    uploads = make_upload_store(engine)

    @router.post("/forward")
    def forward(body: ForwardValues) -> dict[str, Any]:
        data = uploads.read(body.upload)
        return asdict(show_forward(engine, data, body.count, body.seed, body.in_pixels))

    @router.post("/reverse")
    def reverse(body: ReverseValues) -> dict[str, Any]:
        request_type = Txt2ImgRequest.with_settings(type(engine.settings))
        request = validate(request_type, body.values)
        return {"run": runs.start(request, body.other_sampler)}

    @router.post("/again")
    def again(body: FinishedImage) -> dict[str, Any]:
        """Record how an image was made, and return the values that the form needs for it."""
        request = find_image_request(engine.queue, body.job, body.index)
        run = runs.start_again(body.job, body.index)
        values = request.model_dump(mode="json", include=_FORM_FIELDS)
        return {"run": run, "values": {**values, "seed": str(request.seed)}}

    @router.post("/runs/{run_id}/document")
    def finished(run_id: str) -> dict[str, Any]:
        return {"id": runs.document(run_id)}

    @router.get("/{process_id}")
    def document(process_id: str) -> Response:
        return Response(engine.processes.read(process_id), media_type="application/json")

    @router.get("/{process_id}/animation/{track}/{view}/{format}")
    def animation(process_id: str, track: int, view: str, format: str) -> Response:
        data = engine.processes.make_animation(process_id, track, view, format)
        return Response(data, media_type=_MEDIA_TYPES[format])

    return router


_FORM_FIELDS = {
    "prompt",
    "negative_prompt",
    "sampler_name",
    "scheduler",
    "steps",
    "cfg_scale",
    "width",
    "height",
}
