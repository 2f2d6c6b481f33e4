"""Saves a picture whole or not at all, and never over another file."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from modules.core.errors import StorageError
from modules.images.filename import Destination, counted_names, day_folder, next_number
from modules.images.metadata import png_info

_PARTIAL = ".part"


class ImageStore:
    """The outputs folder. One per process; safe to call from several threads.

    Args:
        outputs: The folder that holds one folder per task.
    """

    def __init__(self, outputs: Path) -> None:
        self.outputs = outputs
        self._lock = threading.Lock()

    def save(
        self,
        image: Image.Image,
        infotext: str,
        task: str,
        seed: int,
        destination: Destination | None = None,
    ) -> Path:
        """Write a PNG with the infotext in its `parameters` chunk and return its path.

        Args:
            image: The picture.
            infotext: How it was made.
            task: Names the folder, below it one for the day.
            seed: Part of the file's name.
            destination: Another folder and name.

        Raises:
            StorageError: the disk is full, read-only or out of reach.
        """
        folder = (
            self.outputs / destination.folder
            if destination
            else day_folder(self.outputs, task, date.today())
        )
        info = png_info(infotext)
        try:
            with self._lock:
                folder.mkdir(parents=True, exist_ok=True)
                names = (
                    destination.names("png")
                    if destination
                    else counted_names(next_number(folder), seed, "png")
                )
                return _write_new(image, info, folder, names)
        except OSError as error:
            raise StorageError(
                f"The picture could not be saved in {folder}: {error.strerror or error}.",
                "Free some space or check the folder's permissions; --data-dir names another place.",
            ) from error


def _write_new(image: Image.Image, info: PngInfo, folder: Path, names: Iterator[str]) -> Path:
    """Write beside the goal, flush to the disk, then link to the first free name."""
    partial = folder / f".{os.getpid()}-{threading.get_ident()}{_PARTIAL}"
    try:
        with partial.open("wb") as file:
            image.save(file, format="PNG", pnginfo=info)
            file.flush()
            os.fsync(file.fileno())
        for name in names:
            with contextlib.suppress(FileExistsError):
                _move_new(partial, folder / name)
                return folder / name
        raise FileExistsError("every name is taken")
    finally:
        partial.unlink(missing_ok=True)


def _move_new(source: Path, path: Path) -> None:
    """Move a file to a name that must be free.

    Raises:
        FileExistsError: the name is taken.
    """
    try:
        os.link(source, path)  # fails when the name is taken, unlike a rename
    except FileExistsError:
        raise
    except OSError:  # FAT and some network disks know no hard links
        path.touch(exist_ok=False)
        source.replace(path)


def read_infotext(path: Path) -> str:
    """Return the `parameters` text of a PNG, or an empty string."""
    with Image.open(path) as image:
        return str(image.info.get("parameters", ""))
