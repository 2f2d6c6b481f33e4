"""Time limits of reading: no file and no text may keep the program from answering."""

from __future__ import annotations

import io
import json
import random
import struct
import time
import zlib
from collections.abc import Sequence
from typing import Any

import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.images.metadata import Metadata, make_exif_bytes, read_metadata
from modules.infotext import extract_infotext, format_infotext, interpret_infotext
from modules.infotext.text_format import MAX_LENGTH
from modules.params.requests.img2img import Img2ImgRequest
from tests.infotext.context import make_context

CONTEXT = make_context()
SECONDS = 4  # on an idle machine 0.6; with a step for each pair of characters it would be hours
LARGE = 4 * MAX_LENGTH
MANY = 400_000
PNG_HEAD = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
GIF_HEAD = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff"
GIF_IMAGE = b"\x2c\0\0\0\0\1\0\1\0\0\2\2\x44\x01\0;"
PAIRS = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(*chunks: bytes) -> bytes:
    head = PNG_HEAD + struct.pack(">I", zlib.crc32(PNG_HEAD[12:]))
    return head + b"".join(chunks) + chunk(b"IDAT", zlib.compress(bytes(72))) + chunk(b"IEND", b"")


def jpeg(between: bytes, exif: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()[:2] + between + buffer.getvalue()[2:]


def read_all(items: dict[str, str]) -> None:
    infotext = extract_infotext(Metadata("PNG", (64, 64), items), CONTEXT.json_formats)
    result = interpret_infotext(infotext, CONTEXT, Img2ImgRequest)
    " ".join(result.report.messages()).encode()
    format_infotext(infotext).encode()


def assert_quick(items: dict[str, str]) -> None:
    start = time.thread_time()
    read_all(items)
    assert time.thread_time() - start < SECONDS


FRAGMENTS = (
    "a", "ab: ", "k: ", '"', '\\"', ": ", ", ", "\n", " ", "Steps: 1, ", "steps: 9\n", "Negative prompt: ", 'x: "',
    "x: [", 'x: {"', "{", "]", "Seed: 1 ", "\0", "\xa0", "```\n", "Size: ", "1", "Version: v1.1.1", "猫", "-", "/",
    "Sampler: ", "Model: ", "<lora:", "(", "\\", "\t", "\r\n", "> ", "Hires prompt: \"", "é", "\ud800",
)  # fmt: skip


def every_sixth(values: Sequence[Any]) -> list[Any]:
    """Return parameters of which every sixth runs with each suite and the others with `-m slow`: there are many."""
    return [
        pytest.param(value, marks=[pytest.mark.slow] if index % 6 else [])
        for index, value in enumerate(values)
    ]


@pytest.mark.parametrize("fragment", every_sixth(FRAGMENTS))
def test_a_text_of_one_repeated_fragment_is_read_in_time(fragment: str):
    repeated = fragment.encode("utf-8", "replace").decode() * ((MAX_LENGTH - 300) // len(fragment))
    for text in (repeated * 16, f"a\n{PAIRS}, {repeated}", f"{repeated} {PAIRS}"):
        assert_quick({"parameters": text})


@pytest.mark.parametrize("seed", every_sixth(range(12)))
def test_a_text_of_random_fragments_is_read_in_time(seed: int):
    draw = random.Random(seed)
    parts = draw.sample(FRAGMENTS, draw.randint(2, 6))
    text = "".join(draw.choices(parts, k=(MAX_LENGTH - 200) // 16))[: MAX_LENGTH - 200]
    text = text.encode("utf-8", "replace").decode()
    assert_quick({"parameters": text})
    assert_quick({"parameters": f"{text}\n{PAIRS}"})
    assert_quick({"parameters": f"{text}, {PAIRS}, {text}"})


@pytest.mark.parametrize(
    "key",
    ["Version", "Sampler", "Schedule type", "Model", "Model hash", "VAE", "Size", "Seed", "Hires upscaler", "App",
     "First pass size", "Clip skip", "Mask mode", "RNG", "Styles", "Denoising strength"],
)  # fmt: skip
@pytest.mark.parametrize("value", ["1", "1.", "a ", "1.1.1", "x", "-", "512x", "v1.1.1 "])
def test_a_long_value_is_read_in_time(key: str, value: str):
    long = value * ((MAX_LENGTH - 300) // len(value))
    assert_quick({"parameters": f"a\n{PAIRS}, {key}: {long} x"})
    assert_quick({"parameters": f"a\n{PAIRS}, {key}: v1.1.1{long} x"})


def make_graph(outputs: int, chain: int) -> str:
    nodes = {str(i): {"class_type": "Note", "inputs": {"a": [str(i + 1), 0]}} for i in range(chain)}
    nodes |= {
        f"o{i}": {"class_type": "SaveImage", "inputs": {"images": ["0", 0]}} for i in range(outputs)
    }
    nodes["s"] = {"class_type": "KSampler", "inputs": {"model": ["0", 0], "positive": ["0", 0]}}
    return json.dumps(nodes)


@pytest.mark.parametrize(
    "text",
    [
        make_graph(15_000, 15_000),
        "{" + '"1":{' * 900 + "}" * 901,
        '{"a":[' + "[]," * 1_000_000 + "1]}",
        '{"1":{"class_type":5,"inputs":{}}}',
        '{"1":{"class_type":"KSampler","inputs":{"sampler_name":"\\ud800"}}}',
    ],
    ids=["outputs", "depth", "lists", "number as type", "half a character"],
)
def test_json_is_read_in_time(text: str):
    for name in ("prompt", "workflow", "parameters", "invokeai_metadata"):
        assert_quick({name: text})


@pytest.mark.parametrize(
    "data",
    [
        png(chunk(b"tEXt", b"parameters\0" + b"a" * LARGE)),
        png(chunk(b"iTXt", b"parameters\0\0\0\0\0" + b"a" * LARGE)),
        png(*[chunk(b"tEXt", b"k\0v")] * MANY),
        png(*[chunk(b"abCd", b"")] * MANY),
        png(*[chunk(b"IDAT", b"")] * MANY),
        png(chunk(b"eXIf", make_exif_bytes("a" * LARGE)[6:])),
        GIF_HEAD + b"\x21\xfe" + (b"\xff" + b"a" * 255) * 100_000 + b"\0" + GIF_IMAGE,
        GIF_HEAD + b"\x21\xfe" + b"\1a" * 1_000_000 + b"\0" + GIF_IMAGE,
        GIF_HEAD
        + b"\x21\xfe"
        + (b"\xff" + b"a" * 255) * 4000
        + b"\0"
        + b"\x21\xfe\0" * 1_000_000
        + GIF_IMAGE,
        GIF_HEAD + b"\x21\xff" + b"\1a" * 1_000_000 + b"\0" + GIF_IMAGE,
        GIF_HEAD + bytes(LARGE) + GIF_IMAGE,
        jpeg((b"\xff\xfe\xff\xff" + b"a" * 65533) * 900),
        jpeg(b"\xff\xfe\0\2" * MANY),
        jpeg(b"\xff" * LARGE),
        jpeg(b"\xff\xe1\0\2" * MANY),
        jpeg(b"\xff\xed\0\x16Photoshop 3.0\x008BIM" * MANY),
        b"\xff\xd8\xff\xc2\0\x11\x08\x20\0\x20\0\3\1\x22\0\2\x11\1\3\x11\1"
        + b"\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0" * 5000,
    ],
    ids=["tEXt", "iTXt", "tEXt chunks", "chunks", "IDAT chunks", "eXIf", "GIF comment", "GIF comment parts",
         "GIF comments", "GIF extension parts", "GIF filling", "JPEG comments", "JPEG empty comments", "JPEG filling",
         "JPEG Exif segments", "JPEG Photoshop segments", "JPEG scans"],
)  # fmt: skip
def test_a_hostile_picture_is_read_or_refused_in_time(data: bytes):
    start = time.thread_time()
    try:
        read_all(dict(read_metadata(data).items))
    except UserError as error:
        assert str(error).startswith("The picture")
    assert time.thread_time() - start < SECONDS
