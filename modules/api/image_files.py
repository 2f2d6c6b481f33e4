"""Serves finished images by id, never by path."""

from __future__ import annotations

import io
from pathlib import Path

from fastapi import Response
from fastapi.responses import FileResponse
from PIL import Image

from modules.core.errors import NotFound
from modules.engine.engine import Engine
from modules.engine.page.job_images import find_image

_THUMBNAIL_SIDE = 160
# For what never changes under its address: a finished image, whose id is never reused, for one.
CACHE_FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}


def image_path(engine: Engine, image_id: str) -> Path:
    """Return the path of a finished image.

    Raises:
        NotFound: there is no such image, or its file is no longer in a folder of images.
    """
    job_id, _, position = image_id.rpartition(".")
    if not (position.isdecimal() and len(position) < 6):
        raise NotFound("There is no such image.", "GET /api/v1/jobs lists the ids.")
    return find_image(engine, job_id, int(position)).path.resolve()


def image_response(engine: Engine, image_id: str) -> Response:
    """Return a finished image as it was saved."""
    return FileResponse(image_path(engine, image_id), headers=CACHE_FOREVER)


def thumbnail_response(engine: Engine, image_id: str) -> Response:
    """Return the thumbnail of a finished image, as JPEG.

    Raises:
        NotFound: there is no such image, or its file is damaged.
    """
    buffer = io.BytesIO()
    try:
        with Image.open(image_path(engine, image_id)) as image:
            image.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
            image.convert("RGB").save(buffer, format="JPEG", quality=80)
    except (OSError, ValueError, SyntaxError) as error:
        raise NotFound("The image file is damaged.") from error
    return Response(buffer.getvalue(), media_type="image/jpeg", headers=CACHE_FOREVER)
