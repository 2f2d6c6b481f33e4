from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.params.image import ImageField, is_image_field
from modules.params.image_decoding import MAX_PIXELS
from modules.params.image_kinds import DEPTH, MASK
from modules.params.param import validate
from modules.params.requests.depth import DepthRequest
from modules.params.requests.img2img import Img2ImgRequest


def picture(size: tuple[int, int] = (3, 2), mode: str = "RGB") -> Image.Image:
    """Return a picture of which no two pixels are equal."""
    image = Image.new("RGB", size)
    image.putdata([(40 * x, 90 * y, 200) for y in range(size[1]) for x in range(size[0])])
    return image.convert(mode)


def file_of(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that claims to be large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_a_picture_comes_back_from_base64(format: str, options: dict[str, object], prefix: str):
    read = ImageField.from_base64(prefix + coded(file_of(picture(), format, **options)))
    assert read.to_pil().tobytes() == picture().tobytes()
    assert read == ImageField.from_base64(read.to_base64()) == ImageField.from_pil(picture())
    assert hash(read) == hash(ImageField.from_pil(picture()))


def test_a_jpeg_is_read():
    assert ImageField.from_bytes(file_of(picture((16, 8)), "JPEG")).size == (16, 8)


def test_base64_may_be_broken_into_lines():
    text = coded(file_of(picture()))
    assert ImageField.from_base64(f"{text[:20]}\n{text[20:]}\n") == ImageField.from_pil(picture())


def test_a_picture_is_turned_as_the_camera_says():
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter
    read = ImageField.from_bytes(file_of(picture((16, 8)), "JPEG", exif=exif))
    assert read.size == (8, 16)


def test_what_is_transparent_lies_on_white():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 255))
    assert ImageField.from_bytes(file_of(image)).pixels == bytes([255, 255, 255, 255, 0, 0])
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([0, 0, 255])
    assert ImageField.from_bytes(file_of(palette, transparency=0)).pixels == bytes([255] * 3)


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "AVIF", "WEBP", "JPEG", "PNG"])
def test_every_format_that_people_send_is_read(format: str):
    read = ImageField.from_bytes(file_of(Image.new("RGB", (32, 16), (200, 100, 50)), format))
    assert read.size == (32, 16)
    assert max(abs(a - b) for a, b in zip(read.pixels[:3], (200, 100, 50), strict=True)) <= 4


def test_of_an_animation_the_first_picture_is_read():
    data = file_of(
        Image.new("RGB", (8, 8), "red"),
        "GIF",
        save_all=True,
        append_images=[Image.new("RGB", (8, 8), "blue")],
    )
    assert ImageField.from_bytes(data) == ImageField.from_pil(Image.new("RGB", (8, 8), "red"))


def test_a_printers_jpeg_is_read():
    read = ImageField.from_bytes(file_of(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
    red, green, blue = read.pixels[:3]
    assert red > 200 > 60 > max(green, blue)


def test_a_mask_and_depth_are_kept_in_their_own_modes():
    field = ImageField.from_pil(picture(), MASK)
    assert (field.mode, field.to_pil().tobytes()) == ("L", picture().convert("L").tobytes())
    deep = Image.new("I;16", (3, 1))
    deep.putdata([0, 4711, 65535])
    kept = ImageField.from_bytes(file_of(deep), DEPTH)
    assert kept == ImageField.from_base64(kept.to_base64(), DEPTH)
    assert np.asarray(kept.to_pil())[0].tolist() == [0, 4711, 65535]
    assert DepthRequest(depth_map=ImageField.from_pil(picture())).depth_map == ImageField.from_pil(
        picture(), DEPTH
    )
    assert Img2ImgRequest(mask=ImageField.from_pil(picture())).mask == field


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "file is empty"),
        (b"GIF89a", "is no PNG, JPEG, WEBP, AVIF, GIF, BMP or TIFF file"),
        (b"a text file named .png", "is no PNG, JPEG"),
        (file_of(picture(), "PPM"), "is no PNG, JPEG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a HEIC file, and Pillow's plugin"),
        (bomb(20000, 20000), f"too many pixels; at most {MAX_PIXELS} are read"),
        (file_of(picture((64, 64)))[:-40], "is damaged"),
        (file_of(picture((64, 64)), "JPEG")[:200], "is damaged"),
        (bomb(8192, 8200), f"8192x8200 pixels; at most {MAX_PIXELS} are read"),
        (bomb(2**16, 2**16), f"at most {MAX_PIXELS} are read"),
        (bytes(64 * 2**20 + 1), "has 67108865 bytes"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(data: bytes, said: str):
    with pytest.raises(UserError, match=said):
        ImageField.from_bytes(data)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no base64!", "is no base64 text"),
        ("data:image/png;base64,???", "is no base64 text"),
        ("http://127.0.0.1/x.png", "nothing is fetched"),
    ],
)
def test_what_is_no_base64_is_refused_in_words(text: str, said: str):
    with pytest.raises(UserError, match=said):
        ImageField.from_base64(text)


@pytest.mark.parametrize("value", ["", "x" * 1000, "/etc/passwd", 3, ["a"], b"abc", True])
def test_a_field_with_no_picture_is_named_without_its_content(value: object):
    with pytest.raises(UserError) as caught:
        validate(DepthRequest, {"depth_map": value})
    assert str(caught.value).startswith("Depth map (optional): ")
    assert "xxx" not in str(caught.value)


def test_a_request_carries_its_picture_through_copies_and_json():
    request = DepthRequest(init_image=ImageField.from_pil(picture()))
    assert request.replace(seed=3).init_image is request.init_image
    assert DepthRequest.model_validate_json(request.model_dump_json()) == request


def test_no_log_holds_a_picture():
    request = DepthRequest(init_image=ImageField.from_pil(picture((64, 64))))
    assert "<64x64 picture " in repr(request)
    assert len(repr(request)) < 1000


def test_only_fields_of_pictures_are_such():
    fields = DepthRequest.model_fields
    assert [name for name, field in fields.items() if is_image_field(field)] == [
        "init_image",
        "depth_map",
    ]
