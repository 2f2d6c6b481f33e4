"""Reads the text that NovelAI and Forge hide in the lowest bits of an image's pixels.

The bits run in columns from top to bottom: those of alpha, or those of red, green and blue in turn. They are a
signature, the length of the text in bits as 32 bits, and the text in UTF-8, compressed by gzip or not.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_BYTES = 4 * 2**20
_LOSSLESS = ("PNG", "WEBP", "AVIF", "BMP", "TIFF")
_SIGNATURE_BYTES, _LENGTH_BYTES = 15, 4
# Signatures by the channels that hold them; the value is whether the text is compressed.
_SIGNATURES = {
    "A": {b"stealth_pnginfo": False, b"stealth_pngcomp": True},
    "RGB": {b"stealth_rgbinfo": False, b"stealth_rgbcomp": True},
}
_GZIP = 31  # zlib's number for the format


def read_stealth_text(image: Image.Image, max_bytes: int = MAX_BYTES) -> str:
    """Return the text hidden in an image's pixels; "" if there is none, or if it is damaged or too long."""
    if image.format not in _LOSSLESS or image.mode not in ("RGB", "RGBA"):
        return ""
    for channels, signatures in _SIGNATURES.items():
        if channels == "A" and image.mode != "RGBA":
            continue
        is_compressed = signatures.get(_read_bytes(image, channels, _SIGNATURE_BYTES))
        if is_compressed is not None:
            return _read_text(image, channels, is_compressed, max_bytes)
    return ""


def _read_text(image: Image.Image, channels: str, is_compressed: bool, max_bytes: int) -> str:
    start = _SIGNATURE_BYTES + _LENGTH_BYTES
    head = _read_bytes(image, channels, start)
    length = int.from_bytes(head[_SIGNATURE_BYTES:], "big") // 8
    if len(head) < start or length > max_bytes:
        return ""
    data = _read_bytes(image, channels, start + length)[start:]
    if len(data) < length:
        return ""
    if is_compressed:
        unpacker = zlib.decompressobj(_GZIP)
        try:
            data = unpacker.decompress(data, max_bytes)
        except zlib.error:
            return ""
        if not unpacker.eof:
            return ""
    return data.decode("utf-8", "replace")


def _read_bytes(image: Image.Image, channels: str, count: int) -> bytes:
    """Return the first bytes that the lowest bits of some channels hold, fewer if the image ends."""
    width, height = image.size
    bits = count * 8
    columns = min(width, -(-bits // (height * len(channels))))
    cropped = image.crop((0, 0, columns, height))
    strip: NDArray[np.uint8] = np.asarray(cropped, dtype=np.uint8)  # [height, columns, channels]
    values: NDArray[np.uint8] = strip[:, :, 3:] if channels == "A" else strip[:, :, :3]
    lowest = np.ravel(np.swapaxes(values, 0, 1))[:bits] & np.uint8(1)
    return np.packbits(lowest).tobytes() if len(lowest) == bits else b""
