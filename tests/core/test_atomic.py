from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path

import pytest

from modules.core.atomic import (
    open_part,
    open_writer,
    remove_leftovers,
    remove_older_leftovers,
    write_bytes,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text("old")
    return path


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without hard links."""

    def link(source: object, path: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", link)


def test_a_file_is_written_and_replaced(tmp_path: Path):
    write_bytes(tmp_path / "a", b"\x00\xff")
    write_text(tmp_path / "b", "ü\n")
    write_text(tmp_path / "b", "日本\r\n")
    assert (tmp_path / "a").read_bytes() == b"\x00\xff"
    assert (tmp_path / "b").read_bytes() == "日本\r\n".encode()
    assert names(tmp_path) == ["a", "b"]


def test_the_old_file_stays_until_the_block_ends_and_the_part_has_its_name(file: Path):
    with open_writer(file) as writer:
        writer.write(b"new")
        assert file.read_text() == "old"
        part, _ = names(file.parent)
        assert part.startswith(".config.json.") and part.endswith(".part")
    assert file.read_text() == "new"
    assert names(file.parent) == ["config.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(file: Path, error: type[BaseException]):
    with pytest.raises(error), open_writer(file) as writer:
        writer.write(b"half")
        raise error
    assert file.read_text() == "old"
    assert names(file.parent) == ["config.json"]


def test_text_that_cannot_be_encoded_leaves_the_old_file(file: Path):
    with pytest.raises(UnicodeEncodeError):
        write_text(file, "\ud800")
    assert file.read_text() == "old"
    assert names(file.parent) == ["config.json"]


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
def test_a_disk_that_refuses_leaves_the_old_file(
    file: Path, call: str, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(call, refuse)
    with pytest.raises(OSError, match="No space left"):
        write_text(file, "new")
    assert file.read_text() == "old"
    assert names(file.parent) == ["config.json"]


def test_a_missing_folder_is_the_error_that_is_raised(file: Path):
    with pytest.raises(FileNotFoundError):
        write_text(file.parent / "no" / "file", "")
    with pytest.raises(NotADirectoryError):
        write_text(file / "below", "")


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be synced there")
def test_the_file_is_on_the_disk_before_it_has_its_name_and_then_its_folder(
    file: Path, monkeypatch: pytest.MonkeyPatch
):
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def record_sync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def record_rename(source: Path, target: Path) -> Path:
        calls.append("rename")
        return replace(source, target)

    monkeypatch.setattr("os.fsync", record_sync)
    monkeypatch.setattr(Path, "replace", record_rename)
    write_text(file, "new")
    assert calls == ["file", "rename", "folder"]


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be synced there")
def test_a_folder_that_cannot_be_synced_is_no_error(file: Path, monkeypatch: pytest.MonkeyPatch):
    fsync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", refuse_folders)
    write_text(file, "new")
    assert file.read_text() == "new"


@pytest.mark.parametrize("links", ["links", "no links"])
def test_without_overwrite_another_file_is_left_alone(
    file: Path, links: str, request: pytest.FixtureRequest
):
    if links == "no links":
        request.getfixturevalue("no_links")
    with open_writer(file.with_name("new"), overwrite=False) as writer:
        writer.write(b"new")
    with pytest.raises(FileExistsError), open_writer(file, overwrite=False) as writer:
        writer.write(b"new")
    assert (file.read_text(), file.with_name("new").read_text()) == ("old", "new")
    assert names(file.parent) == ["config.json", "new"]


@pytest.mark.parametrize("links", ["links", "no links"])
def test_a_part_takes_the_first_name_that_is_free(
    file: Path, links: str, request: pytest.FixtureRequest
):
    if links == "no links":
        request.getfixturevalue("no_links")
    with open_part(file.parent) as part:
        part.file.write(b"new")
        with pytest.raises(FileExistsError):
            part.create(file)
        part.create(file.with_name("next"))
    assert (file.read_text(), file.with_name("next").read_text()) == ("old", "new")
    assert names(file.parent) == ["config.json", "next"]


@pytest.mark.usefixtures("no_links")
def test_a_refused_rename_leaves_no_empty_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="Input/output"), open_writer(tmp_path / "a", overwrite=False):
        pass
    assert names(tmp_path) == []


def test_only_the_parts_of_the_named_file_are_removed(file: Path):
    for name in (".config.json.1-2.part", ".other.json.1-2.part", "config.json.part"):
        (file.parent / name).touch()
    remove_leftovers(file)
    assert names(file.parent) == [".other.json.1-2.part", "config.json", "config.json.part"]


def test_the_part_of_a_killed_process_with_the_same_pid_is_overwritten(file: Path):
    with open_part(file.parent, file.name) as part:
        left = part.path
    left.write_text("longer than the new text")
    write_text(file, "new")
    assert file.read_text() == "new"
    assert names(file.parent) == ["config.json"]


def test_the_parts_of_killed_processes_are_removed_and_nothing_else(file: Path):
    parts = [".1-2.part", ".config.json.1-2.part", ".a.b c.png.77-139637976727232.part"]
    others = ["a.part", ".part", ".x.part", ".1-2.part.png", "1-2.part"]
    folder = file.parent / "grids"
    folder.mkdir()
    for name in [*parts, *others]:
        (folder / name).touch()
        (file.parent / name).touch()
    remove_older_leftovers(file.parent, time.time() + 1, recursive=False)
    assert names(file.parent) == sorted([*others, "config.json", "grids"])
    assert set(parts) <= set(names(folder))
    remove_older_leftovers(file.parent, time.time() + 1)
    assert names(folder) == sorted(others)


def test_a_part_that_is_being_written_stays(tmp_path: Path):
    with open_part(tmp_path) as part:
        for before in (time.time() - 60, time.time() + 60):  # on a disk whose clock is behind, too
            remove_older_leftovers(tmp_path, before)
            assert part.path.exists()
        remove_older_leftovers(tmp_path, time.time() + 25 * 3600)
        assert not part.path.exists(), "a killed process left it, and its number came back"
    remove_older_leftovers(tmp_path / "missing", time.time())
