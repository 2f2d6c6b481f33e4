"""Saves a picture whole or not at all, and never over another file."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO

from PIL import Image

from modules.core.atomic import open_part
from modules.core.errors import StorageError
from modules.images.filename import (
    DEFAULT_PATTERN,
    Destination,
    FilenameTokens,
    fill_pattern,
    next_file_number,
    output_folder,
)
from modules.images.formats import FILE_FORMATS, choose_format
from modules.images.metadata import PARAMETERS_KEY, read_metadata
from modules.params.settings.saving import GridSettings, ImageFormat, SavingSettings

DEFAULTS = SavingSettings()


class ImageStore:
    """The outputs folder. One per process; safe to call from several threads.

    Args:
        outputs: The folder that holds one folder per kind of picture.
    """

    def __init__(self, outputs: Path) -> None:
        self.outputs = outputs
        self._lock = threading.Lock()

    def save(
        self,
        image: Image.Image,
        infotext: str,
        tokens: FilenameTokens,
        settings: SavingSettings = DEFAULTS,
        destination: Destination | None = None,
    ) -> Path:
        """Write a picture with its infotext, under a name that was free, and return its path.

        Args:
            image: The picture.
            infotext: How it was made.
            tokens: Fills the patterns of names.
            settings: Patterns and format.
            destination: Another folder and name than the patterns say.

        Raises:
            StorageError: the disk is full, read-only or out of reach.
        """
        if destination is not None:
            place = _Place(self.outputs / destination.folder, destination.stem, is_counted=False)
            return self._save(image, infotext, place, settings, settings.samples_format)
        pattern = settings.directories_filename_pattern if settings.save_to_dirs else ""
        folder = output_folder(self.outputs, pattern, tokens)
        stem = fill_pattern(settings.samples_filename_pattern or DEFAULT_PATTERN, tokens)
        place = _Place(folder, stem, is_counted=settings.save_images_add_number)
        return self._save(image, infotext, place, settings, settings.samples_format)

    def save_grid(
        self,
        image: Image.Image,
        infotext: str,
        tokens: FilenameTokens,
        settings: SavingSettings,
        grids: GridSettings,
    ) -> Path:
        """Write all pictures of a job in one, as `grid-0000.png` in a folder of grids, and return its path.

        Raises:
            StorageError: the disk is full, read-only or out of reach.
        """
        pattern = settings.directories_filename_pattern if settings.save_to_dirs else ""
        inside = output_folder(self.outputs, pattern, tokens).relative_to(self.outputs)
        folder = self.outputs.joinpath(f"{tokens.folder_prefix}-grids", *inside.parts[1:])
        stem = (
            fill_pattern("[seed]-[prompt_spaces]", tokens) if grids.grid_extended_filename else ""
        )
        return self._save(
            image, infotext, _Place(folder, stem, True, "grid-", 4), settings, grids.grid_format
        )

    def _save(
        self,
        image: Image.Image,
        infotext: str,
        place: _Place,
        settings: SavingSettings,
        wanted: ImageFormat,
    ) -> Path:
        text = infotext if settings.enable_pnginfo else ""
        ending = choose_format(wanted, image, text)

        def write(file: IO[bytes]) -> None:
            FILE_FORMATS[ending].write(file, image, text, settings)

        try:
            with self._lock:
                place.folder.mkdir(parents=True, exist_ok=True)
                path = _write_new(write, place, ending)
            if settings.save_txt:
                path.with_suffix(".txt").write_text(infotext, encoding="utf-8")
            return path
        except OSError as error:
            raise StorageError(
                f"The picture could not be saved in {place.folder}: {error.strerror or error}.",
                "Free some space or check the folder's permissions; --data-dir names another place.",
            ) from error


@dataclass(frozen=True)
class _Place:
    folder: Path
    stem: str
    is_counted: bool
    prefix: str = ""
    digits: int = 5

    def names(self, ending: str) -> Iterator[str]:
        """Yield names, the first one wanted first: counted from the folder's largest number, or by themselves."""
        if self.is_counted or not self.stem:
            for number in count(next_file_number(self.folder)):
                name = f"{self.prefix}{number:0{self.digits}d}"
                yield f"{name}-{self.stem}.{ending}" if self.stem else f"{name}.{ending}"
        yield f"{self.prefix}{self.stem}.{ending}"
        for number in count(1):
            yield f"{self.prefix}{self.stem}-{number}.{ending}"


def _write_new(write: Callable[[IO[bytes]], None], place: _Place, ending: str) -> Path:
    """Write a file under the first name that is free."""
    with open_part(place.folder) as part:
        write(part.file)
        for name in place.names(ending):
            with contextlib.suppress(FileExistsError):
                part.create(place.folder / name)
                return place.folder / name
    raise AssertionError("names never end")


def read_infotext(path: Path) -> str:
    """Return the infotext in a saved picture, or an empty string."""
    return read_metadata(path.read_bytes()).items.get(PARAMETERS_KEY, "")


def read_image(path: Path) -> Image.Image:
    """Return a saved picture as it is seen, in RGB.

    Raises:
        StorageError: it is no longer there.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except OSError as error:
        raise StorageError(
            f"The picture {path} cannot be read: {error.strerror or error}."
        ) from error


def delete_older_files(folder: Path, seconds: float) -> None:
    """Remove the files below a folder that were written longer ago."""
    oldest = time.time() - seconds
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # another thread was first
            if path.is_file() and path.stat().st_mtime < oldest:
                path.unlink()
