"""Pictures that are damaged, packed, or carry hostile metadata."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from functools import partial
from typing import Any

from PIL import Image

from tools.hostile_opcodes import Cases

SIGNATURE = b"\x89PNG\r\n\x1a\n"
FORMATS = {"jpg": "JPEG", "webp": "WEBP", "gif": "GIF", "tif": "TIFF", "bmp": "BMP", "avif": "AVIF", "png": "PNG"}  # fmt: skip
MUTATIONS = 40
GIF_START = b"GIF89a%b%b\x80\0\0\0\0\0\xff\xff\xff"
GIF_FRAME = b"\x21\xf9\x04\0\0\0\0\0\x2c\0\0\0\0\1\0\1\0\0\2\2\x44\x01\0"
ONE = b"\1\0"


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    *chunks: bytes, width: int = 8, height: int = 8, color: int = 0, data: bytes = b""
) -> bytes:
    """Return a PNG with these chunks before its pixels.

    Args:
        chunks: Made by `chunk`.
        width: In pixels.
        height: In pixels.
        color: 0 for grey, 2 for RGB.
        data: Its compressed pixels, by default of 8 times 8 grey ones.
    """
    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0))
    pixels = chunk(b"IDAT", data or zlib.compress(bytes(72)))
    return SIGNATURE + start + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def compress_bytes(byte: bytes, count: int) -> bytes:
    """Return much of one byte, compressed, without having all of it in memory."""
    compressor, block = zlib.compressobj(9), byte * 10**6
    parts = [compressor.compress(block) for _ in range(count // 10**6)]
    return b"".join([*parts, compressor.compress(byte * (count % 10**6)), compressor.flush()])


def textual(key: str, value: str | bytes | dict[str, Any] | list[Any]) -> bytes:
    """Return a text chunk; anything but text and bytes is written as JSON."""
    if not isinstance(value, bytes):
        value = (value if isinstance(value, str) else json.dumps(value)).encode()
    return chunk(b"tEXt", key.encode() + b"\0" + value)


def picture_cases() -> Cases:
    """Return every picture."""
    return _large() | _texts() | _foreign_texts() | _other_formats() | _mutations()


def _large() -> Cases:
    rows = 8192 * (8192 * 3 + 1)
    return {
        "large-8192.png": lambda: png(
            width=8192, height=8192, color=2, data=compress_bytes(b"\0", rows)
        ),
        "large-8193.png": lambda: png(width=8193, height=8192, color=2),
        "large-2e31.png": lambda: png(width=2**31 - 1, height=2**31 - 1),
        "large-high.png": lambda: png(width=1, height=100_000, data=zlib.compress(bytes(200_000))),
        "large-wide.png": lambda: png(width=100_000, height=1, data=zlib.compress(bytes(100_001))),
        "large-0.png": lambda: png(width=0, height=0),
        "large-pixels.png": lambda: png(data=compress_bytes(b"\0", 600 * 10**6)),
        "large-frames.gif": lambda: GIF_START % (ONE, ONE) + GIF_FRAME * 100_000 + b";",
        "large-65535.gif": lambda: (
            GIF_START % (b"\xff\xff", b"\xff\xff")
            + b"\x2c\0\0\0\0\xff\xff\xff\xff\0\2\2\x44\x01\0;"
        ),
        "large-8192.gif": lambda: (
            GIF_START % (b"\0\x20", b"\0\x20") + b"\x2c\0\0\0\0\0\x20\0\x20\0\2\2\x44\x01\0;"
        ),
        "large-comment.gif": lambda: (
            GIF_START % (ONE, ONE)
            + b"\x21\xfe"
            + (b"\xff" + b"a" * 255) * 100_000
            + b"\0"
            + GIF_FRAME
        ),
        "large-animation.png": lambda: png(chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))),
        "large-comments.jpg": lambda: (
            _saved("JPEG")[:2] + (b"\xff\xfe\xff\xff" + b"a" * 65_533) * 900 + _saved("JPEG")[2:]
        ),
        "large-65500.jpg": lambda: _saved("JPEG").replace(b"\0\x40\0\x40", b"\xff\xdc\xff\xdc", 1),
    }


def _texts() -> Cases:
    exif_loop = b"MM\0*\0\0\0\x08" + struct.pack(">HHHII", 1, 0x8769, 4, 1, 8)
    exif_count = b"MM\0*\0\0\0\x08" + struct.pack(">HHHII", 65_535, 0x9286, 7, 2**32 - 1, 8)
    infotext = "a\nSteps: 1, Sampler: Euler, "
    infotexts = {
        "one-letter": "a" * 4_000_000,
        "quotes": infotext + 'k: "' + '\\"' * 200_000,
        "commas": infotext + ", ".join(f"k{at}: v" for at in range(200_000)),
        "parentheses": "(" * 300_000 + "\n" + infotext,
        "new-lines": "\n" * 2_000_000 + infotext,
        "spaces": " " * 2_000_000 + infotext,
        "colons": infotext + "a: " * 500_000,
        "numbers": infotext + "Size: 99999999999x99999999999, Seed: 1e400, CFG scale: nan, Clip skip: -9",
        "braces": infotext + "Hashes: " + "{" * 300_000,
        "angles": "<lora:" * 300_000 + "\n" + infotext,
        "controls": "a\0b\x01\x02\n" + infotext + "\0",
    }  # fmt: skip
    cases: Cases = {
        f"infotext-{name}.png": partial(lambda it: png(textual("parameters", it)), value)
        for name, value in infotexts.items()
    }
    return cases | {
        "text-packed.png": lambda: png(
            chunk(b"zTXt", b"parameters\0\0" + compress_bytes(b"a", 500 * 10**6))
        ),
        "text-packed-itxt.png": lambda: png(
            chunk(b"iTXt", b"parameters\0\1\0\0\0" + compress_bytes(b"a", 500 * 10**6))
        ),
        "text-many-packed.png": lambda: png(
            *[chunk(b"zTXt", b"k%d\0\0" % at + compress_bytes(b"a", 900_000)) for at in range(1000)]
        ),
        "text-60-mb.png": lambda: png(textual("parameters", b"a" * 60 * 10**6)),
        "text-many.png": lambda: png(*[textual(f"k{at}", b"v") for at in range(100_000)]),
        "profile.png": lambda: png(chunk(b"iCCP", b"x\0\0" + compress_bytes(b"a", 500 * 10**6))),
        "exif-loop.png": lambda: png(chunk(b"eXIf", exif_loop)),
        "exif-shared.jpg": lambda: _saved("JPEG", exif=_shared_tags(1200, 45_000)),
        "exif-shared.png": lambda: _saved("PNG", exif=_shared_tags(1200, 4_000_000)),
        "exif-shared.webp": lambda: _saved("WEBP", exif=_shared_tags(1200, 4_000_000)),
        "exif-shared.tif": lambda: _shared_tags(1200, 4_000_000)[6:],
        "exif-60-mb.webp": lambda: _saved("WEBP", exif=_shared_tags(1, 60 * 10**6)),
        "exif-segments.jpg": lambda: (
            _saved("JPEG")[:2]
            + (b"\xff\xe1\xff\xffExif\0\0" + b"a" * 65_527) * 900
            + _saved("JPEG")[2:]
        ),
        "private-60-mb.png": lambda: png(chunk(b"prVt", bytes(60 * 10**6))),
        "exif-count.png": lambda: png(chunk(b"eXIf", exif_count)),
        "exif-half-characters.jpg": _exif_half_characters,
    }


def _shared_tags(count: int, size: int) -> bytes:
    """Return EXIF data with tags that all have the same bytes as their value."""
    start = 26 + 2 + 12 * count + 4
    head = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHII", 1, 0x8769, 4, 1, 26) + bytes(4)
    rows = b"".join(struct.pack(">HHII", 0x9000 + at, 3, size // 2, start) for at in range(count))
    return head + struct.pack(">H", count) + rows + bytes(4) + b"\1\xc8" * (size // 2)


def _exif_half_characters() -> bytes:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + b"\xd8\x00" * 20
    return _saved("JPEG", exif=exif.tobytes())


def _foreign_texts() -> Cases:
    sampler = {"seed": 1, "steps": 1, "cfg": 1, "sampler_name": "euler", "scheduler": "normal"}
    inputs = {**sampler, "denoise": 1, "model": ["m", 0], "latent_image": ["m", 0]}
    cycle = {
        "1": {"class_type": "KSampler", "inputs": {key: ["1", 0] for key in [*inputs, "positive"]}}
    }
    combined = {
        str(at): {
            "class_type": "ConditioningCombine",
            "inputs": {key: [str(at + 1), 0] for key in ["conditioning_1", "conditioning_2"]},
        }
        for at in range(60)
    }
    last = {"class_type": "CLIPTextEncode", "inputs": {"text": "a", "clip": ["m", 1]}}
    run = {
        "class_type": "KSampler",
        "inputs": {**inputs, "positive": ["0", 0], "negative": ["0", 0]},
    }
    half = {"class_type": "CLIPTextEncode\ud800", "inputs": {"text": "\ud800"}}
    half_words = {
        "prompt": "\ud800",
        "seed": 1,
        "steps": 3,
        "width": 64,
        "height": 64,
        "model": "\ud800",
    }
    foreign: dict[str, tuple[tuple[str, Any], ...]] = {
        "comfy-deep": (("prompt", '{"1":' * 50_000 + "1" + "}" * 50_000),),
        "comfy-cycle": (("prompt", cycle),),
        "comfy-exponential": (("prompt", {**combined, "60": last, "s": run}),),
        "comfy-half": (("prompt", {"0": half, "s": run}),),
        "comfy-list": (("prompt", [1, [2]]), ("workflow", {"nodes": 5})),
        "invoke-types": (
            ("invokeai_metadata", {"positive_prompt": [1], "seed": {}, "steps": "x", "loras": 7}),
        ),
        "invoke-half": (("invokeai_metadata", {**half_words, "positive_prompt": "\ud800"}),),
        "swarm-list": (("parameters", {"sui_image_params": [1, 2]}),),
        "swarm-types": (("parameters", {"sui_image_params": {"prompt": {}, "seed": [], "width": None}}),),
        "swarm-half": (("parameters", {"sui_image_params": half_words}),),
        "novelai-list": (("Software", "NovelAI"), ("Description", "x"), ("Comment", [1, 2])),
        "novelai-numbers": (
            ("Software", "NovelAI"),
            ("Comment", '{"steps":NaN,"seed":1' + "0" * 4000 + ',"sampler":{}}'),
        ),
        "fooocus-types": (
            ("fooocus_scheme", "fooocus"),
            ("parameters", {"prompt": [], "resolution": 5, "styles": "__import__('os')"}),
        ),
    }  # fmt: skip
    return {
        f"{name}.png": partial(lambda pairs: png(*[textual(*pair) for pair in pairs]), pairs)
        for name, pairs in foreign.items()
    }


def _tiff(*entries: tuple[int, int, int, int], after: bytes = bytes(4)) -> bytes:
    rows = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + rows + after


def _other_formats() -> Cases:
    strips = ((256, 4, 1, 8192), (257, 4, 1, 8192), (258, 3, 1, 8), (259, 3, 1, 1), (273, 4, 1, 8))
    contents = {
        "script.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "cut.pdf": b"%PDF-1.4\n%%EOF",
        "empty.psd": b"8BPS" + bytes(200),
        "page.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n",
        "page.html": b"<html><script>alert(1)</script>",
        "empty.png": b"",
        "jpeg.gif": b"GIF89a" + _saved("JPEG"),
        "page.png": png() + b"<html><script>alert(1)</script>",
        "loop.tif": _tiff((256, 3, 1, 4), after=struct.pack("<I", 8)),
        "count.tif": _tiff((256, 4, 2**32 - 1, 8), (257, 4, 1, 8000)),
        "strips.tif": _tiff(*strips, (279, 4, 1, 2**32 - 1)),
        "big.tif": b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**60),
        "header.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
        "header.avif": b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(100),
        "progressive.jpg": b"\xff\xd8\xff\xc2\0\x11\x08\x20\0\x20\0\3\1\x22\0\2\x11\1\3\x11\1"
        + b"\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0" * 5000,
    }
    return {f"other-{name}": partial(bytes, content) for name, content in contents.items()}


def _saved(format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, format, **options)
    return buffer.getvalue()


def _mutations() -> Cases:
    """Return a small picture of each format, cut short and with some bytes replaced."""
    cases: Cases = {}
    for suffix, format in FORMATS.items():
        data, chance = _saved(format), random.Random(7)
        cases[f"half.{suffix}"] = partial(bytes, data[: len(data) // 2])
        cases[f"start.{suffix}"] = partial(bytes, data[:20])
        for at in range(MUTATIONS):
            changed = bytearray(data)
            for _ in range(chance.choice((1, 3, 10))):
                changed[chance.randrange(len(data))] = chance.randrange(256)
            cases[f"mutated-{at:02}.{suffix}"] = partial(bytes, changed)
    return cases
