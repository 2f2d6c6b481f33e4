"""POST /sdapi/v1/extra-single-image and extra-batch-images."""

from __future__ import annotations

import asyncio
import base64
import html
import io
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool

from modules.api.sdapi.remote_images import fetch_remote_images
from modules.api.sdapi.request_schema import IMAGE_SCHEMA, RequestBody
from modules.core.errors import NotFound, UserError
from modules.engine.engine import Engine
from modules.images.metadata import PARAMETERS_KEY, make_png_info, read_metadata
from modules.params.image import ImageField
from modules.params.image_decoding import decode_base64
from modules.params.param import validate
from modules.params.requests.extras import ExtrasRequest

_MAX_IMAGES = 256
# Fields of A1111's clients that are ignored without a warning; the result is always returned.
_IGNORED_FIELDS = ("show_extras_results", "model")


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
    """Return the routes that upscale images; one call runs at a time, to limit memory."""
    router = APIRouter(prefix="/sdapi/v1")
    lock = asyncio.Lock()

    @router.post("/extra-single-image")
    async def single(body: ExtraSingleBody) -> dict[str, Any]:
        """Upscale one image."""
        async with lock:
            return await run_in_threadpool(upscale_single, body.root)

    @router.post("/extra-batch-images")
    async def batch(body: ExtraBatchBody) -> dict[str, Any]:
        """Upscale several images with the same settings."""
        async with lock:
            return await run_in_threadpool(upscale_batch, body.root)

    def upscale_single(body: Mapping[str, Any]) -> dict[str, Any]:
        values = fetch_remote_images(body, engine.settings)
        encoded = values.pop("image", None)
        if not encoded:
            raise NotFound(
                "Image not found: image is empty.", "Put a base64-encoded image into it."
            )
        request, warnings = parse_extras(values)
        image, infotext = upscale_encoded(engine, encoded, request)
        return {
            "html_info": f"<p>{html.escape(infotext)}</p>",
            "image": image,
            "warnings": warnings,
        }

    def upscale_batch(body: Mapping[str, Any]) -> dict[str, Any]:
        values = fetch_remote_images(body, engine.settings)
        image_list = values.pop("imageList", None)
        if not isinstance(image_list, list):
            raise UserError("imageList is missing.", "Put objects with data and name into it.")
        items = cast("list[Any]", image_list)
        if len(items) > _MAX_IMAGES:
            raise UserError(
                f"imageList has {len(items)} images; at most {_MAX_IMAGES} are allowed."
            )
        request, warnings = parse_extras(values)
        results = [upscale_encoded(engine, _image_data(item), request) for item in items]
        return {
            "html_info": "".join(f"<p>{html.escape(infotext)}</p>" for _, infotext in results),
            "images": [image for image, _ in results],
            "warnings": warnings,
        }

    return router


def parse_extras(body: Mapping[str, Any]) -> tuple[ExtrasRequest, list[str]]:
    """Return the request in a body without its images, and a warning for each field without effect.

    Raises:
        UserError: a value is not valid.
    """
    fields = {k: v for k, v in body.items() if v is not None and k not in _IGNORED_FIELDS}
    unknown = sorted(fields.keys() - ExtrasRequest.model_fields.keys())
    warnings = [f"The field '{key}' has no effect in this version." for key in unknown]
    return validate(ExtrasRequest, {k: v for k, v in fields.items() if k not in unknown}), warnings


def upscale_encoded(engine: Engine, encoded: Any, request: ExtrasRequest) -> tuple[str, str]:
    """Return the upscaled image as a PNG in base64, with the infotext of the original, and the infotext of upscaling.

    Args:
        engine: Upscales.
        encoded: An image in base64; JSON may hold anything in its place.
        request: How to upscale.

    Raises:
        UserError: it is not an image, or the request cannot be carried out.
    """
    if not isinstance(encoded, str):
        raise UserError(f"A picture in base64 is needed, not {type(encoded).__name__}.")
    data = decode_base64(encoded)
    image, infotext = engine.upscale(ImageField.from_bytes(data), request)
    info = make_png_info(read_metadata(data).items.get(PARAMETERS_KEY, ""))
    if infotext:
        info.add_text("postprocessing", infotext)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=info)
    return base64.b64encode(buffer.getvalue()).decode("ascii"), infotext


def _image_data(item: Any) -> Any:
    return cast("dict[str, Any]", item).get("data") if isinstance(item, dict) else None
