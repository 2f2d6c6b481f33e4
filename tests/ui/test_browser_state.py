from __future__ import annotations

from pathlib import Path

import pytest

from modules.ui.browser_state import restorable_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "temp"
    inside.mkdir()
    (inside / "picture.png").write_bytes(b"x")
    (tmp_path / "secret.txt").write_text("secret")
    (inside / "link.png").symlink_to(tmp_path / "secret.txt")
    return inside


def test_a_file_in_the_folder_is_restored(folder: Path):
    assert restorable_path(str(folder / "picture.png"), [folder]) == str(folder / "picture.png")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "{}/../secret.txt",
        "{}/link.png",
        "{}/gone.png",
        "{}",
        "",
        "a\0b",
        None,
        7,
        ["{}"],
    ],
)
def test_other_paths_are_not_restored(folder: Path, path: object):
    stored = path.format(folder) if isinstance(path, str) else path
    assert restorable_path(stored, [folder]) is None
