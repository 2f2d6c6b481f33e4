"""What the gallery keeps of an image file: its size, its infotext and a thumbnail, from one decoding."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from modules.core.errors import WebUIError
from modules.core.text import escape
from modules.images.metadata import metadata_of
from modules.infotext.foreign.json_formats import JsonFormat
from modules.infotext.from_image import extract_infotext
from modules.infotext.text_format import format_infotext
from modules.params.image_decoding import DAMAGE_ERRORS, MAX_FILE_BYTES, open_image

_THUMBNAIL_SIDE = 256
_MAX_SEARCHED = 20_000  # characters of an image's texts that a search looks at


@dataclass(frozen=True)
class ImageContent:
    """What is kept of an image file.

    Args:
        size: Width and height; zeros if the file cannot be read.
        thumbnail: A JPEG.
        infotext: In A1111's format, whichever program wrote it.
        prompt: The prompt.
        model: The checkpoint's name.
        sampler: The sampler's name, with the schedule where the infotext has it apart.
        seed: The seed.
        words: The text that is searched, in lower case.
    """

    size: tuple[int, int] = (0, 0)
    thumbnail: bytes = b""
    infotext: str = ""
    prompt: str = ""
    model: str = ""
    sampler: str = ""
    seed: str = ""
    words: str = ""


def read_image_file(path: Path, json_formats: Iterable[JsonFormat]) -> ImageContent:
    """Return the content of an image file; an empty one if it is damaged or too large.

    Raises:
        OSError: there is no such file, or it cannot be read now.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        return ImageContent()
    data = path.read_bytes()
    try:
        with open_image(data) as image:
            return _read(image, path.name, json_formats)
    except (WebUIError, *DAMAGE_ERRORS):
        return ImageContent()


def _read(image: Image.Image, name: str, json_formats: Iterable[JsonFormat]) -> ImageContent:
    try:
        infotext = extract_infotext(metadata_of(image), json_formats)
    except (WebUIError, RecursionError):  # the pixels are good
        infotext = None
    size = image.size
    thumbnail = make_thumbnail(image)
    if infotext is None or not (infotext.prompt or infotext.pairs):
        return ImageContent(size, thumbnail, words=escape(name).casefold())
    pairs = infotext.pairs
    seed, model = pairs.get("Seed", ""), pairs.get("Model", "")
    sampler = " ".join(filter(None, (pairs.get("Sampler", ""), pairs.get("Schedule type", ""))))
    text = escape(format_infotext(infotext))
    parts = (infotext.prompt, name, model, sampler, seed, infotext.negative_prompt)
    words = escape("\n".join(parts)).casefold()[:_MAX_SEARCHED]
    return ImageContent(
        size,
        thumbnail,
        text,
        escape(infotext.prompt),
        escape(model),
        escape(sampler),
        escape(seed),
        words,
    )


def make_thumbnail(image: Image.Image) -> bytes:
    """Return a small JPEG of an image; what is transparent becomes grey."""
    small = image.copy()
    if "A" in small.getbands() or "transparency" in small.info:
        small = small.convert("RGBA")
        small.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
        base = Image.new("RGBA", small.size, (128, 128, 128, 255))
        small = Image.alpha_composite(base, small)
    buffer = io.BytesIO()
    small = small.convert("RGB")
    small.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), reducing_gap=2.0)
    small.save(buffer, format="JPEG", quality=80)
    return buffer.getvalue()
