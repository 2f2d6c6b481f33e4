"""Reads the textual-inversion embedding in a picture: A1111 stores it in a text chunk, in the pixels, or in both.

The text chunk `sd-ti-embedding` is base64 of a JSON document. In pixels the document is compressed; the low four bits
of the columns at the left edge are the low halves of its bytes, those at the right edge the high halves, each masked
by a sequence of pseudo-random numbers. Columns whose low bits are zero separate both from the picture.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PICTURE_SUFFIXES = (".png", ".webp", ".avif")
_FORMATS = ("PNG", "WEBP", "AVIF")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNK_KEYWORD = b"sd-ti-embedding\0"
_MAX_CHUNKS = 20_000
_MAX_DOCUMENT_BYTES = 16_000_000  # 75 vectors of 2048 numbers take 3 MB
_MAX_PIXELS = 40_000_000
_MULTIPLIER, _INCREMENT = (
    1664525,
    1013904223,
)  # of the sequence: Numerical Recipes' generator, from 0


@dataclass(frozen=True)
class PictureEmbedding:
    """The embedding in a picture.

    Args:
        name: As stored in it, which is its word in prompts; "" if there is none.
        tensors: float32 arrays by their keys, such as "string_to_param.*".
        values: What else the document holds, such as the number of steps.
    """

    name: str
    tensors: Mapping[str, NDArray[np.float32]]
    values: Mapping[str, Any]


def read_picture_embedding(path: Path, *, with_pixels: bool = True) -> PictureEmbedding | None:
    """Return the embedding in a picture; None if it is an ordinary picture.

    Args:
        path: The picture.
        with_pixels: Whether its pixels are searched as well, for which it must be decoded.

    Raises:
        ValueError: there is an embedding, and it is damaged.
        OSError: the file cannot be read.
    """
    document = _read_chunk(path)
    if document is None and with_pixels:
        document = _read_pixels(path)
    return None if document is None else _parse(document)


def _read_chunk(path: Path) -> bytes | None:
    """Return the document in the text chunk of a PNG; None if there is none."""
    with path.open("rb") as file:
        if file.read(len(_PNG_SIGNATURE)) != _PNG_SIGNATURE:
            return None
        for _ in range(_MAX_CHUNKS):
            head = file.read(8)
            length, kind = int.from_bytes(head[:4], "big"), head[4:]
            if len(head) < 8 or kind == b"IEND":
                return None
            if kind != b"tEXt":
                file.seek(length + 4, 1)
                continue
            keyword = file.read(min(length, len(_CHUNK_KEYWORD)))
            if keyword == _CHUNK_KEYWORD:
                if length > _MAX_DOCUMENT_BYTES:
                    raise ValueError("its embedding is larger than any")
                return base64.b64decode(file.read(length - len(keyword)), validate=False)
            file.seek(length - len(keyword) + 4, 1)
    return None


def _read_pixels(path: Path) -> bytes | None:
    """Return the document in the pixels of a picture; None if there is none."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > _MAX_PIXELS:
                return None
            pixels = np.asarray(image.convert("RGB"))
    except (
        OSError,
        ValueError,
        RuntimeError,
        SyntaxError,
        Image.DecompressionBombError,
    ):
        return None  # a broken picture is no embedding
    low_bits = _crop_black(pixels) & 0x0F
    separators = np.flatnonzero(low_bits.sum(axis=(0, 2), dtype=np.int64) == 0)
    if len(separators) < 2:
        return None
    left, right = low_bits[:, : separators[0]], low_bits[:, separators[-1] + 1 :]
    if left.shape != right.shape or not left.size:
        return None
    mask = np.reshape(_pseudo_random(left.size), left.shape) & np.uint8(0x0F)
    data = ((right ^ mask) << 4) | (left ^ mask)
    return _decompress(data.tobytes())


def _crop_black(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the pixels without black borders; a pixel counts as black when any of its values is 0."""
    is_bright: NDArray[np.bool_] = np.all(pixels > 0, axis=2)
    rows, columns = (
        np.flatnonzero(np.any(is_bright, axis=1)),
        np.flatnonzero(np.any(is_bright, axis=0)),
    )
    if not len(rows):
        return pixels
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _pseudo_random(count: int) -> NDArray[np.uint8]:
    """Return the first numbers of x -> 1664525 x + 1013904223 modulo 2^32, each modulo 255."""
    states = np.array([_INCREMENT], np.uint64)
    factor, summand = _MULTIPLIER, _INCREMENT  # of as many steps as there are states
    while len(states) < count:
        states = np.concatenate([states, (states * np.uint64(factor) + np.uint64(summand)) % 2**32])
        summand = (summand * factor + summand) % 2**32
        factor = factor * factor % 2**32
    return (states[:count] % 255).astype(np.uint8)


def _decompress(data: bytes) -> bytes | None:
    """Return the document; None where the bytes are those of an ordinary picture."""
    decompressor = zlib.decompressobj()
    try:
        document = decompressor.decompress(data, _MAX_DOCUMENT_BYTES)
    except zlib.error:
        return None
    return document if decompressor.eof else None


def _parse(document: bytes) -> PictureEmbedding:
    try:
        content: Any = json.loads(document)
        if not isinstance(content, dict):
            raise ValueError("its embedding is no table")
        tensors: dict[str, NDArray[np.float32]] = {}
        values: dict[str, Any] = {}
        for key, value in cast("dict[str, Any]", content).items():
            inner = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
            if "TORCHTENSOR" in inner:
                tensors[key] = _to_array(inner["TORCHTENSOR"])
            elif any(_is_tensor(one) for one in inner.values()):
                for name, one in inner.items():
                    tensors[f"{key}.{name}"] = _to_array(one["TORCHTENSOR"])
            elif isinstance(value, str | int | None):
                values[key] = value
    except (LookupError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError("its embedding is damaged") from error
    name = values.get("name")
    return PictureEmbedding(name if isinstance(name, str) else "", tensors, values)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, dict) and "TORCHTENSOR" in value


def _to_array(numbers: Any) -> NDArray[np.float32]:
    array = np.array(numbers, np.float32)
    if not np.isfinite(array).all():
        raise ValueError("its embedding has invalid numbers")
    return array
