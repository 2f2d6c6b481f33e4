from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from modules.core.errors import NotFound
from modules.engine.jobs.input_images import InputImageStore
from modules.params.image import ImageField
from modules.params.image_kinds import DEPTH, IMAGE, MASK

SLOPE = Image.linear_gradient("L").resize((24, 16))


@pytest.fixture
def given(tmp_path: Path) -> InputImageStore:
    return InputImageStore(tmp_path / "pictures")


@pytest.mark.parametrize("kind", [IMAGE, MASK, DEPTH])
def test_a_picture_of_any_kind_comes_back_pixel_by_pixel(given: InputImageStore, kind):
    picture = ImageField.from_pil(SLOPE, kind)
    names = given.hold({"one": picture})
    assert given.read(names["one"]) == picture


def test_equal_pictures_are_one_file(given: InputImageStore):
    picture = ImageField.from_pil(SLOPE)
    names = given.hold(
        {
            "one": picture,
            "two": ImageField.from_pil(SLOPE),
            "mask": ImageField.from_pil(SLOPE, MASK),
        }
    )
    assert names["one"] == names["two"] != names["mask"]
    assert len(list(given.folder.iterdir())) == 2


def test_a_held_picture_is_not_deleted(given: InputImageStore):
    names = given.hold({"one": ImageField.from_pil(SLOPE)})
    given.drop(names.values())
    given.prune([])
    assert given.read(names["one"])
    given.release(names.values())
    given.drop(names.values())
    with pytest.raises(NotFound, match="no longer kept"):
        given.read(names["one"])


def test_a_damaged_file_is_no_picture(given: InputImageStore):
    (name,) = given.hold({"one": ImageField.from_pil(SLOPE)}).values()
    (given.folder / name).write_bytes(b"cut off")
    with pytest.raises(NotFound, match="no longer kept"):
        given.read(name)
    SLOPE.convert("RGB").rotate(180).save(given.folder / name)
    with pytest.raises(NotFound, match="no longer kept"):
        given.read(name)


def test_a_folder_that_cannot_be_written_holds_nothing(tmp_path: Path):
    (tmp_path / "file").write_text("")
    given = InputImageStore(tmp_path / "file" / "pictures")
    with pytest.raises(OSError):
        given.hold({"one": ImageField.from_pil(SLOPE)})
