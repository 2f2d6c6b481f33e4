"""Limits the blocks of an image file before Pillow reads them one by one, copying what it has at each.

A file of the upload limit has room for millions of blocks, which take minutes, and for texts that it copies several times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from modules.core.errors import UserError
from modules.params.image_tags import check_tags

MAX_BLOCKS = 65_536  # of a kilobyte each in the largest file
MAX_EXTRA_BYTES = (
    8 * 2**20
)  # of texts, tags and profiles; a large ComfyUI workflow has a few hundred kilobytes
MAX_GIF_COMMENT_PARTS = 4096  # 1 MiB; Pillow's time grows with the square of it
MAX_JPEG_SCAN_PIXELS = 2**31  # libjpeg visits every pixel in each scan, even in an empty one
_MAX_JPEG_SCANS = 1000
_SCAN, _RESTARTS = 0xDA, range(0xD0, 0xD8)
_PIXEL_CHUNKS = (b"IDAT", b"fdAT", b"VP8 ", b"VP8L", b"ALPH", b"ANMF")
_EXIF, _MULTI_PICTURE = b"Exif\0\0", b"MPF\0"
_EXTRA_SEGMENTS = (*range(0xE0, 0xF0), 0xFE)  # APP0 to APP15, and comments
_GIF_EXTENSION, _GIF_IMAGE, _GIF_COMMENT, _GIF_END = 0x21, 0x2C, 0xFE, 0x3B


def check_blocks(data: bytes, max_extra_bytes: int = MAX_EXTRA_BYTES) -> None:
    """Check the number of an image file's blocks, the size of those without pixels, and the tags.

    Args:
        data: The file.
        max_extra_bytes: How many bytes may be no pixels.

    Raises:
        UserError: there are so many that reading them would take long.
    """
    for signature, walk in _WALKS:
        if data.startswith(signature):
            extra_bytes = 0
            for count, length in enumerate(walk(data)):
                extra_bytes += length
                if count >= MAX_BLOCKS:
                    raise _too_many(f"more than {MAX_BLOCKS} blocks")
                if extra_bytes > max_extra_bytes:
                    raise _too_many(f"more than {max_extra_bytes} bytes of texts and profiles")
    if data.startswith(b"\xff\xd8"):
        for block in _tag_blocks(data):
            check_tags(block)
    check_tags(data)  # of a TIFF file


def check_scans(data: bytes, pixels: int) -> None:
    """Check the number of a JPEG's scans.

    Raises:
        UserError: there are so many that decoding them would take long.
    """
    if not data.startswith(b"\xff\xd8"):
        return
    scans = data.count(bytes((0xFF, _SCAN)))  # entropy-coded data contain no such bytes
    if scans > _MAX_JPEG_SCANS or (scans > 1 and scans * pixels > MAX_JPEG_SCAN_PIXELS):
        raise _too_many(f"{scans} scans")


def _walk_png(data: bytes) -> Iterator[int]:
    """Yield the length of each block, 0 for pixels."""
    position = 8
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        yield 0 if data[position + 4 : position + 8] in _PIXEL_CHUNKS else min(length, len(data))
        position += 12 + length


def _walk_webp(data: bytes) -> Iterator[int]:
    """Yield the length of each block, 0 for pixels."""
    position = 12
    while data[8:12] == b"WEBP" and position + 8 <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        yield 0 if data[position : position + 4] in _PIXEL_CHUNKS else min(length, len(data))
        position += 8 + length + length % 2


def _tag_blocks(data: bytes) -> Iterator[bytes]:
    """Yield what a JPEG has as tags: its EXIF data, whose segments Pillow joins, and the list of its other pictures."""
    exif = b""
    for position in _jpeg_markers(data):
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if data.startswith(_EXIF, position + 4):
            exif += data[position + 10 : end]
        elif data.startswith(_MULTI_PICTURE, position + 4):
            yield data[position + 8 : end]
    yield exif


def _walk_jpeg(data: bytes) -> Iterator[int]:
    """Yield the length of each segment before the first scan that holds no pixels, 0 for others and for filling."""
    for position in _jpeg_markers(data):
        is_extra = data[position] == 0xFF and data[position + 1] in _EXTRA_SEGMENTS
        yield int.from_bytes(data[position + 2 : position + 4], "big") if is_extra else 0


def _jpeg_markers(data: bytes) -> Iterator[int]:
    """Yield the position of each marker before the first scan."""
    position = 0
    while position + 4 <= len(data):
        yield position
        marker = data[position + 1]
        if data[position] != 0xFF or marker == 0xFF:
            position += 1  # filling
        elif marker == _SCAN:
            return
        elif marker in (0, 1, 0xD8) or marker in _RESTARTS:
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")


def _walk_gif(data: bytes) -> Iterator[int]:
    """Yield 0 for each block before the first image, and for each part of an extension; comments have a limit of parts."""
    flags = data[10] if len(data) > 10 else 0
    position = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    comment_parts = 0
    while position + 2 <= len(data):
        yield 0
        if data[position] in (_GIF_IMAGE, _GIF_END):
            return
        if data[position] != _GIF_EXTENSION:
            position += 1
            continue
        is_comment = data[position + 1] == _GIF_COMMENT
        comment_parts += is_comment  # an empty one counts, too: Pillow joins them
        position += 2
        while position < len(data) and data[position] and comment_parts <= MAX_GIF_COMMENT_PARTS:
            yield 0
            comment_parts += is_comment
            position += 1 + data[position]
        if comment_parts > MAX_GIF_COMMENT_PARTS:
            raise _too_many(f"comments of more than {MAX_GIF_COMMENT_PARTS} parts")
        position += 1


_WALKS: tuple[tuple[bytes, Callable[[bytes], Iterator[int]]], ...] = (
    (b"\x89PNG\r\n\x1a\n", _walk_png),
    (b"\xff\xd8", _walk_jpeg),
    (b"GIF8", _walk_gif),
    (b"RIFF", _walk_webp),
)


def _too_many(what: str) -> UserError:
    return UserError(f"The picture's file has {what}.", "Save the picture again.")
