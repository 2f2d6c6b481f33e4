"""Images that were put into the page: checked when they arrive, known by the hash of their bytes.

Each is a file that stays for 30 days after its last use, so that a form that the browser has kept finds it again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from modules.core.atomic import open_writer
from modules.core.errors import NotFound
from modules.engine.engine import Engine
from modules.params.image_decoding import READABLE_FORMATS, open_image

_ID = re.compile(r"[0-9a-f]{64}")
_ORIENTATION = 0x0112  # EXIF's tag
_LYING = range(5, 9)  # its values of images that are turned by 90 degrees
_KEPT_S = 30 * 24 * 3600  # after its last use
# What every browser shows; the page gets all other formats as PNG.
_SHOWN_FORMATS = frozenset(("PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP"))


@dataclass(frozen=True)
class Upload:
    """One image that was put into the page.

    Args:
        id: SHA-256 of its bytes, in hex.
        width: Width in pixels, upright.
        height: Height in pixels, upright.
        media_type: MIME type of the file, such as "image/png".
        is_shown: Whether every browser shows the format.
    """

    id: str
    width: int
    height: int
    media_type: str
    is_shown: bool


class UploadStore:
    """A folder of uploaded images.

    Args:
        folder: Created with the first image.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, data: bytes) -> Upload:
        """Keep an image and return what it is.

        Args:
            data: The bytes of its file.

        Raises:
            UserError: it is not an image, is damaged, or has too many pixels.
        """
        with open_image(data) as image:
            upload = _describe(hashlib.sha256(data).hexdigest(), image)
        path = self._folder / upload.id
        self._remove_unused()
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with open_writer(path) as file:
                file.write(data)
        return upload

    def find(self, upload_id: str) -> Upload:
        """Return what an image is; only the head of its file is read.

        Raises:
            NotFound: it is no longer there.
        """
        path = self.path(upload_id)
        try:
            with Image.open(path, formats=READABLE_FORMATS) as image:
                return _describe(upload_id, image)
        except Image.UnidentifiedImageError:  # a format of a plugin
            with open_image(self.read(upload_id)) as image:
                return _describe(upload_id, image)

    def path(self, upload_id: str) -> Path:
        """Return where an image's file is, and note that it is used.

        Raises:
            NotFound: it is no longer there, or the id is none.
        """
        if not _ID.fullmatch(upload_id):
            raise NotFound(f"There is no uploaded picture {upload_id[:80]!r}.", "Upload it again.")
        path = self._folder / upload_id
        if not path.is_file():
            raise NotFound("The picture is no longer on the server.", "Upload it again.")
        with contextlib.suppress(OSError):  # of another user, or on a disk without times
            os.utime(path)
        return path

    def read(self, upload_id: str) -> bytes:
        """Return the bytes of an image's file.

        Raises:
            NotFound: it is no longer there, or the id is none.
        """
        try:
            return self.path(upload_id).read_bytes()
        except OSError:
            raise NotFound("The picture is no longer on the server.", "Upload it again.") from None

    def _remove_unused(self) -> None:
        """Remove what has not been used for long; what cannot be removed stays."""
        before = time.time() - _KEPT_S
        with contextlib.suppress(OSError):
            for path in list(self._folder.iterdir()):
                if path.stat().st_mtime < before:
                    path.unlink()


def make_upload_store(engine: Engine) -> UploadStore:
    """Return the uploads of the page that an engine serves."""
    return UploadStore(engine.paths.temp / "uploads")


def _describe(upload_id: str, image: Image.Image) -> Upload:
    width, height = image.size
    if image.getexif().get(_ORIENTATION, 1) in _LYING:
        width, height = height, width
    media_type = Image.MIME.get(image.format or "", "application/octet-stream")
    return Upload(upload_id, width, height, media_type, image.format in _SHOWN_FORMATS)
