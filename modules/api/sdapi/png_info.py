"""POST /sdapi/v1/png-info: what a picture's file tells of its making."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Body

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
    """Return the route that reads a picture's metadata."""
    router = APIRouter(prefix="/sdapi/v1")

    @router.post("/png-info")
    def png_info(body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        """Return the infotext, all texts in the file, the pairs, and what of them cannot be followed here."""
        coded = fetch_remote_images(body, engine.settings).get("image")
        if not isinstance(coded, str) or not coded:
            raise NotFound("Image not found: image is empty.", "Put a picture in base64 into it.")
        metadata = read_metadata(decode_base64(coded))
        words = extract_infotext(metadata)
        reading = interpret_infotext(words, make_infotext_context(engine), Txt2ImgRequest)
        info = format_infotext(words) if words.origin else metadata.items.get(PARAMETERS_KEY, "")
        return {
            "info": info,
            "items": {k: text for k, text in metadata.items.items() if k != PARAMETERS_KEY},
            "parameters": _parameters(words) if info else {},
            "warnings": reading.report.messages(),
        }

    return router


def _parameters(words: Infotext) -> dict[str, str]:
    """Return prompts and pairs; a size comes in two halves besides, as A1111 has it."""
    pairs: Mapping[str, str] = words.pairs
    halves = {key: match for key, value in pairs.items() if (match := _SIZE.fullmatch(value))}
    parts = {f"{key}-{place}": match[place] for key, match in halves.items() for place in (1, 2)}
    prompts = {"Prompt": words.prompt, NEGATIVE_PROMPT_PREFIX.rstrip(":"): words.negative_prompt}
    return {**prompts, **pairs, **parts}
