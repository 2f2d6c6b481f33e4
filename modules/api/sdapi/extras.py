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
from modules.engine.extras import upscale
from modules.images.metadata import PARAMETERS_KEY, make_png_info, read_metadata
from modules.params.image import ImageField
from modules.params.image_decoding import decode_base64
from modules.params.param import validate
from modules.params.requests.extras import ExtrasRequest

_MOST_PICTURES = 256
# What A1111's clients send along; the result is always in the answer.
_NOT_ASKED = ("show_extras_results", "model")


class ExtraSingleBody(RequestBody):
    """A picture and what it shall become."""

    source_model = ExtrasRequest
    extra_fields: ClassVar[Mapping[str, Mapping[str, Any]]] = {"image": IMAGE_SCHEMA}


class ExtraBatchBody(RequestBody):
    """Pictures and what they shall become."""

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
    """Return the routes that make finished pictures larger; one call at a time, for the memory's sake."""
    router = APIRouter(prefix="/sdapi/v1")
    turn = asyncio.Lock()

    @router.post("/extra-single-image")
    async def single(body: ExtraSingleBody) -> dict[str, Any]:
        """Enlarge one picture."""
        async with turn:
            return await run_in_threadpool(one, body.root)

    @router.post("/extra-batch-images")
    async def batch(body: ExtraBatchBody) -> dict[str, Any]:
        """Enlarge several pictures alike."""
        async with turn:
            return await run_in_threadpool(several, body.root)

    def one(body: Mapping[str, Any]) -> dict[str, Any]:
        values = fetch_remote_images(body, engine.settings)
        coded = values.pop("image", None)
        if not coded:
            raise NotFound("Image not found: image is empty.", "Put a picture in base64 into it.")
        request, warnings = read_extras(values)
        made, told = enlarged(engine, coded, request)
        return {"html_info": f"<p>{html.escape(told)}</p>", "image": made, "warnings": warnings}

    def several(body: Mapping[str, Any]) -> dict[str, Any]:
        values = fetch_remote_images(body, engine.settings)
        listed = values.pop("imageList", None)
        if not isinstance(listed, list):
            raise UserError("imageList is missing.", "Put objects with data and name into it.")
        items = cast("list[Any]", listed)
        if len(items) > _MOST_PICTURES:
            raise UserError(
                f"imageList holds {len(items)} pictures; at most {_MOST_PICTURES} are taken."
            )
        request, warnings = read_extras(values)
        results = [enlarged(engine, _data(item), request) for item in items]
        told = "".join(f"<p>{html.escape(line)}</p>" for _, line in results)
        return {
            "html_info": told,
            "images": [made for made, _ in results],
            "warnings": warnings,
        }

    return router


def read_extras(body: Mapping[str, Any]) -> tuple[ExtrasRequest, list[str]]:
    """Return the request in a body without its pictures, and a sentence for each field without effect.

    Raises:
        UserError: a value is not valid.
    """
    given = {k: v for k, v in body.items() if v is not None and k not in _NOT_ASKED}
    unknown = sorted(given.keys() - ExtrasRequest.model_fields.keys())
    warnings = [f"The field '{key}' has no effect in this version." for key in unknown]
    return validate(ExtrasRequest, {k: v for k, v in given.items() if k not in unknown}), warnings


def enlarged(engine: Engine, coded: Any, request: ExtrasRequest) -> tuple[str, str]:
    """Return the enlarged picture as a PNG in base64, its infotext kept, and what was done.

    Args:
        engine: Knows the upscalers.
        coded: A picture in base64, or whatever came in its place.
        request: What to do.

    Raises:
        UserError: it is no picture, or the request cannot be carried out.
    """
    if not isinstance(coded, str):
        raise UserError(f"A picture in base64 is needed, not {type(coded).__name__}.")
    data = decode_base64(coded)
    made, told = upscale(ImageField.from_bytes(data).to_pil(), request, engine.upscalers)
    info = make_png_info(read_metadata(data).items.get(PARAMETERS_KEY, ""))
    if told:
        info.add_text("postprocessing", told)
    buffer = io.BytesIO()
    made.save(buffer, format="PNG", pnginfo=info)
    return base64.b64encode(buffer.getvalue()).decode("ascii"), told


def _data(item: Any) -> Any:
    return cast("dict[str, Any]", item).get("data") if isinstance(item, dict) else None
