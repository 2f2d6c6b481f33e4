"""Validates a batch's input and output folders: the page may only use a few folders."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from modules.core.errors import NotFound, UserError
from modules.core.paths import Paths
from modules.core.text import find_path

IMAGE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff", ".heic")
)
MAX_FILES = 10_000
_FOLDER_NAME = re.compile(r"[^\W_][\w .-]{0,79}")


def list_input_images(text: str, paths: Paths) -> list[Path]:
    """Return the images directly inside a folder of the server, sorted by name.

    Args:
        text: The folder's path; a relative path starts in the data folder.
        paths: Lists the allowed input folders; links are followed before the check.

    Raises:
        UserError: the folder is not allowed, or contains too many images.
        NotFound: there is no such folder, or no image in it.
    """
    folder = _resolve(find_path(str(paths.data / text.strip())))
    if not _is_inside(folder, paths.input_folders):
        allowed = " or ".join(str(allowed_folder) for allowed_folder in paths.input_folders)
        raise UserError(
            f"'{text}' is not in a folder that a batch may read; those are {allowed}.",
            "--gradio-allowed-path adds another.",
        )
    if not folder.is_dir():
        raise NotFound(f"There is no folder '{text}'.")
    files = sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()
    )
    images = [file for file in files if _is_inside(_resolve(file), paths.input_folders)]
    if not images:
        raise NotFound(f"There is no picture in the folder '{text}'.")
    if len(images) > MAX_FILES:
        raise UserError(f"'{text}' contains {len(images)} pictures; the limit is {MAX_FILES}.")
    return images


def validate_output_folder(name: str) -> str:
    """Return the validated name of a folder directly inside outputs; "" means the usual folder.

    Raises:
        UserError: it is not a plain name.
    """
    name = name.strip()
    if name and not _FOLDER_NAME.fullmatch(name):
        raise UserError(
            f"The output folder is '{name}'; it is created inside outputs, so a plain name is needed.",
            "Use letters, digits, spaces, dots, '-' and '_'.",
        )
    return name.rstrip(" .")


def _resolve(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):  # a loop of links, or not a valid path
        raise UserError(f"'{path.name}' cannot be read as a folder.") from None


def _is_inside(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(_resolve(folder)) for folder in folders)
