"""Which files a batch may read, and where it may write: what the page asks is held against a few folders."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from modules.core.errors import NotFound, UserError
from modules.core.paths import Paths

PICTURES = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff", ".heic")
)
MOST_FILES = 10_000
_NAME = re.compile(r"[^\W_][\w .-]{0,79}")


def list_input_images(text: str, paths: Paths) -> list[Path]:
    """Return the pictures that lie directly in a folder of the server, by name.

    Args:
        text: The folder's path; one that is not absolute begins in the data folder.
        paths: Knows the folders in which it must lie; links are followed before that is checked.

    Raises:
        UserError: it lies elsewhere, or holds too many pictures.
        NotFound: there is no such folder, or no picture in it.
    """
    folder = _resolved(paths.data / text.strip())
    if not _is_inside(folder, paths.input_folders):
        allowed = " or ".join(str(one) for one in paths.input_folders)
        raise UserError(
            f"'{text}' lies in no folder that a batch may read; those are {allowed}.",
            "--gradio-allowed-path adds another.",
        )
    if not folder.is_dir():
        raise NotFound(f"There is no folder '{text}'.")
    listed = sorted(
        one for one in folder.iterdir() if one.suffix.lower() in PICTURES and one.is_file()
    )
    found = [one for one in listed if _is_inside(_resolved(one), paths.input_folders)]
    if not found:
        raise NotFound(f"There is no picture in the folder '{text}'.")
    if len(found) > MOST_FILES:
        raise UserError(f"'{text}' holds {len(found)} pictures; at most {MOST_FILES} are taken.")
    return found


def validate_output_folder(name: str) -> str:
    """Return the name of a folder directly below outputs, checked; "" is where pictures go otherwise.

    Raises:
        UserError: it is no plain name.
    """
    name = name.strip()
    if name and not _NAME.fullmatch(name):
        raise UserError(
            f"The output folder is '{name}'; it is made inside outputs, so a plain name is needed.",
            "Use letters, digits, spaces, dots, '-' and '_'.",
        )
    return name.rstrip(" .")


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):  # a loop of links, or no name at all
        raise UserError(f"'{path.name}' cannot be read as a folder.") from None


def _is_inside(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(_resolved(folder)) for folder in folders)
