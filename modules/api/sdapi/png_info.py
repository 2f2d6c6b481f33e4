"""POST /sdapi/v1/png-info: the generation parameters in an image file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Body

from modules.api.json_check import CheckedRouter
from modules.api.sdapi.remote_images import fetch_remote_images
from modules.core.errors import NotFound
from modules.engine.engine import Engine
from modules.engine.infotext_context import make_infotext_context
from modules.images.metadata import PARAMETERS_KEY, read_metadata
from modules.infotext import extract_infotext, format_infotext, interpret_infotext
from modules.infotext.text_format import NEGATIVE_PROMPT_PREFIX, Infotext
from modules.params.image_decoding import decode_base64
from modules.params.requests.txt2img import Txt2ImgRequest

_SIZE = re.compile(r"(\d+)x(\d+)")


def png_info_router(engine: Engine) -> APIRouter:
    """Return the route that reads an image's metadata."""
    router = CheckedRouter(prefix="/sdapi/v1")

    @router.post("/png-info")
    def png_info(body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        """Return the infotext, the file's other texts, the parameters, and warnings of what cannot be reproduced here."""
        encoded = fetch_remote_images(body, engine.settings).get("image")
        if not isinstance(encoded, str) or not encoded:
            raise NotFound(
                "Image not found: image is empty.", "Put a base64-encoded image into it."
            )
        metadata = read_metadata(decode_base64(encoded))
        context = make_infotext_context(engine)
        infotext = extract_infotext(metadata, context.json_formats)
        reading = interpret_infotext(infotext, context, Txt2ImgRequest)
        text = metadata.items.get(PARAMETERS_KEY, "")
        info = format_infotext(infotext) if infotext.origin else text
        return {
            "info": info,
            "items": {k: v for k, v in metadata.items.items() if k != PARAMETERS_KEY},
            "parameters": _parameters(infotext) if info else {},
            "warnings": reading.report.messages(),
        }

    return router


def _parameters(infotext: Infotext) -> dict[str, str]:
    """Return prompts and parameters; each size WxH is also returned as `-1` and `-2`, as in A1111."""
    pairs: Mapping[str, str] = infotext.pairs
    sizes = {key: match for key, value in pairs.items() if (match := _SIZE.fullmatch(value))}
    sides = {f"{key}-{side}": match[side] for key, match in sizes.items() for side in (1, 2)}
    negative_key = NEGATIVE_PROMPT_PREFIX.rstrip(":")
    prompts = {"Prompt": infotext.prompt, negative_key: infotext.negative_prompt}
    return {**prompts, **pairs, **sides}
