"""Folders and files that hold prompts and pictures where others have access: for this user alone.

On Windows the folders are inside the user's own profile, and nothing is checked or changed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def own_folder_in(shared: Path, name: str) -> Path:
    """Return the path of a folder of this user's in a folder that others can write to; it need not exist.

    Its name is the same at every start, unless somebody else has prepared a folder, a link or a file of that name.
    """
    user = f"-{os.getuid()}" if os.name == "posix" else ""
    path = shared / f"{name}{user}"
    if not os.path.lexists(path) or is_own_folder(path):
        return path
    return shared / f"{name}{user}-{secrets.token_hex(8)}"


def is_own_folder(path: Path) -> bool:
    """Return whether a path is a folder, no link to one, that belongs to this user and that only they can write to."""
    try:
        info = path.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(info.st_mode):
        return False
    return os.name != "posix" or (info.st_uid == os.getuid() and not info.st_mode & _OTHERS_WRITE)


def make_own_folder(path: Path) -> None:
    """Create a folder for this user alone, with its parents; an existing one of theirs is closed to others.

    Raises:
        OSError: it cannot be created, or it is a link, or belongs to somebody else, or others can write to it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    if not is_own_folder(path):
        raise PermissionError(f"{path} is not a folder of this user alone")
    close_to_others(path)


def create_own_file(path: Path) -> None:
    """Create an empty file for this user alone, unless it exists; an existing one is closed to others.

    Nothing is raised: what opens the file reports that it cannot be created.
    """
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    close_to_others(path)


def close_to_others(path: Path) -> None:
    """Take the permissions of a folder or a file from everybody but its owner, if that is this user.

    A link is left alone, and so is a folder that is shared on purpose (with a sticky bit, as /tmp).
    """
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):  # there is none, or the disk has no permissions
        info = path.lstat()
        is_shared = stat.S_ISLNK(info.st_mode) or info.st_mode & stat.S_ISVTX
        if info.st_uid == os.getuid() and not is_shared and info.st_mode & _OTHERS:
            path.chmod(stat.S_IMODE(info.st_mode) & ~_OTHERS)
