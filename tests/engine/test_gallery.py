"""The gallery on folders with small images: indexing, searching, favourites, trash."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path

import pytest
from PIL import Image

from modules.core.errors import NotFound, UserError
from modules.core.paths import Paths
from modules.engine.gallery.gallery import Gallery
from modules.engine.gallery.image_search import ImageSearch
from modules.images.metadata import make_png_info
from modules.infotext.foreign.json_formats import JSON_FORMATS
from tests.conftest import ROOT

TEXT = "{prompt}\nNegative prompt: blurry\nSteps: 4, Sampler: Euler a, Seed: {seed}, Size: 64x48, Model: {model}"


def save(
    path: Path, prompt: str = "a cat", seed: int = 7, model: str = "dream", time_s: float = 0
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    info = make_png_info(TEXT.format(prompt=prompt, seed=seed, model=model))
    Image.new("RGB", (64, 48), "red").save(path, pnginfo=info)
    if time_s:
        os.utime(path, (time_s, time_s))
    return path


class Folders:
    """A data folder and its gallery."""

    def __init__(self, folder: Path) -> None:
        self.data = folder
        self.outputs = folder / "outputs"
        self.spare = folder / "spare"
        self.cache = folder / "cache"
        self.favourites = folder / "favourites.txt"
        self.a1111 = ""

    def open(self) -> Gallery:
        gallery = Gallery(
            Paths(ROOT, self.data),
            lambda: self.spare,
            lambda: self.a1111,
            JSON_FORMATS,
        )
        gallery.refresh()
        return gallery


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def names(gallery: Gallery, text: str = "", **options: object) -> list[str]:
    return [row["name"] for row in gallery.page(ImageSearch(text, **options)).rows]


def ids(gallery: Gallery, text: str = "", **options: object) -> list[str]:
    return [row["id"] for row in gallery.page(ImageSearch(text, **options)).rows]


def test_images_of_all_folders_are_listed_newest_first(folders: Folders, tmp_path: Path):
    save(folders.outputs / "txt2img-images" / "2026-01-01" / "1.png", time_s=1000)
    save(folders.spare / "2.png", time_s=3000)
    save(tmp_path / "old" / "outputs" / "txt2img-images" / "3.png", time_s=2000)
    save(tmp_path / "elsewhere" / "4.png", time_s=4000)
    (tmp_path / "old" / "config.json").write_text(
        json.dumps({"outdir_samples": str(tmp_path / "elsewhere"), "outdir_grids": 3})
    )
    folders.a1111 = str(tmp_path / "old")
    (folders.outputs / "notes.txt").write_text("no image")
    gallery = folders.open()
    assert names(gallery) == ["4.png", "2.png", "3.png", "1.png"]
    assert dict(gallery.facets()["folder"])["A1111 outputs/txt2img-images"] == 1


@pytest.mark.parametrize("folder", ["nowhere", ".", "relative/path"])
def test_a_folder_that_is_no_installation_is_refused_in_a_sentence(
    folders: Folders, tmp_path: Path, folder: str
):
    save(tmp_path / "inputs" / "1.png")
    folders.a1111 = folder if folder.startswith("rel") else str(tmp_path / "inputs" / folder)
    gallery = folders.open()
    assert names(gallery) == []
    assert "choose" in gallery.watch().remark


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["dog.png", "cat.png"]),
        ("CAT", ["cat.png"]),
        ("hat cat", ["cat.png"]),
        ('"red hat"', ["cat.png"]),
        ('"hat red"', []),
        ('"red', ["cat.png"]),
        ("-hat", ["dog.png"]),
        ("model:dream", ["dog.png"]),
        ("-model:dream", ["cat.png"]),
        ("sampler:euler seed:8", ["cat.png"]),
        ("12345", ["dog.png"]),
        ("size:64x48 name:dog", ["dog.png"]),
        ("size:64x64", []),
        ("date:2026-03", ["dog.png"]),
        ("date:2026-02-01..2026-02-28", ["cat.png"]),
        ("blurry", ["dog.png", "cat.png"]),
        ("50%", []),
    ],
)
def test_a_search_looks_at_prompt_model_sampler_seed_size_and_date(
    folders: Folders, text: str, expected: list[str]
):
    february, march = (time.mktime((2026, month, 10, 12, 0, 0, 0, 0, -1)) for month in (2, 3))
    save(folders.outputs / "cat.png", "a Cat in a red hat", 8, "sd15", february)
    save(folders.outputs / "dog.png", "a dog", 12345, "dreamy", march)
    assert names(folders.open(), text) == expected


def test_filters_combine_and_a_wrong_date_is_told(folders: Folders):
    save(folders.outputs / "a" / "1.png", model="x")
    save(folders.outputs / "b" / "2.png", model="y")
    gallery = folders.open()
    assert names(gallery, folder="a", model="x", size="64x48") == ["1.png"]
    assert names(gallery, folder="b", model="x") == []
    with pytest.raises(UserError, match="'soon' cannot be read"):
        names(gallery, since="soon")
    with pytest.raises(UserError, match="'big' cannot be read"):
        names(gallery, "size:big")


def test_pages_follow_each_other_without_gap(folders: Folders):
    for number in range(7):
        save(folders.outputs / f"{number}.png", time_s=1000 + number // 2)  # several of one second
    gallery = folders.open()
    for oldest_first in (False, True):
        search = ImageSearch(oldest_first=oldest_first)
        page = gallery.page(search, limit=3)
        assert page.total == 7
        found = [row["name"] for row in page.rows]
        while page.cursor:
            page = gallery.page(search, page.cursor, limit=3)
            found += [row["name"] for row in page.rows]
        assert sorted(found) == [f"{number}.png" for number in range(7)]


def test_changed_files_are_read_again_and_removed_ones_forgotten(folders: Folders):
    kept = save(folders.outputs / "1.png", "a cat", time_s=1000)
    gone = save(folders.outputs / "2.png")
    gallery = folders.open()
    revision = gallery.watch().revision
    gallery.refresh()
    assert gallery.watch().revision == revision
    gone.unlink()
    save(kept, "a dog", time_s=2000)
    gallery.refresh()
    assert names(gallery) == names(gallery, "dog") == ["1.png"]
    assert gallery.watch().revision > revision


def test_damaged_files_are_left_out_and_those_without_infotext_are_not(folders: Folders):
    folders.outputs.mkdir()
    (folders.outputs / "cut.png").write_bytes(save(folders.outputs / "whole.png").read_bytes()[:90])
    (folders.outputs / "empty.jpg").touch()
    Image.new("RGBA", (8, 8)).save(folders.outputs / "plain.webp")
    gallery = folders.open()
    assert sorted(names(gallery)) == ["plain.webp", "whole.png"]
    assert names(gallery, "plain") == ["plain.webp"]


def test_a_thumbnail_is_small_and_outlives_the_run(folders: Folders):
    Image.new("RGB", (1024, 512), "blue").save(make_parent(folders.outputs / "wide.jpg"))
    folders.open().stop()
    gallery = folders.open()
    (image_id,) = ids(gallery)
    assert gallery.thumbnail(image_id)[:3] == b"\xff\xd8\xff"
    with pytest.raises(NotFound):
        gallery.thumbnail("none")


def make_parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_favourites_outlive_the_index(folders: Folders):
    save(folders.outputs / "1.png")
    save(folders.outputs / "2.png")
    gallery = folders.open()
    gallery.set_favourite(ids(gallery, "name:1"), True)
    gallery.stop()
    (folders.cache / "gallery.sqlite3").unlink()
    gallery = folders.open()
    assert names(gallery, favourites=True) == ["1.png"]
    gallery.set_favourite(ids(gallery), False)
    assert names(gallery, favourites=True) == []
    assert folders.favourites.read_text() == ""


@pytest.mark.parametrize("damage", ["bytes", "version", "tables"])
def test_an_odd_index_is_made_anew(folders: Folders, damage: str):
    save(folders.outputs / "1.png")
    folders.open().stop()
    file = folders.cache / "gallery.sqlite3"
    if damage == "bytes":
        file.write_bytes(b"no database" * 400)
    else:
        connection = sqlite3.connect(file)
        statement = "PRAGMA user_version = 99" if damage == "version" else "DROP TABLE images"
        connection.execute(statement)
        connection.close()
    assert names(folders.open()) == ["1.png"]


def test_trash_is_a_folder_and_restoring_overwrites_nothing(folders: Folders):
    path = save(folders.outputs / "day" / "1.png", "first")
    gallery = folders.open()
    gallery.set_favourite(ids(gallery), True)
    trashed = gallery.trash(ids(gallery))
    assert not path.exists()
    assert (folders.outputs / ".trash" / "day" / "1.png").exists()
    assert (names(gallery), names(gallery, trashed=True)) == ([], ["1.png"])
    save(path, "second")
    gallery.refresh()
    (restored,) = gallery.restore(trashed)
    assert gallery.find(restored).path == folders.outputs.resolve() / "day" / "1-1.png"
    assert b"second" in path.read_bytes()
    assert names(gallery, favourites=True) == ["1-1.png"]
    gallery.refresh()
    assert sorted(names(gallery)) == ["1-1.png", "1.png"]
    assert gallery.thumbnail(restored)


def test_the_trash_alone_is_emptied(folders: Folders):
    kept, first, second = (save(folders.outputs / f"{n}.png", time_s=n) for n in (1, 2, 3))
    gallery = folders.open()
    gallery.trash(ids(gallery, "name:2") + ids(gallery, "name:3"))
    newest = ids(gallery, trashed=True)[0]
    assert gallery.erase([newest, *ids(gallery)]) == 1
    assert (names(gallery), names(gallery, trashed=True)) == (["1.png"], ["2.png"])
    assert gallery.empty_trash() == 1
    assert gallery.counts() == (1, 0)
    assert kept.exists()
    assert not list((folders.outputs / ".trash").rglob("*.png"))
    assert not first.exists()
    assert not second.exists()


def test_a_folder_is_searched_with_those_in_it(folders: Folders):
    save(folders.outputs / "txt" / "day" / "1.png", time_s=1)
    save(folders.outputs / "txt" / "2.png", time_s=2)
    save(folders.outputs / "txt-other" / "3.png", time_s=3)
    gallery = folders.open()
    assert names(gallery, folder="txt") == ["2.png", "1.png"]
    assert names(gallery, folder="txt/day") == ["1.png"]


def test_files_of_an_installation_are_never_moved(folders: Folders, tmp_path: Path):
    path = save(tmp_path / "old" / "outputs" / "1.png")
    own = save(folders.outputs / "2.png")
    folders.a1111 = str(tmp_path / "old")
    gallery = folders.open()
    with pytest.raises(UserError, match="only read"):
        gallery.trash(ids(gallery))
    assert path.exists()
    assert own.exists()  # all or none


def test_links_out_of_the_folders_are_not_followed(folders: Folders, tmp_path: Path):
    secret = save(tmp_path / "secret" / "1.png")
    save(folders.outputs / "2.png")
    (folders.outputs / "link.png").symlink_to(secret)
    (folders.outputs / "folder").symlink_to(secret.parent)
    gallery = folders.open()
    assert names(gallery) == ["2.png"]
    (image_id,) = ids(gallery)
    (folders.outputs / "2.png").unlink()
    (folders.outputs / "2.png").symlink_to(secret)
    with pytest.raises(NotFound):
        gallery.find(image_id)


def test_a_disk_that_is_away_keeps_its_rows(folders: Folders, tmp_path: Path):
    save(folders.outputs / "1.png")
    gallery = folders.open()
    folders.outputs.rename(tmp_path / "away")
    gallery.refresh()
    assert names(gallery) == ["1.png"]


def test_the_thread_indexes_in_the_background(folders: Folders):
    gallery = folders.open()
    save(folders.outputs / "1.png")
    gallery.start()
    deadline = time.monotonic() + 30
    while not names(gallery):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    gallery.stop()
