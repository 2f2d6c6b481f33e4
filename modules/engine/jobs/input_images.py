"""Input images of stored requests: one file per distinct image, however many jobs use it."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from PIL import Image

from modules.core.atomic import open_writer
from modules.core.errors import NotFound
from modules.params.image import ImageField

logger = logging.getLogger(__name__)


class InputImageStore:
    """A folder of images, each named by the hash of its pixels. Thread-safe.

    Args:
        folder: Created with the first image.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._hold_counts: Counter[str] = Counter()  # being stored by a job

    def hold(self, images: Mapping[str, ImageField]) -> dict[str, str]:
        """Write images and return their file names, by the keys of `images`.

        They are not deleted before `release`; by then the job that refers to them has been stored.

        Raises:
            OSError: the disk is full, read-only or unavailable; nothing is held.
        """
        names = {key: _file_name(image) for key, image in images.items()}
        with self._lock:
            self._hold_counts.update(names.values())
        try:
            for key, image in images.items():
                self._write(names[key], image)
        except OSError:
            self.release(names.values())
            raise
        return names

    def release(self, names: Iterable[str]) -> None:
        """Release held images."""
        with self._lock:
            self._hold_counts.subtract(names)
            self._hold_counts += Counter()  # removes the zeros

    def read(self, name: str) -> ImageField:
        """Return an image.

        Raises:
            NotFound: it is no longer stored, or its file is damaged.
        """
        missing = NotFound("A picture of this job is no longer stored.", "Send the job again.")
        try:
            with Image.open(self.folder / name) as file:
                image = ImageField(file.size, file.tobytes(), file.mode)
        except (OSError, ValueError, SyntaxError) as error:
            raise missing from error
        if _file_name(image) != name:
            raise missing
        return image

    def drop(self, names: Iterable[str]) -> None:
        """Delete images, except those that are being stored for another job."""
        with self._lock:
            for name in names:
                if name not in self._hold_counts:
                    _delete(self.folder / name)

    def prune(self, names: Iterable[str]) -> None:
        """Delete all files except those of these names: leftovers of a stopped server that no job refers to."""
        if self.folder.is_dir():
            self.drop({path.name for path in self.folder.iterdir()} - set(names))

    def _write(self, name: str, image: ImageField) -> None:
        path = self.folder / name
        if path.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with open_writer(path) as file:
            # Uncompressed: compressing a photo would take a second between Generate and the device.
            image.to_pil().save(file, format="TIFF")


def _file_name(image: ImageField) -> str:
    digest = hashlib.sha256(f"{image.mode} {image.size} ".encode())
    digest.update(image.pixels)
    return f"{digest.hexdigest()}.tiff"


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s could not be deleted: %s.", path.name, error)
