"""Makes a finished image the preview of a network: `<name>.preview.png` next to its file, as A1111 has it."""

from __future__ import annotations

import io
from pathlib import Path

from modules.core.atomic import write_bytes
from modules.core.errors import NotFound, StorageError, WebUIError
from modules.core.text import escape
from modules.params.image_decoding import DAMAGE_ERRORS, open_image

_SIDE = 1024  # pixels; larger ones would only make lists slow


def save_preview(model: Path, image: Path) -> Path:
    """Write an image next to a model file and return its path; an earlier preview is replaced.

    Args:
        model: The model file.
        image: The file of a finished image; without its metadata it is copied.

    Raises:
        NotFound: the image is damaged.
        StorageError: it cannot be written.
    """
    buffer = io.BytesIO()
    try:
        with open_image(image.read_bytes()) as picture:
            small = picture.convert("RGB")
            small.thumbnail((_SIDE, _SIDE))
            small.save(buffer, format="PNG")
    except (OSError, WebUIError, *DAMAGE_ERRORS) as error:
        raise NotFound("The image file is damaged.") from error
    path = model.with_name(f"{model.stem}.preview.png")
    try:
        write_bytes(path, buffer.getvalue())
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"'{escape(str(path))}' cannot be written: {reason}.") from error
    return path
