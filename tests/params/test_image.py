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
from modules.params.image_kinds import DEPTH, MASK
from modules.params.param import validate
from modules.params.requests.depth import DepthRequest
from modules.params.requests.img2img import Img2ImgRequest


def make_image(size: tuple[int, int] = (3, 2), mode: str = "RGB") -> Image.Image:
    """Return an image whose pixels all differ."""
    image = Image.new("RGB", size)
    image.putdata([(40 * x, 90 * y, 200) for y in range(size[1]) for x in range(size[0])])
    return image.convert(mode)


def encode_file(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def make_bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes whose header claims a large size."""

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
def test_an_image_survives_base64(format: str, options: dict[str, object], prefix: str):
    field = ImageField.from_base64(prefix + to_base64(encode_file(make_image(), format, **options)))
    assert field.to_pil().tobytes() == make_image().tobytes()
    assert field == ImageField.from_base64(field.to_base64()) == ImageField.from_pil(make_image())
    assert hash(field) == hash(ImageField.from_pil(make_image()))


def test_a_jpeg_is_read():
    assert ImageField.from_bytes(encode_file(make_image((16, 8)), "JPEG")).size == (16, 8)


def test_base64_may_have_line_breaks():
    text = to_base64(encode_file(make_image()))
    assert ImageField.from_base64(f"{text[:20]}\n{text[20:]}\n") == ImageField.from_pil(
        make_image()
    )


def test_an_image_is_rotated_by_its_exif_orientation():
    exif = Image.Exif()
    exif[274] = 6  # rotate by 90 degrees
    field = ImageField.from_bytes(encode_file(make_image((16, 8)), "JPEG", exif=exif))
    assert field.size == (8, 16)


def test_transparent_pixels_become_white():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 255))
    assert ImageField.from_bytes(encode_file(image)).pixels == bytes([255, 255, 255, 255, 0, 0])
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([0, 0, 255])
    assert ImageField.from_bytes(encode_file(palette, transparency=0)).pixels == bytes([255] * 3)


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "AVIF", "WEBP", "JPEG", "PNG"])
def test_common_formats_are_read(format: str):
    field = ImageField.from_bytes(encode_file(Image.new("RGB", (32, 16), (200, 100, 50)), format))
    assert field.size == (32, 16)
    assert max(abs(a - b) for a, b in zip(field.pixels[:3], (200, 100, 50), strict=True)) <= 4


def test_the_first_frame_of_an_animation_is_read():
    data = encode_file(
        Image.new("RGB", (8, 8), "red"),
        "GIF",
        save_all=True,
        append_images=[Image.new("RGB", (8, 8), "blue")],
    )
    assert ImageField.from_bytes(data) == ImageField.from_pil(Image.new("RGB", (8, 8), "red"))


def test_a_cmyk_jpeg_is_read():
    field = ImageField.from_bytes(
        encode_file(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")
    )
    red, green, blue = field.pixels[:3]
    assert red > 200 > 60 > max(green, blue)


def test_a_mask_and_depth_are_kept_in_their_own_modes():
    field = ImageField.from_pil(make_image(), MASK)
    assert (field.mode, field.to_pil().tobytes()) == ("L", make_image().convert("L").tobytes())
    depth = Image.new("I;16", (3, 1))
    depth.putdata([0, 4711, 65535])
    depth_field = ImageField.from_bytes(encode_file(depth), DEPTH)
    assert depth_field == ImageField.from_base64(depth_field.to_base64(), DEPTH)
    assert np.asarray(depth_field.to_pil())[0].tolist() == [0, 4711, 65535]
    assert DepthRequest(
        depth_map=ImageField.from_pil(make_image())
    ).depth_map == ImageField.from_pil(make_image(), DEPTH)
    assert Img2ImgRequest(mask=ImageField.from_pil(make_image())).mask == field


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "file is empty"),
        (b"GIF89a", "is not a PNG, JPEG, WEBP, AVIF, GIF, BMP or TIFF file"),
        (b"a text file named .png", "is not a PNG, JPEG"),
        (encode_file(make_image(), "PPM"), "is not a PNG, JPEG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a HEIC file, and Pillow's plugin"),
        (
            make_bomb(20000, 20000),
            "largest picture that is read is 8192x8192, and this one is far larger",
        ),
        (encode_file(make_image((64, 64)))[:-40], "is damaged"),
        (encode_file(make_image((64, 64)), "JPEG")[:200], "is damaged"),
        (make_bomb(8192, 8200), "and this one is 8192x8200. Make it smaller."),
        (make_bomb(2**16, 2**16), "is read is 8192x8192"),
        (bytes(64 * 2**20 + 1), "has more than 64 MiB, the most that is read"),
    ],
)
def test_an_unreadable_file_is_refused_with_the_reason(data: bytes, message: str):
    with pytest.raises(UserError, match=message):
        ImageField.from_bytes(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no base64!", "is not base64"),
        ("data:image/png;base64,???", "is not base64"),
        ("http://127.0.0.1/x.png", "is a URL, and the server fetches none"),
    ],
)
def test_text_that_is_not_base64_is_refused_with_the_reason(text: str, message: str):
    with pytest.raises(UserError, match=message):
        ImageField.from_base64(text)


@pytest.mark.parametrize("value", ["", [""], [], "data:image/png;base64,"])
def test_an_empty_value_is_no_image(value: object):
    assert validate(Img2ImgRequest, {"mask": value}).mask is None


@pytest.mark.parametrize("value", ["x" * 1000, "/etc/passwd", 3, ["a"], b"abc", True])
def test_an_error_names_the_image_field_but_not_its_content(value: object):
    with pytest.raises(UserError) as caught:
        validate(DepthRequest, {"depth_map": value})
    assert str(caught.value).startswith("Depth map (optional): ")
    assert "xxx" not in str(caught.value)


def test_an_image_survives_copies_and_json_of_its_request():
    request = DepthRequest(init_image=ImageField.from_pil(make_image()))
    assert request.replace(seed=3).init_image is request.init_image
    assert DepthRequest.model_validate_json(request.model_dump_json()) == request


def test_the_repr_of_a_request_is_short():
    request = DepthRequest(init_image=ImageField.from_pil(make_image((64, 64))))
    assert "<64x64 image " in repr(request)
    assert len(repr(request)) < 1000


def test_image_fields_are_recognised():
    fields = DepthRequest.model_fields
    assert [name for name, field in fields.items() if is_image_field(field)] == [
        "init_image",
        "depth_map",
    ]
