from __future__ import annotations

import io
import zlib
from typing import Any

import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.images.metadata import (
    decode_user_comment,
    make_exif_bytes,
    make_png_info,
    read_metadata,
)

TEXT = 'a cat, ü 红 "x"\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, Seed: 1'
LATIN = "a cat\nSteps: 20, Sampler: Euler a, Seed: 1"


def saved(format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 8), "red").save(buffer, format=format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF", "PNG"])
@pytest.mark.parametrize("text", [TEXT, LATIN])
def test_what_exif_carries_is_read_again(format: str, text: str):
    found = read_metadata(saved(format, exif=make_exif_bytes(text)))
    assert (found.format, found.size, found.items["parameters"]) == (format, (16, 8), text)


@pytest.mark.parametrize("text", [TEXT, LATIN])
def test_what_a_png_carries_is_read_again(text: str):
    assert read_metadata(saved("PNG", pnginfo=make_png_info(text))).items == {"parameters": text}


def test_a_compressed_chunk_behind_the_pixels_is_read():
    data = saved("PNG")
    body = b"zTXt" + b"parameters\0\0" + zlib.compress(LATIN.encode("latin-1"))
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    assert read_metadata(data[:-12] + chunk + data[-12:]).items == {"parameters": LATIN}


def test_a_gifs_comment_is_its_infotext():
    assert read_metadata(saved("GIF", comment=TEXT.encode())).items["parameters"] == TEXT


def test_exif_comes_before_the_chunk_as_in_a1111():
    data = saved("PNG", pnginfo=make_png_info("a dog"), exif=make_exif_bytes("a cat"))
    assert read_metadata(data).items["parameters"] == "a cat"


def test_comfyuis_texts_in_a_webp_are_read():
    exif = Image.Exif()
    exif[0x0110] = 'prompt:{"1": {}}'
    exif[0x010F] = 'workflow:{"nodes": []}'
    items = read_metadata(saved("WEBP", exif=exif.tobytes())).items
    assert (items["prompt"], items["workflow"]) == ('{"1": {}}', '{"nodes": []}')


@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + TEXT.encode("utf-16-be"),
        b"UNICODE\0" + TEXT.encode("utf-16-le"),
        b"UNICODE\0" + TEXT.encode("utf-16"),
        bytes(8) + TEXT.encode(),
        b"ASCII\0\0\0" + TEXT.encode(),
        TEXT.encode(),
        TEXT,
    ],
)
def test_a_comment_is_read_whichever_way_it_is_coded(comment: bytes | str):
    assert decode_user_comment(comment) == TEXT


def test_a_picture_without_texts_has_none():
    assert read_metadata(saved("JPEG")).items.get("parameters") is None


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "The picture's file is empty."),
        (b"a cat", "The picture is not a PNG, "),
        (saved("PNG")[:50], "The picture is damaged: "),
        (
            saved("PNG", pnginfo=make_png_info("a")).replace(b"parameters\0a", b"parameters\0b"),
            "The picture is not a PNG, ",
        ),
    ],
)
def test_what_is_no_picture_or_damaged_is_told_in_one_sentence(data: bytes, sentence: str):
    with pytest.raises(UserError) as caught:
        read_metadata(data)
    assert str(caught.value).startswith(sentence)


def test_a_damaged_avif_is_told_too():
    with pytest.raises(UserError, match="The picture is damaged: "):
        read_metadata(saved("AVIF").replace(b"iloc", b"lost"))


def test_a_picture_that_unpacks_to_too_much_is_refused_before_it_is_unpacked():
    header = saved("PNG")
    wide = (100_000).to_bytes(4, "big") * 2 + header[24:29]
    data = header[:16] + wide + zlib.crc32(b"IHDR" + wide).to_bytes(4, "big") + header[33:]
    with pytest.raises(UserError, match="pixels"):
        read_metadata(data)


def test_a_text_that_unpacks_to_too_much_is_refused():
    body = b"zTXt" + b"parameters\0\0" + zlib.compress(b"a" * 5_000_000)
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    data = saved("PNG")
    with pytest.raises(UserError, match="damaged"):
        read_metadata(data[:33] + chunk + data[33:])
