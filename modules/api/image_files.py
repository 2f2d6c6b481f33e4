"""Serves finished images by id, never by path."""

from __future__ import annotations

import io
from pathlib import Path

from fastapi import Response
from fastapi.responses import FileResponse
from PIL import Image

from modules.core.errors import NotFound
from modules.engine.engine import Engine

_THUMBNAIL_SIDE = 160
# For what never changes under its address: a finished image, whose id is never reused, for one.
CACHE_FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}


def image_path(engine: Engine, image_id: str) -> Path:
    """Return the path of a finished image.

    Raises:
        NotFound: there is no such image, or its file is no longer in a folder of images.
    """
    job_id, _, position = image_id.rpartition(".")
    images = engine.queue.status(job_id).images if position.isdecimal() else ()
    if not (position.isdecimal() and len(position) < 6 and int(position) < len(images)):
        raise NotFound("There is no such image.", "GET /api/v1/jobs lists the ids.")
    path = images[int(position)].path.resolve()
    folders = (engine.paths.outputs.resolve(), engine.image_saver.fallback_dir.resolve())
    if not any(path.is_relative_to(folder) for folder in folders) or not path.is_file():
        raise NotFound("The image file is no longer in the outputs folder.")
    return path


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
