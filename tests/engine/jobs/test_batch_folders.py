from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modules.core.errors import NotFound, UserError
from modules.core.paths import Paths
from modules.engine.jobs.batch_folders import list_input_images, validate_output_folder


@pytest.fixture
def cats(paths: Paths) -> Path:
    folder = paths.data / "inputs" / "cats"
    folder.mkdir(parents=True)
    for name in ("b.png", "a.JPG", "c.webp", "notes.txt"):
        (folder / name).write_bytes(b"x")
    (folder / "deeper.png").mkdir()
    return folder


def test_the_images_of_a_folder_are_sorted_by_name(paths: Paths, cats: Path):
    assert [file.name for file in list_input_images("inputs/cats", paths)] == [
        "a.JPG",
        "b.png",
        "c.webp",
    ]
    assert list_input_images(f" {cats} ", paths) == list_input_images("inputs/cats", paths)


@pytest.mark.parametrize(
    "text",
    ["", ".", "/", "/etc", "inputs/../models", "inputs/../../..", "~", "models", "inputs/out"],
)
def test_a_folder_elsewhere_is_refused_and_the_allowed_ones_are_named(
    paths: Paths, cats: Path, text: str
):
    (cats.parent / "out").symlink_to("/etc")
    with pytest.raises(
        UserError,
        match=r"is not in a folder that a batch may read; those are .*inputs or .*outputs",
    ):
        list_input_images(text, paths)


def test_a_link_to_a_file_elsewhere_is_left_out(paths: Paths, cats: Path, tmp_path: Path):
    (tmp_path / "secret.png").write_bytes(b"x")
    (cats / "link.png").symlink_to(tmp_path / "secret.png")
    assert "link.png" not in [file.name for file in list_input_images("inputs/cats", paths)]


def test_the_command_line_adds_a_folder(paths: Paths, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"x")
    with pytest.raises(UserError):
        list_input_images(str(tmp_path / "photos"), paths)
    extended = replace(paths, allowed_folders=(tmp_path / "photos",))
    assert len(list_input_images(str(tmp_path / "photos"), extended)) == 1


@pytest.mark.parametrize(
    "text", ["inputs/nowhere", "inputs/empty", "inputs/cats/a.JPG", "inputs/\0"]
)
def test_a_folder_without_images_is_refused(paths: Paths, cats: Path, text: str):
    (cats.parent / "empty").mkdir()
    with pytest.raises((NotFound, UserError)):
        list_input_images(text, paths)


@pytest.mark.parametrize("name", ["zoo", "my cats 2", " zoo ", "a.b-c_d", "Bäume"])
def test_a_plain_name_is_an_output_folder(name: str):
    assert validate_output_folder(name) == name.strip()


def test_no_name_is_the_usual_folder():
    assert validate_output_folder("  ") == ""


@pytest.mark.parametrize(
    "name", ["..", "a/b", "../a", "/etc", "a\\b", ".hidden", "C:", "a\0b", "x" * 200, "a\nb"]
)
def test_an_output_folder_that_is_not_a_plain_name_is_refused(name: str):
    with pytest.raises(UserError, match="a plain name is needed"):
        validate_output_folder(name)
