"""Limits the tags of EXIF data and TIFF files before Pillow reads them: a hundred may name the same bytes as their value."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from modules.core.errors import UserError

MAX_VALUES = 2**18  # numbers in all tags: Pillow makes an object of each
MAX_DIRECTORIES = 64
_EXIF_START = b"Exif\0\0"
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_BIG_TIFF = 43
# Bytes of a value, by the number of its type; of those in _BYTES Pillow makes one object, whatever their length.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_BYTES = (1, 2, 7)
_DIRECTORY_TAGS = (0x8769, 0x8825, 0xA005)  # EXIF, GPS, interoperability


def check_tags(data: bytes) -> None:
    """Check the tags of EXIF data or of a TIFF file.

    Args:
        data: With or without "Exif" before it; what is neither is not checked.

    Raises:
        UserError: the tags have too many values, or more bytes than there are.
    """
    block = memoryview(data)[len(_EXIF_START) :] if data.startswith(_EXIF_START) else data
    values = byte_count = 0
    for kind, count in _walk(memoryview(block)):
        size = count * _SIZES.get(kind, 0)
        if size > len(block):  # damaged: Pillow leaves it out
            continue
        byte_count += size if size > 4 else 0
        values += 0 if kind in _BYTES else count
        if byte_count > 2 * len(block) or values > MAX_VALUES:
            raise UserError("The picture's tags (EXIF) are damaged.", "Save the picture again.")


def _walk(block: memoryview) -> Iterator[tuple[int, int]]:
    """Yield type and count of each tag."""
    order = _BYTE_ORDERS.get(bytes(block[:2]), "")
    if not order or len(block) < 8:
        return
    is_big = struct.unpack_from(order + "H", block, 2)[0] == _BIG_TIFF
    number, first = (order + "Q", 8) if is_big else (order + "H", 4)
    entry = struct.Struct(order + ("HHQQ" if is_big else "HHII"))
    offset = order + ("Q" if is_big else "I")
    if len(block) < 16:
        return
    pending: list[int] = [struct.unpack_from(offset, block, first)[0]]
    seen: set[int] = set()
    while pending and len(seen) < MAX_DIRECTORIES:
        position = pending.pop()
        if position in seen or position + 8 > len(block):
            continue
        seen.add(position)
        count: int = struct.unpack_from(number, block, position)[0]
        position += struct.calcsize(number)
        for at in range(position, min(position + count * entry.size, len(block) - entry.size + 1), entry.size):  # fmt: skip
            tag, kind, length, value = entry.unpack_from(block, at)
            if tag in _DIRECTORY_TAGS:
                pending.append(value)
            yield kind, length
