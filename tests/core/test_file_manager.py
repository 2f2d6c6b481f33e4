from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from modules.core.errors import UserError
from modules.core.file_manager import file_manager, open_folder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for xdg-open")


def test_a_folder_is_passed_to_the_file_manager_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = tmp_path / "seen"
    program = tmp_path / "xdg-open"
    program.write_text(f'#!/bin/sh\nprintf %s "$1" > {seen}.part && mv {seen}.part {seen}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("DISPLAY", ":0")
    folder = tmp_path / "a day; rm -rf $HOME"
    folder.mkdir()
    open_folder(folder)
    deadline = time.monotonic() + 30
    while not seen.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert seen.read_text() == str(folder)


def test_a_machine_without_a_screen_has_no_file_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert file_manager() == ""
    with pytest.raises(UserError, match=f"no file manager. The folder is {tmp_path}"):
        open_folder(tmp_path)
