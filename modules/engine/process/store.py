"""Holds the documents of the latest recorded processes, so that a page gets them once, by id, and again when reloaded."""

from __future__ import annotations

import json
import secrets
import tempfile
import threading
from pathlib import Path

from modules.core.errors import NotFound, UserError
from modules.engine.process.documents import Document, read_images
from modules.images.animation import available_formats, write_animation

_LIMIT_BYTES = 128 * 2**20


class ProcessStore:
    """Documents in memory, as JSON; the oldest are dropped. Thread-safe.

    Args:
        limit_bytes: The size of all together; the latest one is kept whatever its size.
    """

    def __init__(self, limit_bytes: int = _LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._documents: dict[str, bytes] = {}  # oldest first

    def add(self, document: Document) -> str:
        """Keep a document and return its id."""
        data = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
        process_id = secrets.token_urlsafe(12)
        with self._lock:
            self._documents[process_id] = data
            while self._size() > self._limit_bytes and len(self._documents) > 1:
                del self._documents[next(iter(self._documents))]
        return process_id

    def _size(self) -> int:
        return sum(len(data) for data in self._documents.values())

    def read(self, process_id: str) -> bytes:
        """Return a document as JSON.

        Raises:
            NotFound: the server was restarted, or later ones have taken its place.
        """
        with self._lock:
            data = self._documents.get(process_id)
        if data is None:
            raise NotFound("The server no longer has these steps.", "Show the process again.")
        return data

    def make_animation(self, process_id: str, track: int, view: str, format: str) -> bytes:
        """Return one view of a run as the file of an animation.

        Args:
            process_id: The document's id.
            track: The run's index in the document.
            view: Name of the view.
            format: As in ANIMATION_FORMATS.

        Raises:
            NotFound: there is no such document.
            UserError: it has no such run or view, or this machine cannot write the format.
            StorageError: the animation could not be written.
        """
        images = read_images(json.loads(self.read(process_id)), track, view)
        if not images:
            raise UserError(f"There is no view '{view}' of run {track + 1}.", "Choose another one.")
        if format not in available_formats():
            raise UserError(
                f"This machine cannot write '{format}'.",
                f"Choose {' or '.join(available_formats())}.",
            )
        largest = max((image.size for image in images), key=lambda size: size[0] * size[1])
        frames = [image if image.size == largest else image.resize(largest) for image in images]
        with tempfile.TemporaryDirectory() as folder:
            return write_animation(frames, format, Path(folder) / "animation").read_bytes()
