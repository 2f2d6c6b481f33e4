"""Thumbnails of networks: made once from the picture next to a file, or from the one in its metadata, and kept on disk."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from modules.core.atomic import write_bytes
from modules.core.errors import NotFound, WebUIError
from modules.engine.gallery.image_file import make_thumbnail
from modules.engine.networks.cards import NetworkCard
from modules.models.files.header import read_header
from modules.models.networks.lora_facts import COVER_KEYS
from modules.params.image_decoding import DAMAGE_ERRORS, MAX_FILE_BYTES, open_image

logger = logging.getLogger(__name__)


class Thumbnails:
    """Makes thumbnails and keeps them.

    Args:
        folder: Of the thumbnails; what is in it can be made again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, card: NetworkCard) -> bytes:
        """Return the thumbnail of a card, a JPEG.

        Raises:
            NotFound: it has no picture, or a damaged one.
        """
        path = self._folder / f"{picture_version(card)}.jpg"
        with suppress(OSError):
            return path.read_bytes()
        try:
            with open_image(read_picture(card)) as image:
                data = make_thumbnail(image)
        except (WebUIError, *DAMAGE_ERRORS) as error:
            raise NotFound(f"The picture of '{card.name}' is damaged: {error}") from error
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_bytes(path, data)
        except OSError as error:  # it is made again next time
            logger.warning("'%s' cannot be written: %s", path, error)
        return data


def picture_version(card: NetworkCard) -> str:
    """Return what the picture of a card is known by; another picture has another one. "" without a picture."""
    source = card.preview or (card.file.path if card.has_cover else None)
    if source is None:
        return ""
    try:
        modified = source.stat().st_mtime_ns
    except OSError:
        return ""
    return hashlib.sha256(f"{source}\0{modified}".encode(errors="replace")).hexdigest()[:24]


def read_picture(card: NetworkCard) -> bytes:
    """Return the file of a card's picture.

    Raises:
        NotFound: it has none, or one that cannot be read.
    """
    try:
        if card.preview is not None:
            if card.preview.stat().st_size > MAX_FILE_BYTES:
                raise NotFound(f"The picture of '{card.name}' is too large.")
            return card.preview.read_bytes()
        cover = _find_cover(card) if card.has_cover else b""
    except OSError as error:
        raise NotFound(f"The picture of '{card.name}' cannot be read: {error}") from error
    if not cover:
        raise NotFound(f"'{card.name}' has no picture.", "Put one of its name beside it.")
    return cover


def _find_cover(card: NetworkCard) -> bytes:
    """Return the first picture in a file's metadata, b"" where there is none."""
    metadata = read_header(card.file.path).metadata
    for key in COVER_KEYS:
        with suppress(ValueError, TypeError, LookupError, RecursionError):
            content: Any = metadata[key]
            if content.startswith("["):
                content = json.loads(content)[0]
            return base64.b64decode(content.partition("base64,")[2] or content, validate=True)
    return b""
