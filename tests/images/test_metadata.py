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


def encode(format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 8), "red").save(buffer, format=format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF", "PNG"])
@pytest.mark.parametrize("text", [TEXT, LATIN])
def test_an_infotext_in_exif_is_read_back(format: str, text: str):
    metadata = read_metadata(encode(format, exif=make_exif_bytes(text)))
    assert (metadata.format, metadata.size, metadata.items["parameters"]) == (format, (16, 8), text)


@pytest.mark.parametrize("text", [TEXT, LATIN])
def test_an_infotext_in_a_png_is_read_back(text: str):
    assert read_metadata(encode("PNG", pnginfo=make_png_info(text))).items == {"parameters": text}


def test_a_compressed_chunk_after_the_pixels_is_read():
    data = encode("PNG")
    body = b"zTXt" + b"parameters\0\0" + zlib.compress(LATIN.encode("latin-1"))
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    assert read_metadata(data[:-12] + chunk + data[-12:]).items == {"parameters": LATIN}


def test_a_gifs_comment_is_its_infotext():
    assert read_metadata(encode("GIF", comment=TEXT.encode())).items["parameters"] == TEXT


def test_exif_takes_precedence_over_the_chunk_as_in_a1111():
    data = encode("PNG", pnginfo=make_png_info("a dog"), exif=make_exif_bytes("a cat"))
    assert read_metadata(data).items["parameters"] == "a cat"


def test_comfyuis_texts_in_a_webp_are_read():
    exif = Image.Exif()
    exif[0x0110] = 'prompt:{"1": {}}'
    exif[0x010F] = 'workflow:{"nodes": []}'
    items = read_metadata(encode("WEBP", exif=exif.tobytes())).items
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
def test_a_comment_is_read_in_every_encoding(comment: bytes | str):
    assert decode_user_comment(comment) == TEXT


def test_an_image_without_metadata_has_no_infotext():
    assert read_metadata(encode("JPEG")).items.get("parameters") is None


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "The picture's file is empty."),
        (b"a cat", "The picture is not a PNG, "),
        (encode("PNG")[:50], "The picture is damaged: "),
        (
            encode("PNG", pnginfo=make_png_info("a")).replace(b"parameters\0a", b"parameters\0b"),
            "The picture is not a PNG, ",
        ),
    ],
)
def test_an_invalid_or_damaged_image_is_reported_in_one_sentence(data: bytes, sentence: str):
    with pytest.raises(UserError) as caught:
        read_metadata(data)
    assert str(caught.value).startswith(sentence)


def test_a_damaged_avif_is_reported_too():
    with pytest.raises(UserError, match="The picture is damaged: "):
        read_metadata(encode("AVIF").replace(b"iloc", b"lost"))


def test_an_image_that_unpacks_to_too_much_is_refused_before_unpacking():
    header = encode("PNG")
    wide = (100_000).to_bytes(4, "big") * 2 + header[24:29]
    data = header[:16] + wide + zlib.crc32(b"IHDR" + wide).to_bytes(4, "big") + header[33:]
    with pytest.raises(UserError, match="8192x8192"):
        read_metadata(data)


def test_a_text_that_unpacks_to_too_much_is_refused():
    body = b"zTXt" + b"parameters\0\0" + zlib.compress(b"a" * 5_000_000)
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    data = encode("PNG")
    with pytest.raises(UserError, match="damaged"):
        read_metadata(data[:33] + chunk + data[33:])


@pytest.mark.parametrize("text", [TEXT, LATIN, "猫 cat", "猫猫猫猫", "ça, é", "猫", "a", "café"])
@pytest.mark.parametrize("header", [b"UNICODE\0", b"Unicode\0", bytes(8), b"ASCII\0\0\0", b""])
def test_a_comment_is_read_as_what_it_is_whatever_its_header_says(header: bytes, text: str):
    if len(text) > 1:
        assert decode_user_comment(header + text.encode()) == text
        assert decode_user_comment(header + text.encode() + b"\0\0\0") == text
    for codec in ("utf-16-be", "utf-16-le", "utf-16"):
        data = b"UNICODE\0" + text.encode(codec)
        if text.isascii() or codec != "utf-16-le":
            assert decode_user_comment(data) == text
            assert decode_user_comment(data + b"\0") == text


def test_chinese_in_big_endian_is_not_mistaken_for_little_endian():
    text = f"{'一丁丠' * 200}\nSteps: 20, Sampler: Euler a, Seed: 1"
    assert decode_user_comment(b"UNICODE\0" + text.encode("utf-16-be")) == text
    assert decode_user_comment(b"UNICODE\0" + text.encode("utf-16-le")) == text


def test_latin_1_in_a_comment_is_read():
    assert (
        decode_user_comment(b"ASCII\0\0\0" + "café, Steps: 2".encode("latin-1")) == "café, Steps: 2"
    )


def add_chunk(data: bytes, body: bytes) -> bytes:
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return data[:33] + chunk + data[33:]


@pytest.mark.parametrize("text", [TEXT, "café", "prix: 5 £, naïve"])
@pytest.mark.parametrize("codec", ["utf-8", "latin-1"])
def test_a_text_chunk_is_read_in_utf8_and_latin_1(text: str, codec: str):
    raw = text.encode(codec, "ignore")
    expected = raw.decode(codec)
    for kind, body in ((b"tEXt", raw), (b"zTXt", b"\0" + zlib.compress(raw))):
        data = add_chunk(encode("PNG"), kind + b"parameters\0" + body)
        assert read_metadata(data).items == {"parameters": expected}


def test_a_text_that_looks_like_utf8_in_latin_1_is_read_back():
    assert (
        read_metadata(encode("PNG", pnginfo=make_png_info("Ã© cat"))).items["parameters"]
        == "Ã© cat"
    )


@pytest.mark.parametrize("codec", ["utf-8", "latin-1", "utf-16"])
def test_a_jpegs_comment_with_parameters_is_its_infotext(codec: str):
    text = LATIN.replace("cat", "café")
    assert read_metadata(encode("JPEG", comment=text.encode(codec))).items["parameters"] == text


def test_of_several_jpeg_comments_the_one_with_parameters_is_read():
    data = encode("JPEG", comment=b"CREATOR: gd-jpeg v1.0")
    comment = LATIN.encode()
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    assert read_metadata(data[:2] + segment + data[2:]).items["parameters"] == LATIN


def test_another_comment_of_a_jpeg_is_no_infotext():
    items = read_metadata(encode("JPEG", comment=b"Made with a camera")).items
    assert items == {"comment": "Made with a camera"}
    exif = encode("JPEG", comment=b"Steps: 1, Seed: 2, Size: 8x8", exif=make_exif_bytes(LATIN))
    assert read_metadata(exif).items["parameters"] == LATIN
