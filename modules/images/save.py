"""Saves images atomically and never overwrites a file."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO

from PIL import Image

from modules.core.atomic import open_part, open_writer
from modules.core.errors import StorageError
from modules.images.filename import (
    DEFAULT_PATTERN,
    Destination,
    FilenameTokens,
    fill_pattern,
    next_file_number,
    output_folder,
)
from modules.images.formats import FILE_FORMATS, FileFormat, choose_format
from modules.images.metadata import NO_TEXT, PARAMETERS_KEY, FileText, read_metadata
from modules.params.settings.saving import GridSettings, SavingSettings

DEFAULTS = SavingSettings()


class ImageStore:
    """The outputs folder. One per process; safe to call from several threads.

    Args:
        outputs: The folder that holds one folder per task, such as `txt2img-images`.
        file_formats: The formats by the values of `samples_format` and `grid_format`.
    """

    def __init__(
        self, outputs: Path, file_formats: Mapping[str, FileFormat] = FILE_FORMATS
    ) -> None:
        self.outputs = outputs
        self._file_formats = file_formats
        self._lock = threading.Lock()

    def save(
        self,
        image: Image.Image,
        infotext: str | FileText,
        tokens: FilenameTokens,
        settings: SavingSettings = DEFAULTS,
        destination: Destination | None = None,
        on_path: Callable[[Path], object] | None = None,
    ) -> Path:
        """Write an image with its infotext under an unused name and return its path.

        Args:
            image: The image.
            infotext: Its generation parameters; with other texts for the formats that hold several.
            tokens: Values for the filename patterns.
            settings: Filename patterns and file format.
            destination: Folder and name to use instead of the patterns.
            on_path: Called with the path just before there is a file; again if another process takes the name first.

        Raises:
            StorageError: the disk is full, read-only or unreachable.
        """
        if destination is not None:
            target = _Target(self.outputs / destination.folder, destination.stem, is_numbered=False)
            return self._save(image, infotext, target, settings, settings.samples_format, on_path)
        pattern = settings.directories_filename_pattern if settings.save_to_dirs else ""
        folder = output_folder(self.outputs, pattern, tokens)
        stem = fill_pattern(settings.samples_filename_pattern or DEFAULT_PATTERN, tokens)
        target = _Target(folder, stem, is_numbered=settings.save_images_add_number)
        return self._save(image, infotext, target, settings, settings.samples_format, on_path)

    def save_grid(
        self,
        image: Image.Image,
        infotext: str,
        tokens: FilenameTokens,
        settings: SavingSettings,
        grids: GridSettings,
        on_path: Callable[[Path], object] | None = None,
    ) -> Path:
        """Write the grid of a job's images as `grid-0000.png` in the folder of grids and return its path.

        Args:
            image: The grid.
            infotext: Its generation parameters.
            tokens: Values for the filename patterns.
            settings: Filename patterns.
            grids: File format, and whether the name contains the seed and the prompt.
            on_path: Called with the path just before there is a file; again if another process takes the name first.

        Raises:
            StorageError: the disk is full, read-only or unreachable.
        """
        pattern = settings.directories_filename_pattern if settings.save_to_dirs else ""
        relative = output_folder(self.outputs, pattern, tokens).relative_to(self.outputs)
        folder = self.outputs.joinpath(f"{tokens.folder_prefix}-grids", *relative.parts[1:])
        stem = (
            fill_pattern("[seed]-[prompt_spaces]", tokens) if grids.grid_extended_filename else ""
        )
        target = _Target(folder, stem, True, "grid-", 4)
        return self._save(image, infotext, target, settings, grids.grid_format, on_path)

    def _save(
        self,
        image: Image.Image,
        infotext: str | FileText,
        target: _Target,
        settings: SavingSettings,
        requested: str,
        on_path: Callable[[Path], object] | None = None,
    ) -> Path:
        text = FileText(infotext) if isinstance(infotext, str) else infotext
        embedded = text if settings.enable_pnginfo else NO_TEXT
        extension = choose_format(requested, image, embedded.infotext, self._file_formats)

        def write(file: IO[bytes]) -> None:
            self._file_formats[extension].write(file, image, embedded, settings)

        try:
            with self._lock:
                target.folder.mkdir(parents=True, exist_ok=True)
                path = _write_new(write, target, extension, on_path, with_text=settings.save_txt)
            if settings.save_txt:
                with open_writer(path.with_suffix(".txt"), overwrite=False) as file:
                    file.write(text.infotext.encode("utf-8", errors="replace"))
            return path
        except OSError as error:
            raise StorageError(
                f"The picture could not be saved in {target.folder}: {error.strerror or error}.",
                "Free some space or check the folder's permissions; --data-dir sets another location.",
            ) from error


@dataclass(frozen=True)
class _Target:
    folder: Path
    stem: str
    is_numbered: bool
    prefix: str = ""
    digits: int = 5

    def candidate_names(self, extension: str) -> Iterator[str]:
        """Yield file names in order of preference: numbered after the folder's largest number, or "7", "7-1", "7-2"."""
        if self.is_numbered or not self.stem:
            for number in count(next_file_number(self.folder)):
                name = f"{self.prefix}{number:0{self.digits}d}"
                yield f"{name}-{self.stem}.{extension}" if self.stem else f"{name}.{extension}"
        yield f"{self.prefix}{self.stem}.{extension}"
        for number in count(1):
            yield f"{self.prefix}{self.stem}-{number}.{extension}"


def _write_new(
    write: Callable[[IO[bytes]], None],
    target: _Target,
    extension: str,
    on_path: Callable[[Path], object] | None,
    *,
    with_text: bool,
) -> Path:
    """Write a file under the first name that is unused, also for the text next to it if there will be one; return its path."""
    with open_part(target.folder) as part:
        write(part.file)
        for name in target.candidate_names(extension):
            path = target.folder / name
            if path.exists():  # `on_path` must not be called with the file of another image
                continue
            if with_text and path.with_suffix(".txt").exists():
                continue
            if on_path is not None:
                on_path(path)
            with contextlib.suppress(FileExistsError):
                part.create(path)
                return path
    raise AssertionError("candidate_names never ends")


def read_infotext(path: Path) -> str:
    """Return the infotext in a saved image, or an empty string."""
    return read_metadata(path.read_bytes()).items.get(PARAMETERS_KEY, "")


def read_image(path: Path) -> Image.Image:
    """Return a saved image in RGB.

    Raises:
        StorageError: the file is missing or unreadable.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except OSError as error:
        raise StorageError(
            f"The picture {path} cannot be read: {error.strerror or error}."
        ) from error


def delete_older_files(folder: Path, seconds: float) -> None:
    """Delete the files in a folder tree that were last modified more than `seconds` ago."""
    cutoff = time.time() - seconds
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # another thread was first
            if path.is_file() and path.stat().st_mtime < cutoff:
                path.unlink()
