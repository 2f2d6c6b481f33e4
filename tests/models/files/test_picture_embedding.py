"""Pictures with an embedding, made here by A1111's format as `picture_embedding` describes it."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from modules.models.files.picture_embedding import read_picture_embedding

VECTORS = [[0.5, -1.25, 3.0], [0.0, 2.5, -0.125]]
DOCUMENT = {
    "string_to_token": {"*": 265},
    "string_to_param": {"*": {"TORCHTENSOR": VECTORS}},
    "name": "my-style",
    "step": 700,
    "sd_checkpoint": None,
}
HEIGHT = 16


def make_picture(seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(1, 256, (HEIGHT, 24, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def mask(block: np.ndarray) -> np.ndarray:
    """Return a block of half bytes masked by the generator's numbers, one by one."""
    state, numbers = 0, []
    for _ in range(block.size):
        state = (1664525 * state + 1013904223) % 2**32
        numbers.append(state % 255 & 0x0F)
    return block ^ np.array(numbers, np.uint8).reshape(block.shape)


def hide(document: bytes, picture: Image.Image, border: int = 0) -> Image.Image:
    """Return a picture with a document at its edges, as A1111 puts it there."""
    data = np.frombuffer(zlib.compress(document), np.uint8)
    width = -(-len(data) // (HEIGHT * 3))
    data = np.resize(data, HEIGHT * width * 3).reshape(HEIGHT, width, 3)
    styled = np.uint8(0x50)  # the upper half of each byte is free for a pattern
    left, right = mask(data & 0x0F) | styled, mask(data >> 4) | styled
    gap = np.zeros((HEIGHT, 1, 3), np.uint8)
    pixels = np.concatenate([left, gap, np.asarray(picture), gap, right], axis=1)
    return Image.fromarray(np.pad(pixels, ((border, border), (border, border), (0, 0))))


def assert_is_the_embedding(path: Path) -> None:
    found = read_picture_embedding(path)
    assert found is not None
    assert found.name == "my-style"
    assert found.values["step"] == 700
    assert list(found.tensors) == ["string_to_param.*"]
    assert found.tensors["string_to_param.*"].tolist() == VECTORS


def test_a_text_chunk_holds_an_embedding(tmp_path: Path):
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a cat")
    info.add_text("sd-ti-embedding", base64.b64encode(json.dumps(DOCUMENT).encode()).decode())
    make_picture().save(tmp_path / "a.png", pnginfo=info)
    assert_is_the_embedding(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
@pytest.mark.parametrize("border", [0, 3])
def test_pixels_hold_an_embedding(tmp_path: Path, name: str, border: int):
    hidden = hide(json.dumps(DOCUMENT).encode(), make_picture(), border)
    hidden.save(tmp_path / name, lossless=True)
    assert_is_the_embedding(tmp_path / name)
    assert read_picture_embedding(tmp_path / name, with_pixels=False) is None


def test_ordinary_pictures_hold_none(tmp_path: Path):
    make_picture().save(tmp_path / "a.png")
    Image.new("RGB", (20, 20)).save(tmp_path / "black.png")
    striped = np.asarray(make_picture()).copy()
    striped[:, [5, 18]] = 0
    Image.fromarray(striped).save(tmp_path / "striped.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    (tmp_path / "text.png").write_bytes(b"not a picture")
    for name in ("a.png", "black.png", "striped.png", "broken.png", "text.png"):
        assert read_picture_embedding(tmp_path / name) is None


@pytest.mark.parametrize(
    "document",
    [
        b"[1, 2]",
        b'{"string_to_param": {"*": {"TORCHTENSOR": [[1], [2, 3]]}}}',
        b'{"string_to_param": {"*": {"TORCHTENSOR": [NaN]}}}',
        b'{"string_to_param": {"*": {"TORCHTENSOR": "x"}, "b": 1}}',
        b'{"a": ' * 3000,
        b"\xff",
    ],
)
def test_a_damaged_document_is_an_error(tmp_path: Path, document: bytes):
    hide(document, make_picture()).save(tmp_path / "a.png")
    with pytest.raises(ValueError):
        read_picture_embedding(tmp_path / "a.png")


def test_a_document_that_expands_without_end_is_none(tmp_path: Path):
    hide(b" " * 20_000_000, make_picture()).save(tmp_path / "bomb.png")
    assert read_picture_embedding(tmp_path / "bomb.png") is None
