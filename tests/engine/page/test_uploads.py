"""Images that were put into the page."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest
from PIL import Image

from modules.core.errors import NotFound, UserError
from modules.engine.page.uploads import UploadStore


@pytest.fixture
def uploads(tmp_path: Path) -> UploadStore:
    return UploadStore(tmp_path / "uploads")


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def test_an_image_is_found_by_its_id_with_its_upright_size(uploads: UploadStore):
    turned = Image.Exif()
    turned[0x0112] = 6
    data = encode(Image.new("RGB", (40, 24)), "JPEG", exif=turned)
    upload = uploads.add(data)
    assert (upload.width, upload.height, upload.media_type) == (24, 40, "image/jpeg")
    assert uploads.find(upload.id) == upload == uploads.add(data)
    assert uploads.read(upload.id) == data


def test_a_format_that_browsers_do_not_show_is_known_as_such(uploads: UploadStore):
    upload = uploads.add(encode(Image.new("RGB", (8, 8)), "TIFF"))
    assert not upload.is_shown and uploads.find(upload.id) == upload


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a text", "The picture is not a PNG, JPEG"),
        (encode(Image.effect_noise((64, 64), 50), "PNG")[:-900], "The picture is damaged"),
    ],
)
def test_what_is_no_image_is_refused_and_not_kept(
    uploads: UploadStore, tmp_path: Path, data: bytes, message: str
):
    with pytest.raises(UserError, match=message):
        uploads.add(data)
    assert not (tmp_path / "uploads").exists()


@pytest.mark.parametrize("upload_id", ["", "0" * 64, "../../etc/passwd", "A" * 64])
def test_an_unknown_id_is_said(uploads: UploadStore, upload_id: str):
    for ask in (uploads.find, uploads.read, uploads.path):
        with pytest.raises(NotFound, match="Upload it again"):
            ask(upload_id)


def test_what_was_not_used_for_long_is_removed_with_the_next_upload(uploads: UploadStore):
    old, used = (
        uploads.add(encode(Image.new("RGB", (8, 8), name), "PNG")).id for name in ("red", "blue")
    )
    month_ago = time.time() - 31 * 24 * 3600
    for upload_id in (old, used):
        os.utime(uploads.path(upload_id), (month_ago, month_ago))
    uploads.read(used)
    uploads.add(encode(Image.new("RGB", (8, 8), "green"), "PNG"))
    assert uploads.find(used).width == 8
    with pytest.raises(NotFound, match="no longer on the server"):
        uploads.read(old)
