"""POST /sdapi/v1/extra-single-image and extra-batch-images, compatible with A1111's clients."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool

from modules.api.json_check import CheckedRouter
from modules.api.sdapi.generation import wait_until_ended
from modules.api.sdapi.remote_images import fetch_remote_images
from modules.api.sdapi.requests.schema import IMAGE_SCHEMA, RequestBody
from modules.core.errors import Cancelled, NotFound, UserError, WebUIError
from modules.engine.engine import Engine
from modules.engine.jobs.job import Job
from modules.params.image_decoding import decode_base64
from modules.params.param import validate
from modules.params.requests.extras import ExtrasRequest
from modules.plan.jobs.extras import ExtrasPlan, read_source

_MAX_IMAGES = 256
# Fields of A1111's clients that are ignored without a warning; the result is always returned.
_IGNORED_FIELDS = ("show_extras_results", "model")
# Fields of this program's own request that A1111's lacks; they follow from the image's file and name.
_OWN_FIELDS = ("image", "source_name", "source_texts", "save_output")


class ExtraSingleBody(RequestBody):
    """An image and how to upscale it."""

    source_model = ExtrasRequest
    extra_fields: ClassVar[Mapping[str, Mapping[str, Any]]] = {"image": IMAGE_SCHEMA}


class ExtraBatchBody(RequestBody):
    """Images and how to upscale them."""

    source_model = ExtrasRequest
    extra_fields: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "imageList": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"data": IMAGE_SCHEMA, "name": {"type": "string"}},
                "required": ["data", "name"],
            },
        }
    }


def extras_router(engine: Engine) -> APIRouter:
    """Return the routes that upscale images, each by a job."""
    router = CheckedRouter(prefix="/sdapi/v1")

    @router.post("/extra-single-image")
    async def single(body: ExtraSingleBody) -> dict[str, Any]:
        """Upscale one image and restore its faces; the response is sent when it is finished."""
        values = await run_in_threadpool(fetch_remote_images, body.root, engine.settings)
        encoded = values.pop("image", None)
        if not encoded:
            raise NotFound(
                "Image not found: image is empty.", "Put a base64-encoded image into it."
            )
        request, warnings = parse_extras(values)
        image, text, notes = await process(encoded, "", request)
        return {"html_info": _html_info(text), "image": image, "warnings": [*warnings, *notes]}

    @router.post("/extra-batch-images")
    async def batch(body: ExtraBatchBody) -> dict[str, Any]:
        """Upscale several images with the same settings, one after another."""
        values = await run_in_threadpool(fetch_remote_images, body.root, engine.settings)
        items = _read_image_list(values.pop("imageList", None))
        request, warnings = parse_extras(values)
        results = [await process(data, name, request) for data, name in items]
        return {
            "html_info": "".join(_html_info(text) for _, text, _ in results),
            "images": [image for image, _, _ in results],
            "warnings": [*warnings, *(note for _, _, notes in results for note in notes)],
        }

    async def process(
        encoded: Any, name: str, request: ExtrasRequest
    ) -> tuple[str, str, tuple[str, ...]]:
        """Return the result's file in base64, what was done, and notes."""
        job = await run_in_threadpool(submit, encoded, name, request)
        await wait_until_ended(job)
        return await run_in_threadpool(_read_result, job)

    def submit(encoded: Any, name: str, request: ExtrasRequest) -> Job:
        if not isinstance(encoded, str):
            raise UserError(f"A picture in base64 is needed, not {type(encoded).__name__}.")
        return engine.submit(request.replace(**read_source(decode_base64(encoded), name)))

    return router


def parse_extras(body: Mapping[str, Any]) -> tuple[ExtrasRequest, list[str]]:
    """Return the request in a body without its images, and a warning for each field without effect.

    Results are only returned, not saved among the outputs, as in A1111.

    Raises:
        UserError: a value is not valid.
    """
    fields = {k: v for k, v in body.items() if v is not None and k not in _IGNORED_FIELDS}
    known = ExtrasRequest.model_fields.keys() - set(_OWN_FIELDS)
    unknown = sorted(fields.keys() - known)
    warnings = [f"The field '{key}' has no effect in this version." for key in unknown]
    values = {k: v for k, v in fields.items() if k in known}
    return validate(ExtrasRequest, {**values, "save_output": False}), warnings


def _read_image_list(value: Any) -> list[tuple[Any, str]]:  # Any: JSON may hold anything
    if not isinstance(value, list):
        raise UserError("imageList is missing.", "Put objects with data and name into it.")
    items = cast("list[Any]", value)
    if len(items) > _MAX_IMAGES:
        raise UserError(f"imageList has {len(items)} images; at most {_MAX_IMAGES} are allowed.")
    fields = [cast("dict[str, Any]", item) if isinstance(item, dict) else {} for item in items]
    return [(item.get("data"), str(item.get("name") or "")) for item in fields]


def _read_result(job: Job) -> tuple[str, str, tuple[str, ...]]:
    status = job.status()
    if status.state == "cancelled":
        raise Cancelled(status.error)
    if status.state == "failed":
        raise status.exception or WebUIError(status.error)
    assert isinstance(job.plan, ExtrasPlan)
    data = status.images[0].path.read_bytes()
    return base64.b64encode(data).decode("ascii"), job.plan.postprocessing, status.notes


def _html_info(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"
