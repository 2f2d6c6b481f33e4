"""The favourites: a text file beside the settings, which outlives the index."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from modules.core.atomic import write_text
from modules.core.errors import StorageError


class Favourites:
    """The images that a person marked, one line each: the key of the root and the path in it.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def read(self) -> frozenset[str]:
        """Return the lines of the file; none if there is no file."""
        try:
            return frozenset(self._path.read_text(encoding="utf-8", errors="replace").splitlines())
        except OSError:
            return frozenset()

    def change(self, lines: Iterable[str], is_favourite: bool) -> None:
        """Add or remove lines.

        Raises:
            StorageError: the file cannot be written.
        """
        with self._lock:
            known = set(self.read())
            changed = known.union(lines) if is_favourite else known.difference(lines)
            if changed == known:
                return
            try:
                write_text(self._path, "".join(f"{line}\n" for line in sorted(changed)))
            except OSError as error:
                raise StorageError(
                    f"The favourites cannot be written to {self._path}: {error.strerror or error}.",
                    "Free some space or check the permissions of the folder.",
                ) from error
