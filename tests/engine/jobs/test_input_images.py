from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from modules.core.errors import NotFound
from modules.engine.jobs.input_images import InputImageStore
from modules.params.image import ImageField
from modules.params.image_kinds import DEPTH, IMAGE, MASK

GRADIENT = Image.linear_gradient("L").resize((24, 16))


@pytest.fixture
def store(tmp_path: Path) -> InputImageStore:
    return InputImageStore(tmp_path / "pictures")


@pytest.mark.parametrize("kind", [IMAGE, MASK, DEPTH])
def test_an_image_of_any_kind_is_read_back_pixel_by_pixel(store: InputImageStore, kind):
    image = ImageField.from_pil(GRADIENT, kind)
    names = store.hold({"one": image})
    assert store.read(names["one"]) == image


def test_equal_images_share_one_file(store: InputImageStore):
    image = ImageField.from_pil(GRADIENT)
    names = store.hold(
        {
            "one": image,
            "two": ImageField.from_pil(GRADIENT),
            "mask": ImageField.from_pil(GRADIENT, MASK),
        }
    )
    assert names["one"] == names["two"] != names["mask"]
    assert len(list(store.folder.iterdir())) == 2


def test_a_held_image_is_not_deleted(store: InputImageStore):
    names = store.hold({"one": ImageField.from_pil(GRADIENT)})
    store.drop(names.values())
    store.prune([])
    assert store.read(names["one"])
    store.release(names.values())
    store.drop(names.values())
    with pytest.raises(NotFound, match="no longer stored"):
        store.read(names["one"])


def test_a_damaged_file_is_not_found(store: InputImageStore):
    (name,) = store.hold({"one": ImageField.from_pil(GRADIENT)}).values()
    (store.folder / name).write_bytes(b"cut off")
    with pytest.raises(NotFound, match="no longer stored"):
        store.read(name)
    GRADIENT.convert("RGB").rotate(180).save(store.folder / name)
    with pytest.raises(NotFound, match="no longer stored"):
        store.read(name)


def test_a_folder_that_cannot_be_written_holds_nothing(tmp_path: Path):
    (tmp_path / "file").write_text("")
    store = InputImageStore(tmp_path / "file" / "pictures")
    with pytest.raises(OSError):
        store.hold({"one": ImageField.from_pil(GRADIENT)})
