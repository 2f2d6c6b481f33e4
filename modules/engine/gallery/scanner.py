"""The gallery's background thread: finds new, changed and removed image files and keeps the index up to date."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from modules.core.background import give_way
from modules.core.text import escape
from modules.engine.gallery.favourites import Favourites
from modules.engine.gallery.image_file import read_image_file
from modules.engine.gallery.image_index import ImageIndex
from modules.engine.gallery.roots import TRASH, Root
from modules.infotext.foreign.json_formats import JsonFormat

logger = logging.getLogger(__name__)

_MIN_PAUSE_S = 2  # between two scans, however often someone looks
_SLEEP_BETWEEN_FILES_S = 0.001  # lets other threads of this process run


@dataclass(frozen=True)
class ScanState:
    """How far the scanner is.

    Args:
        revision: Grows with every change of the index.
        waiting: Files that it has found and not yet read.
        has_scanned: Whether it has looked through all folders once.
        remark: A sentence about what cannot be shown; else empty.
    """

    revision: int = 0
    waiting: int = 0
    has_scanned: bool = False
    remark: str = ""


@dataclass(frozen=True)
class _Found:
    root: Root
    path: bytes
    state: os.stat_result


class Scanner:
    """Scans the folders whenever it is woken.

    Args:
        index: Receives the rows.
        roots: Returns the folders and a remark, see `list_roots`.
        favourites: What is marked.
        json_formats: Formats of programs that write JSON.

    Attributes:
        moving: Held while files are listed, and by whoever moves some.
    """

    def __init__(
        self,
        index: ImageIndex,
        roots: Callable[[], tuple[list[Root], str]],
        favourites: Favourites,
        json_formats: Iterable[JsonFormat],
    ) -> None:
        self.moving = threading.RLock()
        self._index = index
        self._roots = roots
        self._favourites = favourites
        self._json_formats = json_formats
        self._state = ScanState()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> ScanState:
        """Return how far it is."""
        return self._state

    def start(self) -> None:
        """Start the thread, once; it scans at once."""
        if self._thread is None:
            self._wake.set()
            self._thread = threading.Thread(target=self._run, name="gallery", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop after the file that is being read."""
        self._stopped.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(1)

    def wake(self) -> None:
        """Have the folders scanned soon."""
        self._wake.set()

    def mark_changed(self) -> None:
        """Say that rows have changed."""
        self._set(revision=self._state.revision + 1)

    def scan(self) -> None:
        """Bring the index up to date now."""
        roots, remark = self._roots()
        self._set(remark=remark)
        with self.moving:
            found = _list_files(roots)
            known = self._index.known_files()
            away = {root.key for root in roots if not root.folder.is_dir()}
            gone = list(known.keys() - found.keys())
            if away:  # a disk that is not there now: its thumbnails are kept
                gone = [image_id for image_id in gone if self._root_of(image_id) not in away]
            if gone:
                self._index.forget(gone)
                self.mark_changed()
        new = [
            (image_id, file)
            for image_id, file in found.items()
            if known.get(image_id) != (file.state.st_mtime_ns, file.state.st_size)
        ]
        new.sort(key=lambda pair: pair[1].state.st_mtime_ns, reverse=True)
        marked = self._favourites.read()
        for number, (image_id, file) in enumerate(new):
            if self._stopped.is_set():
                return
            self._set(waiting=len(new) - number)
            self._add(image_id, file, marked)
            time.sleep(_SLEEP_BETWEEN_FILES_S)
        self._set(waiting=0, has_scanned=True)

    def _root_of(self, image_id: str) -> str:
        row = self._index.find(image_id)
        return row["root"] if row else ""

    def _add(self, image_id: str, file: _Found, marked: frozenset[str]) -> None:
        full_path = file.root.folder / os.fsdecode(file.path)
        try:
            content = read_image_file(full_path, self._json_formats)
        except OSError:  # moved or removed meanwhile
            return
        place = place_of(file.root, file.path)
        row = {
            "id": image_id,
            "root": file.root.key,
            "path": file.path,
            **place,
            "mtime_ns": file.state.st_mtime_ns,
            "bytes": file.state.st_size,
            "width": content.size[0],
            "height": content.size[1],
            "is_favourite": int(favourite_line(file.root, file.path) in marked),
            "model": content.model,
            "sampler": content.sampler,
            "seed": content.seed,
            "prompt": content.prompt,
            "infotext": content.infotext,
            "words": content.words,
        }
        self._index.put(row, content.thumbnail)
        self.mark_changed()

    def _set(self, **changes: Any) -> None:  # fields of ScanState
        self._state = replace(self._state, **changes)

    def _run(self) -> None:
        give_way()
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._stopped.is_set():
                return
            try:
                self.scan()
            except (OSError, sqlite3.Error) as error:
                sentence = f"The gallery cannot be brought up to date: {error}."
                if sentence != self._state.remark:
                    logger.warning("%s", sentence)
                self._set(remark=escape(sentence), waiting=0)
            self._stopped.wait(_MIN_PAUSE_S)


def place_of(root: Root, path: bytes) -> dict[str, object]:
    """Return the columns that follow from where a file is."""
    parts = escape(os.fsdecode(path)).split("/")
    is_trashed = not root.is_read_only and parts[0] == TRASH
    folders = parts[1:-1] if is_trashed else parts[:-1]
    folder = "/".join(([root.title] if root.title else []) + folders)
    return {"folder": folder, "name": parts[-1], "is_trashed": int(is_trashed)}


def favourite_line(root: Root, path: bytes) -> str:
    """Return the line of an image in the file of favourites."""
    text = escape(os.fsdecode(path)).replace("\n", "\\n")
    return f"{root.key}/{text}"


def _list_files(roots: Iterable[Root]) -> dict[str, _Found]:
    return {
        root.image_id(path): _Found(root, path, state)
        for root in roots
        for path, state in root.files()
    }
