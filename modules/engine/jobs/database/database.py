"""The job store's database: opened when first used, thread-safe, and never a reason for a job to fail."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from modules.core.text import escape
from modules.engine.jobs.database.file import OpenedFile, open_database
from modules.engine.jobs.database.migrations import MIGRATIONS, Migration

logger = logging.getLogger(__name__)


class Database:
    """Reads and writes rows. Write errors are reported once, and the program continues without them.

    Args:
        path: The file; its folder is created.
        recover: Called once with the connection to a file that outlives the server, before anything else is done.
        migrations: Make the tables of this program's version.
    """

    def __init__(
        self,
        path: Path,
        recover: Callable[[sqlite3.Connection], None],
        migrations: Sequence[Migration] = MIGRATIONS,
    ) -> None:
        self.lock = threading.RLock()
        self._path = path
        self._recover = recover
        self._migrations = migrations
        self._file: OpenedFile | None = None
        self._write_warning = ""
        self._is_closed = False

    def open(self) -> OpenedFile:
        """Return the opened file."""
        with self.lock:
            if self._file is None:
                self._file = open_database(self._path, self._migrations)
                if self._file.is_durable:
                    self._recover(self._file.connection)
            return self._file

    def close(self) -> None:
        """Close the file; later rows are not written."""
        with self.lock:
            self._is_closed = True
            if self._file is not None:
                self._file.connection.close()

    def is_durable(self) -> bool:
        """Return whether rows outlive the server."""
        with self.lock:
            return not self._is_closed and self.open().is_durable

    def warning(self) -> str:
        """Return a warning about the file for the user; empty if there is no problem."""
        with self.lock:
            return self.open().warning or self._write_warning

    def warn_once(self, error: Exception) -> None:
        """Warn the user that something could not be written; only the first time."""
        if not self._write_warning:
            self._write_warning = (
                f"The queue cannot be stored: {error}. Jobs still run, but are lost at a restart."
            )
            logger.warning("%s", self._write_warning)

    def select(self, query: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """Return the rows of a query; none once the file is closed or cannot be read."""
        with self.lock:
            if self._is_closed:
                return []
            file = self.open()
            try:
                return file.connection.execute(query, _bindable(values)).fetchall()
            except (sqlite3.Error, ValueError, OverflowError) as error:
                self.warn_once(error)
                return []

    def select_column(self, query: str, values: Sequence[object] = ()) -> list[str]:
        """Return the first column of a query."""
        return [row[0] for row in self.select(query, values)]

    def insert(self, table: str, rows: Sequence[Mapping[str, object]]) -> bool:
        """Insert rows given as column-value pairs; other columns take the schema's defaults."""
        columns = list(rows[0])
        placeholders = ", ".join("?" for _ in columns)
        return self.write_all(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({placeholders})",
            [tuple(row[column] for column in columns) for row in rows],
        )

    def write(self, query: str, values: tuple[object, ...]) -> bool:
        """Run one statement; return whether its effect outlives the server."""
        return self.write_all(query, [values])

    def write_all(self, query: str, rows: Iterable[tuple[object, ...]]) -> bool:
        """Run a statement for all rows or none; return whether its effect outlives the server."""
        try:
            with self.lock:
                if self._is_closed:
                    return False
                file = self.open()
                with file.connection:
                    file.connection.executemany(query, map(_bindable, rows))
                return file.is_durable
        # OverflowError: a whole number beyond 64 bits.
        except (sqlite3.Error, ValueError, OverflowError) as error:
            self.warn_once(error)
            return False


def _bindable(values: Sequence[object]) -> tuple[object, ...]:
    """Return values that SQLite accepts: it refuses text with half characters."""
    return tuple(escape(value) if isinstance(value, str) else value for value in values)
