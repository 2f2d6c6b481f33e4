from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from modules.core.private import close_to_others, create_own_file, make_own_folder, own_folder_in

pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
NAME = f"webui-{os.getuid() if os.name == 'posix' else ''}"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def as_other_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """What exists belongs to somebody else."""
    monkeypatch.setattr("os.getuid", lambda: 12345)


def test_a_folder_is_made_for_this_user_alone_and_found_again(tmp_path: Path):
    folder = own_folder_in(tmp_path, "webui")
    assert folder == tmp_path / NAME
    make_own_folder(folder)
    make_own_folder(folder)
    assert mode(folder) == 0o700
    assert own_folder_in(tmp_path, "webui") == folder


def test_a_folder_that_others_can_read_is_closed(tmp_path: Path):
    folder = tmp_path / "a"
    folder.mkdir()
    folder.chmod(0o755)
    make_own_folder(folder)
    assert mode(folder) == 0o700


def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path, as_other_user: None):
    folder = tmp_path / "webui-12345"
    folder.mkdir(mode=0o700)
    with pytest.raises(PermissionError, match="is not a folder of this user alone"):
        make_own_folder(folder)
    found = own_folder_in(tmp_path, "webui")
    assert found.name.startswith("webui-12345-")
    assert found != own_folder_in(tmp_path, "webui")


@pytest.mark.parametrize("kind", ["link", "dangling link", "file", "open folder"])
def test_what_others_have_prepared_is_not_used(tmp_path: Path, kind: str):
    path = tmp_path / NAME
    (tmp_path / "target").mkdir()
    {
        "link": lambda: path.symlink_to(tmp_path / "target"),
        "dangling link": lambda: path.symlink_to(tmp_path / "nowhere"),
        "file": path.touch,
        "open folder": lambda: (path.mkdir(), path.chmod(0o777)),
    }[kind]()
    assert own_folder_in(tmp_path, "webui") != path
    with pytest.raises(OSError):
        make_own_folder(path)
    assert not list((tmp_path / "target").iterdir())
    assert not (tmp_path / "nowhere").exists()


def test_a_file_is_made_for_this_user_alone_and_an_old_one_closed(tmp_path: Path):
    create_own_file(tmp_path / "new")
    (tmp_path / "old").write_text("kept")
    (tmp_path / "old").chmod(0o644)
    create_own_file(tmp_path / "old")
    create_own_file(tmp_path / "no folder" / "file")
    assert (mode(tmp_path / "new"), mode(tmp_path / "old")) == (0o600, 0o600)
    assert (tmp_path / "old").read_text() == "kept"


def test_shared_folders_and_links_are_left_alone(tmp_path: Path, as_other_user: None):
    target, shared = tmp_path / "target", tmp_path / "shared"
    target.mkdir()
    target.chmod(0o755)
    (tmp_path / "link").symlink_to(target)
    close_to_others(tmp_path / "link")
    close_to_others(target)  # of somebody else
    assert mode(target) == 0o755
    shared.mkdir()
    shared.chmod(0o1777)
    close_to_others(shared)
    close_to_others(tmp_path / "missing")
    assert shared.stat().st_mode & 0o777 == 0o777
