from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.images.metadata import read_metadata
from modules.params.image import ImageField
from modules.params.image_blocks import check_blocks
from modules.params.image_tags import check_tags


def tags(count: int, size: int, directory: int = 0x8769, order: str = ">", kind: int = 3) -> bytes:
    """TIFF data: one directory whose tags all name the same bytes."""
    mark = b"MM\0*" if order == ">" else b"II*\0"
    start = 26 + 2 + 12 * count + 4
    head = mark + struct.pack(order + "IHHHII", 8, 1, directory, 4, 1, 26) + bytes(4)
    rows = b"".join(struct.pack(order + "HHII", 0x9000 + at, kind, size // 2, start) for at in range(count))  # fmt: skip
    return head + struct.pack(order + "H", count) + rows + bytes(4) + bytes([1, 200]) * (size // 2)


def saved(format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, format, **options)
    return buffer.getvalue()


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


BOMB = tags(1000, 40_000)
PLAIN = saved("JPEG")
FILES = {
    "jpeg": saved("JPEG", exif=b"Exif\0\0" + BOMB),
    "jpeg in segments": PLAIN[:2] + segment(0xE1, b"Exif\0\0" + BOMB[:30_000]) + segment(0xE1, b"Exif\0\0" + BOMB[30_000:]) + PLAIN[2:],
    "list of pictures": PLAIN[:2] + segment(0xE2, b"MPF\0" + BOMB) + PLAIN[2:],
    "png": saved("PNG", exif=b"Exif\0\0" + BOMB),
    "webp": saved("WEBP", exif=b"Exif\0\0" + BOMB),
    "tiff": tags(1000, 40_000, order="<"),
}  # fmt: skip


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", FILES)
def test_tags_that_share_their_bytes_are_refused_before_they_are_read(name: str):
    for read in (read_metadata, ImageField.from_bytes):
        with pytest.raises(UserError, match="tags"):
            read(FILES[name])


@pytest.mark.parametrize("directory", [0x8769, 0x8825, 0xA005])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_directory_is_checked(directory: int, order: str):
    with pytest.raises(UserError):
        check_tags(tags(100, 10_000, directory, order))
    check_tags(tags(1, 10_000, directory, order))


def test_many_numbers_are_refused_and_many_bytes_are_not():
    with pytest.raises(UserError):
        check_tags(tags(1, 2**20))
    check_tags(tags(1, 2**20, kind=7))


def test_real_tags_a_loop_and_other_data_pass():
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + b"a" * 5000
    assert read_metadata(saved("JPEG", exif=exif.tobytes())).items["parameters"] == "a" * 5000
    check_tags(b"MM\0*\0\0\0\x08" + struct.pack(">HHHII", 1, 0x8769, 4, 1, 8))
    for data in (b"", b"MM", b"II*\0" + bytes(3), b"not tags at all", tags(1, 100)[:60]):
        check_tags(data)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + bytes(4)


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n" + chunk(b"tEXt", bytes(600)) + chunk(b"prVt", bytes(600)),
        PLAIN[:2] + segment(0xFE, bytes(600)) + segment(0xE4, bytes(600)) + PLAIN[2:],
        b"RIFF\0\0\0\0WEBPXMP " + struct.pack("<I", 1200) + bytes(1200),
    ],
)
def test_texts_and_profiles_have_a_limit_together(data: bytes):
    with pytest.raises(UserError, match="more than 1000 bytes of texts and profiles"):
        check_blocks(data, max_extra_bytes=1000)
    check_blocks(data, max_extra_bytes=2000)


def test_pixels_are_no_texts():
    check_blocks(saved("PNG"), max_extra_bytes=100)
    check_blocks(saved("JPEG"), max_extra_bytes=500)
    check_blocks(saved("WEBP"), max_extra_bytes=10)
