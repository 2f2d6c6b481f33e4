from __future__ import annotations

import gzip
import io
import json

import numpy as np
import pytest
from PIL import Image

from modules.images.metadata import make_png_info, read_metadata
from modules.images.stealth import read_stealth_text
from modules.infotext import extract_infotext

TEXT = "a cat, 猫\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, Seed: 1, Size: 64x96"


def hide(
    text: bytes, signature: bytes, size: tuple[int, int] = (64, 96), bits: int | None = None
) -> Image.Image:
    """Return an image with a text hidden in it, written pixel by pixel as those programs do."""
    is_alpha = signature.startswith(b"stealth_png")
    mode = "RGBA" if is_alpha else "RGB"
    image = Image.new(mode, size, (90, 91, 92, 255)[: len(mode)])
    length = len(text) * 8 if bits is None else bits
    data = signature + length.to_bytes(4, "big") + text
    stream = iter("".join(f"{byte:08b}" for byte in data))
    for x in range(size[0]):
        for y in range(size[1]):
            pixel = list(image.getpixel((x, y)))
            for channel in (3,) if is_alpha else (0, 1, 2):
                bit = next(stream, None)
                if bit is not None:
                    pixel[channel] = pixel[channel] & 254 | int(bit)
            image.putpixel((x, y), tuple(pixel))
    return image


def encode(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


HIDDEN = [
    (b"stealth_pnginfo", TEXT.encode()),
    (b"stealth_pngcomp", gzip.compress(TEXT.encode(), mtime=0)),
    (b"stealth_rgbinfo", TEXT.encode()),
    (b"stealth_rgbcomp", gzip.compress(TEXT.encode(), mtime=0)),
]


@pytest.mark.parametrize(("signature", "data"), HIDDEN)
@pytest.mark.parametrize("size", [(64, 96), (61, 7), (1500, 1), (1, 1500)])
def test_a_hidden_text_is_the_infotext(signature: bytes, data: bytes, size: tuple[int, int]):
    assert read_metadata(encode(hide(data, signature, size))).items == {"parameters": TEXT} or (
        size[0] * size[1] * (3 if b"rgb" in signature else 1) < (len(data) + 19) * 8
    )


@pytest.mark.parametrize(("signature", "data"), HIDDEN)
def test_a_hidden_text_in_a_lossless_webp_is_read(signature: bytes, data: bytes):
    buffer = io.BytesIO()
    hide(data, signature).save(buffer, "WEBP", lossless=True, exact=True)
    assert read_metadata(buffer.getvalue()).items["parameters"] == TEXT


def test_novelais_hidden_items_are_read_like_its_chunks():
    comment = {
        "steps": 28,
        "sampler": "k_euler_ancestral",
        "seed": 5,
        "scale": 11.0,
        "uc": "lowres",
        "width": 512,
        "height": 768,
    }
    items = {
        "Description": "girl",
        "Software": "NovelAI",
        "Source": "Stable Diffusion",
        "Generation time": 3.5,
        "Comment": json.dumps(comment),
    }
    data = gzip.compress(json.dumps(items).encode())
    infotext = extract_infotext(read_metadata(encode(hide(data, b"stealth_pngcomp"))))
    assert (infotext.origin, infotext.prompt, infotext.negative_prompt) == (
        "NovelAI",
        "girl",
        "lowres",
    )
    assert (infotext.pairs["Steps"], infotext.pairs["Size"]) == ("28", "512x768")


def test_texts_of_the_file_take_precedence():
    data = encode(hide(TEXT.encode(), b"stealth_pnginfo"), pnginfo=make_png_info("a dog"))
    assert read_metadata(data).items == {"parameters": "a dog"}


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGBA", (64, 64)),
        Image.new("RGB", (1, 1)),
        Image.new("L", (64, 64)),
        hide(TEXT.encode(), b"stealth_pnginfo", bits=2**32 - 1),
        hide(TEXT.encode(), b"stealth_pnginfo", bits=64 * 96),
        hide(b"no gzip", b"stealth_pngcomp"),
        hide(gzip.compress(TEXT.encode())[:-12], b"stealth_rgbcomp"),
        hide(gzip.compress(bytes(5_000_000)), b"stealth_rgbcomp", (256, 256)),
    ],
    ids=["none", "one pixel", "grey", "4 GB", "longer than the image", "no gzip", "cut", "bomb"],
)  # fmt: skip
def test_an_image_without_a_whole_hidden_text_has_none(image: Image.Image):
    assert read_metadata(encode(image)).items == {}


def test_a_text_at_the_limit_is_read():
    image = Image.open(io.BytesIO(encode(hide(TEXT.encode(), b"stealth_rgbinfo"))))
    assert read_stealth_text(image, max_bytes=len(TEXT.encode())) == TEXT
    assert read_stealth_text(image, max_bytes=len(TEXT.encode()) - 1) == ""
    assert np.asarray(image).shape == (96, 64, 3)
