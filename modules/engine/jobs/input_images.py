"""The pictures that requests bring along: one file for each, however many jobs have it."""

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
    """A folder of pictures, each named by the hash of its pixels. Thread-safe.

    Args:
        folder: Made when the first picture comes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()  # on their way into the store

    def hold(self, images: Mapping[str, ImageField]) -> dict[str, str]:
        """Write pictures and return the names of their files, by the keys of `pictures`.

        They stay until `release`: by then whoever refers to them has been stored.

        Raises:
            OSError: the disk is full, read-only or out of reach; nothing is held.
        """
        names = {key: _name(picture) for key, picture in images.items()}
        with self._lock:
            self._held.update(names.values())
        try:
            for key, picture in images.items():
                self._write(names[key], picture)
        except OSError:
            self.release(names.values())
            raise
        return names

    def release(self, names: Iterable[str]) -> None:
        """Hold pictures no longer."""
        with self._lock:
            self._held.subtract(names)
            self._held += Counter()  # forgets the zeros

    def read(self, name: str) -> ImageField:
        """Return a picture.

        Raises:
            NotFound: it is no longer kept, or its file is damaged.
        """
        gone = NotFound("A picture of this job is no longer kept.", "Send the job again.")
        try:
            with Image.open(self.folder / name) as image:
                picture = ImageField(image.size, image.tobytes(), image.mode)
        except (OSError, ValueError, SyntaxError) as error:
            raise gone from error
        if _name(picture) != name:
            raise gone
        return picture

    def drop(self, names: Iterable[str]) -> None:
        """Delete pictures, but for those that are being stored for another job."""
        with self._lock:
            for name in names:
                if name not in self._held:
                    _delete(self.folder / name)

    def prune(self, names: Iterable[str]) -> None:
        """Delete what a stopped server left that no job refers to."""
        if self.folder.is_dir():
            self.drop({path.name for path in self.folder.iterdir()} - set(names))

    def _write(self, name: str, image: ImageField) -> None:
        path = self.folder / name
        if path.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with open_writer(path) as file:
            # Not packed: of a photo that would take a second between Generate and the device.
            image.to_pil().save(file, format="TIFF")


def _name(picture: ImageField) -> str:
    digest = hashlib.sha256(f"{picture.mode} {picture.size} ".encode())
    digest.update(picture.pixels)
    return f"{digest.hexdigest()}.tiff"


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s could not be deleted: %s.", path.name, error)
