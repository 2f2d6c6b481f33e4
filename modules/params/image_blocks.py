"""Limits the blocks of a PNG, JPEG or GIF file before Pillow reads them one by one, copying what it has at each.

A file of the upload limit has room for millions of blocks, which take minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from modules.core.errors import UserError

MAX_BLOCKS = 65_536  # of a kilobyte each in the largest file
MAX_GIF_COMMENT_PARTS = 4096  # 1 MiB; Pillow's time grows with the square of it
MAX_JPEG_SCAN_PIXELS = 2**31  # libjpeg visits every pixel in each scan, even in an empty one
_MAX_JPEG_SCANS = 1000
_SCAN, _RESTARTS = 0xDA, range(0xD0, 0xD8)
_GIF_EXTENSION, _GIF_IMAGE, _GIF_COMMENT, _GIF_END = 0x21, 0x2C, 0xFE, 0x3B


def check_blocks(data: bytes) -> None:
    """Check the number of an image file's blocks.

    Raises:
        UserError: there are so many that reading them would take long.
    """
    for signature, walk in _WALKS:
        if data.startswith(signature):
            for count, _ in enumerate(walk(data)):
                if count >= MAX_BLOCKS:
                    raise _too_many(f"more than {MAX_BLOCKS} blocks")


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
    position = 8
    while position + 8 <= len(data):
        yield position
        position += 12 + int.from_bytes(data[position : position + 4], "big")


def _walk_jpeg(data: bytes) -> Iterator[int]:
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
    """Yield the position of each block before the first image, and of each part of an extension."""
    flags = data[10] if len(data) > 10 else 0
    position = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    comment_parts = 0
    while position + 2 <= len(data):
        yield position
        if data[position] in (_GIF_IMAGE, _GIF_END):
            return
        if data[position] != _GIF_EXTENSION:
            position += 1
            continue
        is_comment = data[position + 1] == _GIF_COMMENT
        comment_parts += is_comment  # an empty one counts, too: Pillow joins them
        position += 2
        while position < len(data) and data[position] and comment_parts <= MAX_GIF_COMMENT_PARTS:
            yield position
            comment_parts += is_comment
            position += 1 + data[position]
        if comment_parts > MAX_GIF_COMMENT_PARTS:
            raise _too_many(f"comments of more than {MAX_GIF_COMMENT_PARTS} parts")
        position += 1


_WALKS: tuple[tuple[bytes, Callable[[bytes], Iterator[int]]], ...] = (
    (b"\x89PNG\r\n\x1a\n", _walk_png),
    (b"\xff\xd8", _walk_jpeg),
    (b"GIF8", _walk_gif),
)


def _too_many(what: str) -> UserError:
    return UserError(f"The picture's file has {what}.", "Save the picture again.")
