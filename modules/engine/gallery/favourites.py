"""The favourites: a text file next to the settings, which outlives the index."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from modules.core.atomic import write_text
from modules.core.errors import StorageError
from modules.core.user_files import decode_text, read_or_move_aside


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
            return _parse(decode_text(self._path.read_bytes())[0])
        except OSError:
            return frozenset()

    def change(self, lines: Iterable[str], is_favourite: bool) -> None:
        """Add or remove lines.

        Raises:
            StorageError: the file cannot be written.
        """
        chosen = frozenset(lines)
        with self._lock:
            try:
                known = read_or_move_aside(self._path, _parse) or frozenset()
                changed = known | chosen if is_favourite else known - chosen
                if changed == known:
                    return
                write_text(self._path, "".join(f"{line}\n" for line in sorted(changed)))
            except OSError as error:
                raise StorageError(
                    f"The favourites cannot be written to {self._path}: {error.strerror or error}.",
                    "Free some space or check the permissions of the folder.",
                ) from error


def _parse(text: str) -> frozenset[str]:
    return frozenset(text.splitlines())
