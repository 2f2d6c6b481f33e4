"""Opens a folder in the system's file manager."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from modules.core.errors import UserError


def file_manager() -> str:
    """Return the program that opens folders; "" if there is none, as on a server without a screen."""
    if sys.platform == "win32":
        return "explorer"
    if sys.platform == "darwin":
        return "open"
    has_screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return (shutil.which("xdg-open") or "") if has_screen else ""


def open_folder(folder: Path) -> None:
    """Open a folder on this machine's screen; return at once.

    Raises:
        UserError: there is no file manager, or it cannot be started.
    """
    program = file_manager()
    if not program:
        raise UserError("This machine has no file manager.", f"The folder is {folder}.")
    try:
        subprocess.Popen(  # the path is one argument: nothing in a name is a command
            [program, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise UserError(
            f"The file manager cannot be started: {error.strerror}.", f"The folder is {folder}."
        ) from error
