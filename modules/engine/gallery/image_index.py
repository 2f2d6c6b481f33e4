"""The gallery's SQLite file: a row and a thumbnail per image. It is a cache: when anything is odd, it is made anew."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.core.private import close_to_others, create_own_file
from modules.engine.gallery.image_search import ImageSearch

logger = logging.getLogger(__name__)

_VERSION = 1
_LOCK_TIMEOUT_S = 5
# The long texts are last, so that counting and grouping need not read them.
_SCHEMA = """
    CREATE TABLE images (
        id TEXT PRIMARY KEY, root TEXT NOT NULL, path BLOB NOT NULL, folder TEXT NOT NULL, name TEXT NOT NULL,
        mtime_ns INTEGER NOT NULL, bytes INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
        is_favourite INTEGER NOT NULL, is_trashed INTEGER NOT NULL,
        model TEXT NOT NULL, sampler TEXT NOT NULL, seed TEXT NOT NULL,
        prompt TEXT NOT NULL, infotext TEXT NOT NULL, words TEXT NOT NULL);
    CREATE INDEX images_by_time ON images (is_trashed, mtime_ns, id);
    CREATE TABLE thumbnails (id TEXT PRIMARY KEY, data BLOB NOT NULL);
"""
_LISTED = "id, root, folder, name, mtime_ns, width, height, is_favourite, prompt"


@dataclass(frozen=True)
class IndexPage:
    """Some rows of a search.

    Args:
        rows: Columns by name.
        cursor: Asks for the rows that follow; empty at the end.
        total: How many rows the search has; -1 for any page but the first.
    """

    rows: list[dict[str, Any]]
    cursor: str
    total: int


class ImageIndex:
    """The rows of all images; every method may be called from any thread.

    Args:
        path: The file; its folder is created when it is first used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def known_files(self) -> dict[str, tuple[int, int]]:
        """Return modification time and size by id."""
        rows = self._select("SELECT id, mtime_ns, bytes FROM images")
        return {row["id"]: (row["mtime_ns"], row["bytes"]) for row in rows}

    def put(self, row: Mapping[str, object], thumbnail: bytes) -> None:
        """Write an image's row and thumbnail."""
        columns = ", ".join(row)
        marks = ", ".join("?" for _ in row)
        self._write(
            [
                (f"INSERT OR REPLACE INTO images ({columns}) VALUES ({marks})", [*row.values()]),
                ("INSERT OR REPLACE INTO thumbnails VALUES (?, ?)", [row["id"], thumbnail]),
            ]
        )

    def forget(self, ids: Iterable[str]) -> None:
        """Delete rows and thumbnails."""
        self._write(
            [
                (f"DELETE FROM {table} WHERE id = ?", [image_id])
                for image_id in ids
                for table in ("images", "thumbnails")
            ]
        )

    def move(self, image_id: str, changes: Mapping[str, object]) -> None:
        """Change columns of a row, its id among them."""
        columns = ", ".join(f"{name} = ?" for name in changes)
        new_id = changes["id"]
        self._write(
            [
                ("DELETE FROM images WHERE id = ?", [new_id]),
                ("DELETE FROM thumbnails WHERE id = ?", [new_id]),
                (f"UPDATE images SET {columns} WHERE id = ?", [*changes.values(), image_id]),
                ("UPDATE thumbnails SET id = ? WHERE id = ?", [new_id, image_id]),
            ]
        )

    def set_favourite(self, ids: Collection[str], is_favourite: bool) -> None:
        """Mark rows as favourites or not."""
        query = "UPDATE images SET is_favourite = ? WHERE id = ?"
        self._write([(query, [int(is_favourite), image_id]) for image_id in ids])

    def find(self, image_id: str) -> dict[str, Any] | None:
        """Return all columns of an image, or None."""
        rows = self._select("SELECT * FROM images WHERE id = ?", [image_id])
        return dict(rows[0]) if rows else None

    def thumbnail(self, image_id: str) -> bytes | None:
        """Return an image's thumbnail, or None."""
        rows = self._select("SELECT data FROM thumbnails WHERE id = ?", [image_id])
        return rows[0]["data"] if rows else None

    def page(self, search: ImageSearch, cursor: str, limit: int) -> IndexPage:
        """Return the next rows of a search.

        Args:
            search: Which rows.
            cursor: Of the page before; empty for the first.
            limit: At most so many rows.

        Raises:
            UserError: the search cannot be read.
        """
        where, values = search.condition()
        total = -1
        if not cursor:
            total = self._select(f"SELECT count(*) AS n FROM images WHERE {where}", values)[0]["n"]
        time, _, image_id = cursor.partition(".")
        if cursor and time.isdecimal() and len(time) < 20:
            where += f" AND (mtime_ns, id) {'>' if search.oldest_first else '<'} (?, ?)"
            values += [int(time), image_id]
        order = "ASC" if search.oldest_first else "DESC"
        query = f"SELECT {_LISTED} FROM images WHERE {where} ORDER BY mtime_ns {order}, id {order} LIMIT ?"
        rows = [dict(row) for row in self._select(query, [*values, limit])]
        last = rows[-1] if len(rows) == limit else None
        return IndexPage(rows, f"{last['mtime_ns']}.{last['id']}" if last else "", total)

    def facets(self, column: str, limit: int = 500) -> list[tuple[str, int]]:
        """Return the values of a column, outside the trash, and how often each occurs; most frequent first."""
        value = "width || 'x' || height" if column == "size" else column
        rows = self._select(
            f"SELECT {value} AS value, count(*) AS n FROM images WHERE is_trashed = 0 AND width > 0"
            " GROUP BY value ORDER BY n DESC, value LIMIT ?",
            [limit],
        )
        return [(row["value"], row["n"]) for row in rows if row["value"] or column == "folder"]

    def trashed_ids(self) -> list[str]:
        """Return the ids of all images in the trash."""
        return [row["id"] for row in self._select("SELECT id FROM images WHERE is_trashed = 1")]

    def counts(self) -> tuple[int, int]:
        """Return how many images there are outside the trash and in it."""
        rows = self._select(
            "SELECT is_trashed, count(*) AS n FROM images WHERE width > 0 GROUP BY is_trashed"
        )
        found = {row["is_trashed"]: row["n"] for row in rows}
        return found.get(0, 0), found.get(1, 0)

    def _select(self, query: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        with self._lock:
            try:
                return self._open().execute(query, values).fetchall()
            except sqlite3.DatabaseError as error:
                self._start_over(error)
                return self._open().execute(query, values).fetchall()

    def _write(self, statements: Sequence[tuple[str, Sequence[object]]]) -> None:
        with self._lock:
            try:
                self._write_once(statements)
            except sqlite3.DatabaseError as error:
                self._start_over(error)
                self._write_once(statements)

    def _write_once(self, statements: Sequence[tuple[str, Sequence[object]]]) -> None:
        connection = self._open()
        with connection:
            for query, values in statements:
                connection.execute(query, values)

    def _start_over(self, error: sqlite3.DatabaseError) -> None:
        """Delete a damaged file; the next scan fills a new one.

        Raises:
            sqlite3.DatabaseError: the file is intact: the disk is full or out of reach, or another server writes.
        """
        if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
            raise error
        logger.warning(
            "The gallery's index %s is damaged (%s); it is made anew.", self._path, error
        )
        self.close()
        self._delete()

    def _delete(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            close_to_others(self._path.parent)
            try:
                self._connection = self._connect()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                self._start_over(error)
                self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        create_own_file(self._path)
        connection = sqlite3.connect(self._path, timeout=_LOCK_TIMEOUT_S, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")  # what a power cut damages is made anew
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise sqlite3.DatabaseError(f"its version is {version}")
            if version == 0:
                connection.executescript(
                    f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT"
                )
        except BaseException:
            connection.close()
            raise
        return connection
